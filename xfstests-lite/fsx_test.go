// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bufio"
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
)

// rottenFS is a file system whose bad-th read or write of a file has one wrong bit.
type rottenFS struct {
	FS
	badRead, badWrite int
}

type rottenFile struct {
	Handle
	fs            *rottenFS
	reads, writes int
}

func (f *rottenFS) Open(name string, flags int, mode uint32) (Handle, error) {
	h, err := f.FS.Open(name, flags, mode)
	return &rottenFile{Handle: h, fs: f}, err
}

func (h *rottenFile) Pread(p []byte, off int64) (int, error) {
	n, err := h.Handle.Pread(p, off)
	if h.reads++; h.reads == h.fs.badRead && n > 0 {
		p[n/2] ^= 4
	}
	return n, err
}

func (h *rottenFile) Pwrite(p []byte, off int64) (int, error) {
	if h.writes++; h.writes == h.fs.badWrite {
		p[len(p)/2] ^= 4
	}
	return h.Handle.Pwrite(p, off)
}

// One wrong bit in one of many operations does not escape fsx.
func TestFsxCatches(t *testing.T) {
	for _, c := range []struct {
		name      string
		read, wrt int
		caught    bool
	}{{"healthy", 0, 0, false}, {"a bad read", 20, 0, true}, {"a bad write", 0, 20, true}} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			w := bufio.NewWriter(&out)
			f := &fsx{c: &call{out: w, ctx: context.Background()}, fs: &rottenFS{&hostFS{}, c.read, c.wrt}, name: "f", abs: t.TempDir() + "/f",
				maxLen: 64 << 10, maxOp: 16 << 10, readBdy: 1, writeBdy: 1, truncBdy: 1, checkAll: true, rnd: rand.New(rand.NewPCG(1, 1))}
			for _, k := range fsxKinds {
				if strings.Contains("read write truncate", k.name) {
					f.kinds = append(f.kinds, k)
				}
			}
			if err := f.begin(); err != nil {
				t.Fatal(err)
			}
			defer f.h.Close()
			err := f.random(300)
			w.Flush()
			if caught := err == errBad && strings.Contains(out.String(), "BAD DATA"); caught != c.caught || err != nil && !caught {
				t.Errorf("caught: %v (%v)\n%s", caught, err, out.String())
			}
		})
	}
}
