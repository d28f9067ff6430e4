// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// xattrPermission: who may read and write which name space.
//
//kernel:fs/xattr.c xattr_permission
func (inode *Inode) xattrPermission(cred *Cred, name string, mask int) error {
	if mask&MAY_WRITE != 0 && (inode.IsImmutable() || inode.IsAppend()) {
		return unix.EPERM
	}
	if strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "system.") {
		return nil // the file system decides
	}
	denied := unix.ENODATA
	if mask&MAY_WRITE != 0 {
		denied = unix.EPERM
	}
	if strings.HasPrefix(name, "trusted.") {
		if !cred.Capable(CAP_SYS_ADMIN) {
			return denied
		}
		return nil
	}
	if strings.HasPrefix(name, "user.") {
		if !inode.IsReg() && !inode.IsDir() {
			return denied
		}
		if inode.IsDir() && inode.Mode()&unix.S_ISVTX != 0 && mask&MAY_WRITE != 0 && !inode.OwnerOrCapable(cred) {
			return unix.EPERM
		}
	}
	return inode.Permission(cred, mask)
}

// resolveXattr refuses name spaces that the file system has not, and bare prefixes.
//
//kernel:fs/xattr.c xattr_resolve_name
func (inode *Inode) resolveXattr(name string) error {
	for _, prefixes := range [...][]string{xattrPrefixes, inode.Sb.XattrPrefixes} {
		for _, prefix := range prefixes {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				if rest == "" {
					return unix.EINVAL
				}
				return nil
			}
		}
	}
	return unix.EOPNOTSUPP
}

// xattrPrefixes are the name spaces that every file system with attributes has.
var xattrPrefixes = []string{"user.", "trusted.", "security."}

//kernel:none the strncpy_from_user of the xattr system calls
func checkXattrName(name string) error {
	if name == "" || len(name) > XATTR_NAME_MAX {
		return unix.ERANGE
	}
	return nil
}

//kernel:fs/xattr.c vfs_setxattr
func (p *Process) setxattr(path Path, name string, value []byte, flags int) error {
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return unix.EINVAL
	}
	if err := checkXattrName(name); err != nil {
		return err
	}
	if len(value) > XATTR_SIZE_MAX {
		return unix.E2BIG
	}
	return p.changeXattr(path, name, func(inode *Inode) error { return inode.Op.Setxattr(inode, name, value, flags) })
}

//kernel:fs/xattr.c vfs_getxattr
func (p *Process) getxattr(path Path, name string, buf []byte) (int, error) {
	if err := checkXattrName(name); err != nil {
		return -1, err
	}
	if len(buf) > XATTR_SIZE_MAX {
		buf = buf[:XATTR_SIZE_MAX]
	}
	inode := path.Dentry.DInode()
	if err := inode.xattrPermission(p.Cred(), name, MAY_READ); err != nil {
		return -1, err
	}
	if err := inode.resolveXattr(name); err != nil {
		return -1, err
	}
	n, err := inode.Op.Getxattr(inode, name, buf)
	if err == unix.ERANGE && len(buf) >= XATTR_SIZE_MAX {
		err = unix.E2BIG
	}
	if err != nil {
		return -1, err
	}
	return n, nil
}

//kernel:fs/xattr.c vfs_listxattr
func (p *Process) listxattr(path Path, buf []byte) (int, error) {
	if len(buf) > XATTR_LIST_MAX {
		buf = buf[:XATTR_LIST_MAX]
	}
	inode := path.Dentry.DInode()
	n, err := inode.Op.Listxattr(inode, buf)
	switch {
	case err == unix.EOPNOTSUPP:
		return 0, nil // no attributes, then
	case err == unix.ERANGE && len(buf) >= XATTR_LIST_MAX:
		return -1, unix.E2BIG
	case err != nil:
		return -1, err
	}
	return n, nil
}

//kernel:fs/xattr.c vfs_removexattr
func (p *Process) removexattr(path Path, name string) error {
	if err := checkXattrName(name); err != nil {
		return err
	}
	return p.changeXattr(path, name, func(inode *Inode) error { return inode.Op.Removexattr(inode, name) })
}

