// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"fmt"
	"hash/maphash"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/linearizability"
	"kbtrfs/vfs"
)

// mountOptions: only what happens at mount and umount commits, and reading writes
// nothing.
const (
	mountOptions = "commit=1000000"
	mountFlags   = unix.MS_NOATIME
)

// look is what a state showed.
type look struct {
	keep   bool // somebody wants to know what was found
	found  linearizability.Recovered
	hash   uint64
	wrote  bool // mounting it wrote something
	log    []blockdev.LogEntry
	commit superID
	err    error // it did not mount, or is not clean
}

var hashSeed = maphash.MakeSeed()

// examine mounts a state: check, mount with orphan cleanup, read everything,
// umount, check again if that wrote. crashes is how many there were: a commit does
// not wait for the second copy of its super block, so each crash may leave that
// one commit further behind.
func (x *Explorer) examine(s *state, crashes int) *look {
	k := kernel.New(kernel.Options{Params: x.o.Params})
	l := &look{keep: x.durable != nil}
	dev := blockdev.NewOverlay(k, s)
	defer dev.Close()
	super := make([]byte, disk.BTRFS_SUPER_INFO_SIZE)
	s.ReadImage(super, disk.BTRFS_SUPER_INFO_OFFSET)
	l.commit = superOf(super)
	if l.err = clean(k, dev, crashes); l.err != nil {
		l.err = fmt.Errorf("before mounting: %w", l.err)
		return l
	}
	log := blockdev.NewLogWrites(k, dev)
	v := vfs.New(k, mm.Options{})
	if l.err = v.RegisterFilesystem(btrfs.Type); l.err != nil {
		return l
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: "crash", Dev: log, KeepDev: true}, mountFlags, mountOptions); err != nil {
		l.err = fmt.Errorf("mount: %v\n%s", err, dmesg(k))
		return l
	}
	p := v.NewProcess(*vfs.RootCred)
	l.err = l.list(p)
	p.Exit()
	if err := v.Shutdown(); l.err == nil && err != nil {
		l.err = fmt.Errorf("umount: %w", err)
	}
	if w := k.Warnings(); l.err == nil && len(w) > 0 {
		l.err = fmt.Errorf("warning: %s", w[0])
	}
	l.log = log.Entries()
	l.wrote = slices.ContainsFunc(l.log, func(e blockdev.LogEntry) bool {
		return e.Op == blockdev.REQ_OP_WRITE || e.Op == blockdev.REQ_OP_DISCARD
	})
	if l.err == nil && l.wrote {
		if l.err = clean(k, dev, crashes); l.err != nil {
			l.err = fmt.Errorf("after mounting: %w", l.err)
		}
	}
	if l.err != nil {
		l.err = fmt.Errorf("%w\n%s", l.err, dmesg(k))
	}
	return l
}

func dmesg(k *kernel.Kernel) string {
	lines := k.Dmesg()
	return strings.Join(lines[max(0, len(lines)-6):], "\n")
}

// clean runs our check on an image that has seen a crash.
func clean(k *kernel.Kernel, dev blockdev.Device, crashes int) error {
	problems, err := check.Device(k, dev, check.Options{DataCsum: true, Crashed: true, WriteErrors: crashes > 1})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if len(problems) > 0 {
		return fmt.Errorf("check: %v (%d problems)", problems[0], len(problems))
	}
	return nil
}

// list reads everything that is there.
func (l *look) list(p *vfs.Process) error {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	if err := l.walk(p, "/", &h); err != nil {
		return err
	}
	l.hash = h.Sum64()
	return nil
}

func (l *look) walk(p *vfs.Process, dir string, h *maphash.Hash) error {
	fd, err := p.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	list, err := p.ReadDir(fd)
	p.Close(fd)
	if err != nil {
		return fmt.Errorf("readdir %s: %w", dir, err)
	}
	slices.SortFunc(list, func(a, b vfs.Dirent) int { return strings.Compare(a.Name, b.Name) })
	for _, d := range list {
		if d.Name == "." || d.Name == ".." {
			continue
		}
		e := linearizability.RecoveredEntry{Path: path.Join(dir, d.Name)}
		st, err := p.Lstat(e.Path)
		if err != nil {
			return fmt.Errorf("stat %s: %w", e.Path, err)
		}
		e.Ino, e.Size = st.Ino, st.Size
		e.Dir, e.Reg = st.Mode&unix.S_IFMT == unix.S_IFDIR, st.Mode&unix.S_IFMT == unix.S_IFREG
		fmt.Fprintf(h, "%s %d %d %o %d\n", e.Path, e.Ino, e.Size, st.Mode, st.Nlink)
		if e.Reg {
			if e.Data, err = l.read(p, e.Path, e.Size, h); err != nil {
				return fmt.Errorf("reading %s: %w", e.Path, err)
			}
		}
		if l.keep {
			l.found.Entries = append(l.found.Entries, e)
		}
		if e.Dir {
			if err := l.walk(p, e.Path, h); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxRead is how much of a file is compared.
const maxRead = 16 << 20

// read reads a file, and returns what it holds if that is to be kept.
func (l *look) read(p *vfs.Process, name string, size int64, h *maphash.Hash) (all []byte, err error) {
	fd, err := p.Open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer p.Close(fd)
	size = min(size, maxRead)
	buf := make([]byte, min(size, 1<<20))
	if l.keep {
		buf = make([]byte, size)
		all = buf
	}
	for at := int64(0); at < size; {
		n, err := p.Pread(fd, buf[:min(int64(len(buf)), size-at)], at)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		h.Write(buf[:n])
		at += int64(n)
		if l.keep {
			buf = buf[n:]
		}
	}
	return all, nil
}
