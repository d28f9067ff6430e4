// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
)

// The operations of fsstress on names, attributes and subvolumes.

func (p *stressProc) creat() (string, error) {
	return p.make(stressReg, 'f', func(name string) error {
		h, err := p.fs.Open(name, unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, 0o666)
		if err == nil {
			err = h.Close()
		}
		return err
	})
}

func (p *stressProc) mkdir() (string, error) {
	return p.make(stressDir, 'd', func(name string) error { return p.fs.Mkdir(name, 0o777) })
}

func (p *stressProc) mknod() (string, error) {
	return p.make(stressDev, 'c', func(name string) error { return p.fs.Mknod(name, unix.S_IFCHR|0o444, 0) })
}

func (p *stressProc) symlink() (string, error) {
	// Links that lead nowhere, of all lengths.
	target := strings.Repeat("x", p.rnd.IntN(20)+1)
	if p.rnd.IntN(8) == 0 {
		target = strings.Repeat("xxxxxxxx/", p.rnd.IntN(100)+1)
	}
	return p.make(stressLink, 'l', func(name string) error { return p.fs.Symlink(target, name) })
}

func (p *stressProc) link() (string, error) {
	old := p.tree.pick(p.rnd, stressReg|stressLink|stressDev)
	if old == nil {
		return "-", errSkip
	}
	text, err := p.make(old.kind, 'h', func(name string) error { return p.fs.Link(p.tree.path(old), name, false) })
	return p.short(old) + " " + text, err
}

func (p *stressProc) unlink() (string, error) {
	return p.on(stressReg|stressLink|stressDev, func(f *stressFile, name string) error {
		err := p.fs.Unlink(name)
		if err == nil {
			p.tree.remove(f)
		}
		return err
	})
}

func (p *stressProc) rmdir() (string, error) {
	return p.on(stressDir, func(f *stressFile, name string) error {
		err := p.fs.Rmdir(name)
		if err == nil {
			p.tree.remove(f)
		}
		return err
	})
}

// renames is rename with flags: to a new name, or onto a file of the same kind.
func renames(flags uint) func(p *stressProc) (string, error) {
	return func(p *stressProc) (string, error) {
		f := p.tree.pick(p.rnd, stressAny)
		if f == nil {
			return "-", errSkip
		}
		to := &stressFile{kind: f.kind, name: p.name(f.name[0]), parent: p.tree.dir(p.rnd), xattrs: f.xattrs}
		var over *stressFile
		if p.rnd.IntN(4) == 0 {
			if over = p.tree.pick(p.rnd, f.kind); over == f {
				over = nil
			} else {
				to.name, to.parent = over.name, over.parent
			}
		}
		text := p.short(f) + " " + p.short(to)
		if err := p.fs.Rename(p.tree.path(f), p.tree.path(to), flags); err != nil {
			return text, err
		}
		if st, err := p.fs.Stat(p.tree.path(f), false); err == nil && over != nil && st.Mode&unix.S_IFMT != unix.S_IFCHR {
			return text, nil // two links of one inode: rename does nothing
		}
		old := *f
		if over != nil {
			p.tree.remove(over)
		}
		f.name, f.parent = to.name, to.parent
		if flags&renameWhiteout != 0 {
			p.tree.files = append(p.tree.files, &stressFile{kind: stressDev, name: old.name, parent: old.parent})
		}
		return text, nil
	}
}

func (p *stressProc) exchange() (string, error) {
	a, b := p.tree.pick(p.rnd, stressAny), p.tree.pick(p.rnd, stressAny)
	if a == nil || a == b {
		return "-", errSkip
	}
	text := p.short(a) + " " + p.short(b)
	err := p.fs.Rename(p.tree.path(a), p.tree.path(b), renameExchange)
	if err == nil {
		p.tree.swap(a, b)
	}
	return text, err
}

func (p *stressProc) readlink() (string, error) {
	return p.on(stressLink, func(f *stressFile, name string) error {
		_, err := p.fs.Readlink(name)
		return err
	})
}

func (p *stressProc) stat() (string, error) {
	return p.on(stressAny, func(f *stressFile, name string) error {
		_, err := p.fs.Stat(name, false)
		return err
	})
}

func (p *stressProc) getdents() (string, error) {
	return p.on(stressAnyDir, func(f *stressFile, name string) error {
		_, err := readDir(p.fs, name)
		return err
	})
}

