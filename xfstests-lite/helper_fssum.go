// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// summer is src/fssum at work: it reduces what a directory holds to two sums for each name, one of what is known of
// the file and one of its data.
type summer struct {
	c       *call
	flags   map[byte]bool
	exclude []string
	entries []sumEntry
}

// sumEntry is a line of a manifest.
type sumEntry struct{ path, meta, data string }

// fssumFlags are the letters of what can be part of the sums; a capital takes one out.
const fssumFlags = "ugoamcdtes"

// helperFssum sums DIR, or compares it with what -r FILE says. Differences are named, then comes OK or FAIL.
func helperFssum(c *call) int {
	opts, names, ok := c.getopt("heEfuUgGoOaAmMcCdDtTsSnNw:r:vx:", nil)
	if !ok || len(names) != 1 || has(opts, 'h') {
		return c.fail("usage: fssum [-f] [-w FILE | -r FILE] [-%s] [-x PATH] DIR", fssumFlags)
	}
	s := &summer{c: c, flags: map[byte]bool{}}
	s.setFlags("ugoamdt")
	for _, o := range opts {
		switch o.c {
		case 'n', 'N':
			for _, f := range []byte(fssumFlags) {
				s.flags[f] = o.c == 'N'
			}
		case 'x':
			s.exclude = append(s.exclude, "/"+strings.Trim(o.value, "/"))
		case 'w', 'r', 'f', 'v':
		default:
			s.flags[o.c|0x20] = o.c&0x20 != 0
		}
	}
	var want []sumEntry
	from, compare := last(opts, 'r')
	if compare {
		var err error
		if want, err = s.readManifest(from); err != nil {
			return c.fail("%s: %s", from, errText(err))
		}
	}
	fs, abs := c.at(names[0])
	st, err := fs.Stat(abs, true)
	if err == nil {
		err = s.dir(fs, strings.TrimRight(abs, "/"), "", st.Dev, 1)
	}
	if err != nil {
		return c.fail("%s: %s", names[0], errText(err))
	}
	if compare {
		return s.compare(want)
	}
	text := s.manifest(has(opts, 'f'))
	to, given := last(opts, 'w')
	if !given {
		c.printf("%s", text)
		return 0
	}
	fs, abs = c.at(to)
	h, err := fs.Open(abs, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err == nil {
		_, err = io.WriteString(h, text)
		h.Close()
	}
	if err != nil {
		return c.fail("failed to open output file: %s", errText(err))
	}
	return 0
}

func (s *summer) setFlags(on string) {
	for _, f := range []byte(fssumFlags) {
		s.flags[f] = strings.IndexByte(on, f) >= 0
	}
}

// manifest is what -w writes: the flags, all entries if asked for, and a sum of them all.
func (s *summer) manifest(full bool) string {
	var b strings.Builder
	b.WriteString("Flags: ")
	for _, f := range []byte(fssumFlags) {
		if !s.flags[f] {
			f &^= 0x20
		}
		b.WriteByte(f)
	}
	b.WriteByte('\n')
	if full {
		for _, e := range s.entries {
			fmt.Fprintf(&b, "%q %s %s\n", e.path, e.meta, e.data)
		}
	}
	fmt.Fprintf(&b, "%s\n", s.total())
	return b.String()
}

func (s *summer) total() string {
	all := md5.New()
	for _, e := range s.entries {
		fmt.Fprintf(all, "%q %s %s\n", e.path, e.meta, e.data)
	}
	return sumText(all)
}

func sumText(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// readManifest reads what manifest has made, and takes its flags. The sum of a short one is an entry without a path.
func (s *summer) readManifest(name string) (out []sumEntry, err error) {
	lines, status := s.c.readLines([]string{name})
	if status != 0 {
		return nil, unix.ENOENT
	}
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "Flags: ") {
		return nil, fmt.Errorf("invalid input file format")
	}
	s.setFlags(lines[0][len("Flags: "):])
	for _, l := range lines[1 : len(lines)-1] {
		var e sumEntry
		if _, err := fmt.Sscanf(l, "%q %s %s", &e.path, &e.meta, &e.data); err != nil {
			return nil, fmt.Errorf("malformed input")
		}
		out = append(out, e)
	}
	return append(out, sumEntry{data: lines[len(lines)-1]}), nil
}

func (s *summer) compare(want []sumEntry) int {
	total := want[len(want)-1].data
	want = want[:len(want)-1]
	if len(want) > 0 {
		local := map[string]sumEntry{}
		for _, e := range s.entries {
			local[e.path] = e
		}
		for _, w := range want {
			e, ok := local[w.path]
			delete(local, w.path)
			switch {
			case !ok:
				s.c.printf("only in remote fs: %s\n", w.path)
			case e.meta != w.meta && e.data != w.data:
				s.c.printf("metadata and data mismatch in %s\n", w.path)
			case e.meta != w.meta:
				s.c.printf("metadata mismatch in %s\n", w.path)
			case e.data != w.data:
				s.c.printf("data mismatch in %s\n", w.path)
			}
		}
		for _, e := range s.entries {
			if _, left := local[e.path]; left {
				s.c.printf("only in local fs: %s\n", e.path)
			}
		}
	}
	if s.total() != total {
		s.c.printf("FAIL\n")
		return 1
	}
	s.c.printf("OK\n")
	return 0
}

// dir adds what is in a directory, by name. Other subvolumes are left out.
func (s *summer) dir(fs FS, abs, rel string, dev uint64, level uint64) error {
	h, err := fs.Open(abs+"/", os.O_RDONLY|oDirectory, 0)
	if err != nil {
		return err
	}
	list, err := h.ReadDir()
	h.Close()
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(a, b Dirent) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range list {
		path := rel + "/" + d.Name
		if slices.ContainsFunc(s.exclude, func(x string) bool { return strings.HasPrefix(path, x) }) {
			continue
		}
		st, err := fs.Stat(abs+"/"+d.Name, false)
		if err != nil {
			return err
		}
		if st.Dev != dev {
			continue
		}
		if err := s.entry(fs, abs+"/"+d.Name, path, &st, level); err != nil {
			return err
		}
		if st.IsDir() {
			if err := s.dir(fs, abs+"/"+d.Name, path, dev, level+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *summer) entry(fs FS, abs, path string, st *Stat, level uint64) error {
	meta, data := md5.New(), md5.New()
	add := func(h hash.Hash, values ...uint64) { binary.Write(h, binary.LittleEndian, values) }
	field := func(flag byte, value uint64) {
		if s.flags[flag] {
			add(meta, value)
		}
	}
	add(meta, level)
	io.WriteString(meta, path)
	if !st.IsDir() {
		add(meta, st.Nlink)
	}
	field('u', uint64(st.Uid))
	field('g', uint64(st.Gid))
	field('o', uint64(st.Mode))
	field('a', uint64(st.Atime.Unix()))
	field('m', uint64(st.Mtime.Unix()))
	field('c', uint64(st.Ctime.Unix()))
	if s.flags['t'] && (st.IsDir() || st.IsReg()) {
		names, err := fs.Listxattr(abs, false)
		if err != nil && err != unix.EOPNOTSUPP { // a file system without attributes has none to add
			return err
		}
		slices.Sort(names)
		for _, name := range names {
			value, err := fs.Getxattr(abs, name, false)
			if err != nil {
				return err
			}
			fmt.Fprintf(meta, "%q %q", name, value)
		}
	}
	var err error
	switch {
	case st.IsReg():
		add(meta, uint64(st.Size))
		if s.flags['d'] {
			err = s.file(fs, abs, data)
		}
	case st.IsLink():
		var target string
		target, err = fs.Readlink(abs)
		io.WriteString(data, target)
	case st.Mode&unix.S_IFMT == unix.S_IFCHR || st.Mode&unix.S_IFMT == unix.S_IFBLK:
		add(data, st.Rdev)
	}
	if err != nil && s.flags['e'] { // an error is part of the sum
		fmt.Fprint(meta, errText(err))
		err = nil
	}
	s.entries = append(s.entries, sumEntry{path, sumText(meta), sumText(data)})
	return err
}

// file adds the bytes of a file; with flag s also where they begin and end, as SEEK_DATA and SEEK_HOLE tell.
func (s *summer) file(fs FS, abs string, data hash.Hash) error {
	h, err := fs.Open(abs, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer h.Close()
	if s.flags['s'] {
		for at := int64(0); ; {
			start, err := h.Seek(at, unix.SEEK_DATA)
			if err != nil {
				break // ENXIO: nothing more
			}
			if at, err = h.Seek(start, unix.SEEK_HOLE); err != nil {
				return err
			}
			fmt.Fprintf(data, "%d-%d ", start, at)
		}
		if _, err := h.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	_, err = io.Copy(data, h)
	return err
}
