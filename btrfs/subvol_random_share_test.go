// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/vfs"
)

// compressed writes to a file whose property asks for compression, enough that
// it is done.
func (r *subvolRun) compressed(s *subvolModel, file string, o subvolOp) error {
	if s.files[file] == nil {
		s.at(file, 0)
		if err := r.edit(s.path(file), 0, func(int) error { return nil }); err != nil {
			return err
		}
		if err := r.m.Setxattr(s.path(file), "btrfs.compression", []byte([]string{"zlib", "lzo", "zstd"}[o.g%3]), 0); err != nil {
			return err
		}
	}
	return r.put(s, file, 0, o.off*4&^4095, bytes.Repeat([]byte{o.tag, o.tag + 1, 'x'}, o.len*3))
}

// inPlace writes to a file without copy on write. Blocks that a snapshot shares
// are copied once all the same.
func (r *subvolRun) inPlace(s *subvolModel, file string, o subvolOp) error {
	if s.files[file] == nil {
		s.at(file, 0).nocow = true
		flags := uint32(btrfs.FS_NOCOW_FL)
		if err := r.edit(s.path(file), 0, func(fd int) error { return r.m.Ioctl(fd, btrfs.FS_IOC_SETFLAGS, &flags) }); err != nil {
			return err
		}
	}
	flags := 0
	if o.g%2 == 0 {
		flags, o.off, o.len = unix.O_DIRECT, o.off&^4095, (o.len+4095)&^4095
	}
	return r.put(s, file, flags, o.off, bytes.Repeat([]byte{o.tag}, o.len))
}

// share makes a file of s share extents with one of another subvolume, or of its
// own, or copies.
func (r *subvolRun) share(s, from *subvolModel, file string, o subvolOp) error {
	src := from.file(o.g)
	if src == "" || s.readonly || s == from && src == file {
		return nil
	}
	in, out := from.files[src], s.at(file, 0)
	at, to := o.off%(len(in.data)+1)&^4095, o.off/2&^4095
	n := min(o.len+8192, len(in.data)-at) &^ 4095
	switch {
	case o.kind == "ficlone":
		at, to, n = 0, 0, len(in.data)
	case o.kind == "copy":
		to, n = o.off, min(o.len, len(in.data)-at)
	case o.kind == "dedupe":
		to = at
		if n > 0 && o.f%2 == 0 { // else they are hardly ever the same
			if err := r.put(s, file, 0, at, in.data[at:at+n]); err != nil {
				return err
			}
		}
		n = min(n, len(out.data)-to) &^ 4095
	}
	if n <= 0 {
		return r.edit(s.path(file), 0, func(int) error { return nil })
	}
	fd, err := r.m.Open(from.path(src), unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer r.m.Close(fd)
	ours := oracle.Ours{Process: r.m.Process}
	return r.edit(s.path(file), 0, func(dst int) error {
		var want, err error
		if in.nocow != out.nocow {
			want = unix.EINVAL // one has checksums, the other has none
		}
		switch o.kind {
		case "dedupe":
			var done int64
			done, err = ours.DedupeRange(dst, fd, int64(at), int64(n), int64(to))
			if same := bytes.Equal(in.data[at:at+n], out.data[to:to+n]); err == nil && same != (done == int64(n)) {
				return fmt.Errorf("%d bytes of %d deduplicated, and that they are the same is %v", done, n, same)
			}
		case "copy":
			var done int64
			done, err = ours.CopyRange(dst, fd, int64(at), int64(n), int64(to))
			want, n = nil, int(done)
		case "ficlone":
			if err := ours.Ftruncate(dst, 0); err != nil {
				return err
			}
			out.data = out.data[:0]
			err = ours.Ioctl(dst, vfs.FICLONE, fd)
		default:
			err = ours.CloneRange(dst, fd, int64(at), int64(n), int64(to))
		}
		if err != want {
			return fmt.Errorf("%v, want %v", err, want)
		}
		if err == nil && o.kind != "dedupe" {
			copy(s.at(file, to+n).data[to:], in.data[at:at+n])
		}
		return nil
	})
}
