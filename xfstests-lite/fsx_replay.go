// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// replay does the operations of a file.
func (f *fsx) replay(abs string) error {
	h, err := f.c.p.fs(abs).Open(abs, unix.O_RDONLY, 0)
	if err != nil {
		return f.bad("%s: %s", abs, errText(err))
	}
	data, err := io.ReadAll(h)
	h.Close()
	if err != nil {
		return f.bad("%s: %s", abs, errText(err))
	}
	for nr, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "skip" {
			continue
		}
		i := slices.IndexFunc(fsxKinds, func(k *fsxKind) bool { return k.name == words[0] })
		var n [3]int64
		ok := i >= 0 && len(words) > fsxKinds[i].args
		for j := 0; ok && j < fsxKinds[i].args; j++ {
			n[j], err = strconv.ParseInt(words[1+j], 0, 64)
			ok = err == nil
		}
		if !ok {
			return f.bad("%s:%d: not an operation: %s", abs, nr+1, line)
		}
		o := fsxOp{kind: fsxKinds[i], off: n[0], len: n[1], dest: n[2], keepSize: slices.Contains(words, "keep_size")}
		if end := max(o.off+o.len, o.dest+o.len); end > int64(len(f.buf))-fsxPage {
			f.good = append(f.good, make([]byte, end)...)
			f.buf = alignedBuffer(int(end + fsxPage))
		}
		if err := f.step(o); err != nil {
			return err
		}
	}
	return nil
}

// report says what was done before something went wrong, and keeps what the file should be.
func (f *fsx) report(seed uint64) {
	f.c.printf("seed %d, operation %d\nLOG DUMP (%d operations):\n", seed, f.done, len(f.log))
	from := max(0, len(f.log)-100)
	for i, line := range f.log[from:] {
		f.c.printf("%d: %s\n", f.done-int64(len(f.log)-from-i)+1, line)
	}
	base := f.abs
	if f.places != "" {
		base = path.Join(f.places, path.Base(f.abs))
	}
	for ext, data := range map[string][]byte{".fsxgood": f.good[:f.size], ".fsxlog": []byte(strings.Join(f.log, "\n") + "\n")} {
		h, err := f.c.p.fs(base+ext).Open(base+ext, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o666)
		if err == nil {
			h.Write(data)
			h.Close()
		}
	}
	f.c.printf("Correct content saved for comparison\n(maybe hexdump %q vs %q)\n", f.name, base+".fsxgood")
}