// changeXattr asks whether the caller may change the attribute and has it changed with the inode locked.
//
//kernel:none what vfs_setxattr and vfs_removexattr share
func (p *Process) changeXattr(path Path, name string, change func(*Inode) error) error {
	if err := path.Mnt.WantWrite(); err != nil {
		return err
	}
	defer path.Mnt.DropWrite()
	inode := path.Dentry.DInode()
	if err := inode.xattrPermission(p.Cred(), name, MAY_WRITE); err != nil {
		return err
	}
	if strings.HasPrefix(name, "security.") && !p.Cred().Capable(CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	inode.InodeLock()
	defer inode.InodeUnlock()
	if err := inode.resolveXattr(name); err != nil {
		return err
	}
	return change(inode)
}

// withPath calls fn with the place that a name stands for.
//
//kernel:none what the path_ variants of the xattr calls share
func (p *Process) withPath(name string, lookup uint, fn func(Path) error) error {
	path, err := p.userPath(unix.AT_FDCWD, name, lookup)
	if err != nil {
		return err
	}
	defer path.Put()
	return fn(path)
}

// withFile calls fn with the place of an open file.
//
//kernel:none what the f variants of the xattr calls share
func (p *Process) withFile(fd int, fn func(Path) error) error {
	file := p.fdget(fd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	return fn(file.Path)
}

// Setxattr sets an extended attribute; XATTR_CREATE and XATTR_REPLACE in flags.
//
//kernel:fs/xattr.c path_setxattr
func (p *Process) Setxattr(name, attr string, value []byte, flags int) error {
	return p.withPath(name, LOOKUP_FOLLOW, func(path Path) error { return p.setxattr(path, attr, value, flags) })
}

// Lsetxattr is Setxattr on a symbolic link itself.
//
//kernel:none mirrors system call lsetxattr
func (p *Process) Lsetxattr(name, attr string, value []byte, flags int) error {
	return p.withPath(name, 0, func(path Path) error { return p.setxattr(path, attr, value, flags) })
}

// Fsetxattr is Setxattr on an open file.
//
//kernel:none mirrors system call fsetxattr
func (p *Process) Fsetxattr(fd int, attr string, value []byte, flags int) error {
	return p.withFile(fd, func(path Path) error { return p.setxattr(path, attr, value, flags) })
}

// Getxattr reads an extended attribute into buf and returns its size; an empty buf asks for the size only.
//
//kernel:fs/xattr.c path_getxattr
func (p *Process) Getxattr(name, attr string, buf []byte) (n int, err error) {
	err = p.withPath(name, LOOKUP_FOLLOW, func(path Path) (err error) { n, err = p.getxattr(path, attr, buf); return err })
	return n, err
}

// Lgetxattr is Getxattr on a symbolic link itself.
//
//kernel:none mirrors system call lgetxattr
func (p *Process) Lgetxattr(name, attr string, buf []byte) (n int, err error) {
	err = p.withPath(name, 0, func(path Path) (err error) { n, err = p.getxattr(path, attr, buf); return err })
	return n, err
}

// Fgetxattr is Getxattr on an open file.
//
//kernel:none mirrors system call fgetxattr
func (p *Process) Fgetxattr(fd int, attr string, buf []byte) (n int, err error) {
	err = p.withFile(fd, func(path Path) (err error) { n, err = p.getxattr(path, attr, buf); return err })
	return n, err
}

// Listxattr lists the names of extended attributes, each ended by a zero byte; an empty buf asks for the size only.
//
//kernel:fs/xattr.c path_listxattr
func (p *Process) Listxattr(name string, buf []byte) (n int, err error) {
	err = p.withPath(name, LOOKUP_FOLLOW, func(path Path) (err error) { n, err = p.listxattr(path, buf); return err })
	return n, err
}

// Llistxattr is Listxattr on a symbolic link itself.
//
//kernel:none mirrors system call llistxattr
func (p *Process) Llistxattr(name string, buf []byte) (n int, err error) {
	err = p.withPath(name, 0, func(path Path) (err error) { n, err = p.listxattr(path, buf); return err })
	return n, err
}

// Flistxattr is Listxattr on an open file.
//
//kernel:none mirrors system call flistxattr
func (p *Process) Flistxattr(fd int, buf []byte) (n int, err error) {
	err = p.withFile(fd, func(path Path) (err error) { n, err = p.listxattr(path, buf); return err })
	return n, err
}

// Removexattr removes an extended attribute.
//
//kernel:fs/xattr.c path_removexattr
func (p *Process) Removexattr(name, attr string) error {
	return p.withPath(name, LOOKUP_FOLLOW, func(path Path) error { return p.removexattr(path, attr) })
}

// Lremovexattr is Removexattr on a symbolic link itself.
//
//kernel:none mirrors system call lremovexattr
func (p *Process) Lremovexattr(name, attr string) error {
	return p.withPath(name, 0, func(path Path) error { return p.removexattr(path, attr) })
}

// Fremovexattr is Removexattr on an open file.
//
//kernel:none mirrors system call fremovexattr
func (p *Process) Fremovexattr(fd int, attr string) error {
	return p.withFile(fd, func(path Path) error { return p.removexattr(path, attr) })
}

// withPathAt calls fn with the place that a name relative to an open directory stands for.
//
//kernel:none what the at variants of the xattr calls share
func (p *Process) withPathAt(dirfd int, name string, atFlags int, fn func(Path) error) error {
	path, err := p.PathAt(dirfd, name, atFlags)
	if err != nil {
		return err
	}
	defer path.Put()
	return fn(path)
}

// Setxattrat is Setxattr relative to an open directory; AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH in atFlags.
//
//kernel:none mirrors system call setxattrat of Linux 6.13
func (p *Process) Setxattrat(dirfd int, name string, atFlags int, attr string, value []byte, flags int) error {
	return p.withPathAt(dirfd, name, atFlags, func(path Path) error { return p.setxattr(path, attr, value, flags) })
}

// Getxattrat is Getxattr relative to an open directory.
//
//kernel:none mirrors system call getxattrat of Linux 6.13
func (p *Process) Getxattrat(dirfd int, name string, atFlags int, attr string, buf []byte) (n int, err error) {
	err = p.withPathAt(dirfd, name, atFlags, func(path Path) (err error) { n, err = p.getxattr(path, attr, buf); return err })
	return n, err
}

// Listxattrat is Listxattr relative to an open directory.
//
//kernel:none mirrors system call listxattrat of Linux 6.13
func (p *Process) Listxattrat(dirfd int, name string, atFlags int, buf []byte) (n int, err error) {
	err = p.withPathAt(dirfd, name, atFlags, func(path Path) (err error) { n, err = p.listxattr(path, buf); return err })
	return n, err
}

// Removexattrat is Removexattr relative to an open directory.
//
//kernel:none mirrors system call removexattrat of Linux 6.13
func (p *Process) Removexattrat(dirfd int, name string, atFlags int, attr string) error {
	return p.withPathAt(dirfd, name, atFlags, func(path Path) error { return p.removexattr(path, attr) })
}
