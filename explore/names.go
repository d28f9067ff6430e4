// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	_ "embed"
	"runtime"
	"strings"
	"sync"
)

// kernelNames is one line for each Go function that mirrors one of the kernel:
// both names, as the //kernel: directives of the source tell them. TestNames
// holds the table near the source and rewrites it with -update.
//
//go:embed names.txt
var kernelNames string

var names = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(kernelNames) {
		if goName, kernelName, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			m[goName] = kernelName
		}
	}
	return m
})

// module is what the names of this project's functions begin with.
const module = "kbtrfs/"

// frame is a call on a task's stack.
type frame struct {
	fn string // the kernel's name
	fs bool   // a function of the file system, or of its work queues
}

// frames turns a call stack, innermost first, into the calls a reader of the
// kernel knows, outermost first: the functions of the file system and its
// surroundings that have a twin there.
func frames(pcs []uintptr) []frame {
	if len(pcs) == 0 {
		return nil
	}
	var out []frame
	it := runtime.CallersFrames(pcs)
	for {
		f, more := it.Next()
		if name, ok := strings.CutPrefix(f.Function, module); ok {
			if k := KernelName(name); k != "" {
				out = append(out, frame{k, strings.HasPrefix(name, "btrfs.") || strings.HasPrefix(name, "workqueue.")})
			}
		}
		if !more {
			break
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out
}

// KernelName returns the kernel function that a Go function of this project
// mirrors, "" if it mirrors none. A function literal is part of the function
// that it stands in.
func KernelName(goName string) string {
	m := names()
	for {
		if k, ok := m[goName]; ok {
			return k
		}
		i := strings.LastIndex(goName, ".func")
		if i < 0 {
			if i = strings.LastIndexByte(goName, '.'); i < 0 || strings.Trim(goName[i+1:], "0123456789") != "" {
				return ""
			}
		}
		goName = goName[:i]
	}
}