// id makes up a user or a group; small ones are likelier.
func (p *stressProc) newID() int {
	return int(p.rnd.Uint32() & (1<<min(p.rnd.IntN(p.f.modulo), 31) - 1))
}

func (p *stressProc) chown() (string, error) {
	uid, gid := p.newID(), p.newID()
	text, err := p.on(stressAny, func(f *stressFile, name string) error { return p.fs.Chown(name, uid, gid, false) })
	return fmt.Sprintf("%s %d/%d", text, uid, gid), err
}

func (p *stressProc) setfattr() (string, error) {
	value := p.buf[:p.rnd.IntN(2000)]
	return p.on(stressReg|stressAnyDir, func(f *stressFile, name string) error {
		n := p.rnd.IntN(f.xattrs + 1)
		err := p.fs.Setxattr(name, fmt.Sprintf("user.%d", n), value, p.rnd.IntN(3), false)
		if err == nil && n == f.xattrs {
			f.xattrs++
		}
		return err
	})
}

func (p *stressProc) getfattr() (string, error) {
	return p.on(stressReg|stressAnyDir, func(f *stressFile, name string) error {
		_, err := p.fs.Getxattr(name, fmt.Sprintf("user.%d", p.rnd.IntN(f.xattrs+1)), false)
		return err
	})
}

func (p *stressProc) listfattr() (string, error) {
	return p.on(stressAny, func(f *stressFile, name string) error {
		_, err := p.fs.Listxattr(name, false)
		return err
	})
}

func (p *stressProc) removefattr() (string, error) {
	return p.on(stressReg|stressAnyDir, func(f *stressFile, name string) error {
		return p.fs.Removexattr(name, fmt.Sprintf("user.%d", p.rnd.IntN(f.xattrs+1)), false)
	})
}

func (p *stressProc) getattr() (string, error) {
	return p.opened(stressReg|stressAnyDir, unix.O_RDONLY, func(h Handle) error {
		_, err := h.Flags()
		return err
	})
}

func (p *stressProc) setattr() (string, error) {
	flags := p.rnd.Uint32() & p.f.flags
	text, err := p.opened(stressReg|stressAnyDir, unix.O_RDONLY, func(h Handle) error { return h.SetFlags(flags) })
	return fmt.Sprintf("%s %#x", text, flags), err
}

func (p *stressProc) sync() (string, error) {
	if _, ours := p.fs.(vfsFS); ours {
		return "", p.p.ours.Sync()
	}
	h, err := p.fs.Open(p.tree.base, unix.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer h.Close()
	return "", h.Syncfs()
}

// ioctl gives a directory a command of btrfs; elsewhere there is none.
func (p *stressProc) ioctl(dir string, fn func(f *vfsFile) error) error {
	if _, ours := p.fs.(vfsFS); !ours {
		return unix.ENOTTY
	}
	h, err := p.fs.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer h.Close()
	return fn(h.(*vfsFile))
}

func (p *stressProc) subvolCreate() (string, error) {
	return p.make(stressSubvol, 's', func(name string) error {
		return p.ioctl(path.Dir(name), func(f *vfsFile) error {
			return f.fs.p.Ioctl(f.fd, btrfs.BTRFS_IOC_SUBVOL_CREATE_V2, &btrfs.VolArgs{Name: path.Base(name)})
		})
	})
}

// snapshot makes one of a subvolume, in any directory. What is in it is not remembered.
func (p *stressProc) snapshot() (string, error) {
	src := p.tree.pick(p.rnd, stressSubvol)
	if src == nil {
		return "-", errSkip
	}
	text, err := p.make(stressSubvol, 's', func(name string) error {
		return p.ioctl(path.Dir(name), func(f *vfsFile) error {
			return p.ioctl(p.tree.path(src), func(from *vfsFile) error {
				return f.fs.p.Ioctl(f.fd, btrfs.BTRFS_IOC_SNAP_CREATE_V2, &btrfs.VolArgs{Name: path.Base(name), Fd: from.fd})
			})
		})
	})
	return p.short(src) + " " + text, err
}

func (p *stressProc) subvolDelete() (string, error) {
	return p.on(stressSubvol, func(s *stressFile, name string) error {
		err := p.ioctl(path.Dir(name), func(f *vfsFile) error {
			return f.fs.p.Ioctl(f.fd, btrfs.BTRFS_IOC_SNAP_DESTROY_V2, &btrfs.VolArgs{Name: path.Base(name)})
		})
		if err == nil {
			p.tree.remove(s)
		}
		return err
	})
}
