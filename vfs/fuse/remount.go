// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"bytes"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// remountRequest is an ioctl on the root of a mount, for mount(8)'s "remount" is a matter of the host's that FUSE has no request for: its
// argument are the options, which end with a zero byte.
const remountRequest = 1<<30 | uint32(len(remountArg{}))<<16 | 'k'<<8 | 1 // _IOW('k', 1, remountArg)

type remountArg [2048]byte

// Remount asks the server of the mount on dir, in whatever process it is, to change the options of its file system.
func Remount(dir, options string) error {
	var arg remountArg
	if len(options) >= len(arg) {
		return unix.ENAMETOOLONG
	}
	copy(arg[:], options)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(remountRequest), uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return nil
}

// remounted does what Remount asks for.
func (s *Server) remounted(in *fuse.IoctlIn, arg []byte) fuse.Status {
	options, _, ends := bytes.Cut(arg, []byte{0})
	switch {
	case in.Uid != 0:
		return fuse.EPERM
	case in.NodeId != fuse.FUSE_ROOT_ID || !ends:
		return fuse.EINVAL
	case s.remount == nil:
		return fuse.ENOSYS
	}
	return status(s.remount(string(options)))
}
