// SPDX-License-Identifier: GPL-2.0-or-later

// Package index knows the names of functions and structures in three Linux
// kernels: 2.6.35, 3.12 and 6.12 (fs/btrfs, fs, mm, and those parts of kernel,
// lib, block and include/linux that this project mirrors).
//
// A doc comment in this project may end with a directive,
//
//	//kernel:fs/btrfs/ordered-data.c btrfs_wait_ordered_range
//	//kernel:fs/btrfs/ordered-data.h struct btrfs_ordered_extent @v3.12
//
// which says what the Go declaration mirrors. The index holds names, paths and
// line numbers only, no code; it lets a test and the command "ktest reading"
// verify the directives without a kernel tree.
package index

import (
	_ "embed"
	"strconv"
	"strings"
	"sync"
)

// Versions are the kernels of the index, newest first: the order in which a
// directive without a version is looked up.
var Versions = []string{"v6.12", "v3.12", "v2.6.35"}

//go:embed v6.12.tsv
var v612 string

//go:embed v3.12.tsv
var v312 string

//go:embed v2.6.35.tsv
var v2635 string

// Symbol is one definition: a function, or a structure (Name "struct x").
type Symbol struct{ Path, Name string }

var tables = sync.OnceValue(func() map[string]map[Symbol]int {
	all := make(map[string]map[Symbol]int)
	for version, text := range map[string]string{"v6.12": v612, "v3.12": v312, "v2.6.35": v2635} {
		table := make(map[Symbol]int)
		for line := range strings.Lines(text) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(f) != 4 {
				continue
			}
			name := f[3]
			if f[2] == "struct" {
				name = "struct " + name
			}
			table[Symbol{f[0], name}], _ = strconv.Atoi(f[1])
		}
		all[version] = table
	}
	return all
})

// Find looks a definition up. An empty version means any, newest first; it
// returns the version and line where the definition stands.
func Find(version string, s Symbol) (in string, line int, ok bool) {
	for _, v := range Versions {
		if version != "" && v != version {
			continue
		}
		if line, ok := tables()[v][s]; ok {
			return v, line, true
		}
	}
	return "", 0, false
}

// Directive is a parsed //kernel: comment.
type Directive struct {
	Symbol
	Version string // empty: any
	None    string // the reason of a //kernel:none
}

// Parse reads the text after "//kernel:".
func Parse(text string) (d Directive, ok bool) {
	if why, found := strings.CutPrefix(text, "none"); found {
		why = strings.TrimSpace(why)
		return Directive{None: why}, why != ""
	}
	path, rest, found := strings.Cut(text, " ")
	if !found {
		return d, false
	}
	rest = strings.TrimSpace(rest)
	if i := strings.LastIndex(rest, " @"); i >= 0 {
		rest, d.Version = strings.TrimSpace(rest[:i]), rest[i+2:]
	}
	d.Symbol = Symbol{path, rest}
	return d, rest != ""
}
