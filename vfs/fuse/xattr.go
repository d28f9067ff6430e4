// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"encoding/binary"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

// GetXAttr reads an extended attribute.
func (s *Server) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string, dest []byte) (size uint32, code fuse.Status) {
	code = s.as(h, 0, func(p *vfs.Process, _ *node) error {
		n, err := p.Getxattrat(unix.AT_FDCWD, "", self, attr, dest)
		size = uint32(max(n, 0))
		return err
	})
	return size, code
}

// ListXAttr lists the names of extended attributes.
func (s *Server) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (size uint32, code fuse.Status) {
	code = s.as(h, 0, func(p *vfs.Process, _ *node) error {
		n, err := p.Listxattrat(unix.AT_FDCWD, "", self, dest)
		size = uint32(max(n, 0))
		return err
	})
	return size, code
}

// SetXAttr sets an extended attribute.
func (s *Server) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	return s.as(&in.InHeader, 0, func(p *vfs.Process, _ *node) error {
		return p.Setxattrat(unix.AT_FDCWD, "", self, attr, data, int(in.Flags))
	})
}

// RemoveXAttr removes one.
func (s *Server) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, attr string) fuse.Status {
	return s.as(h, 0, func(p *vfs.Process, _ *node) error { return p.Removexattrat(unix.AT_FDCWD, "", self, attr) })
}

// Ioctl passes the inode flags (lsattr, chattr) on; the host gives us no other
// ioctl whose argument could be understood here. Remount comes this way, too.
func (s *Server) Ioctl(_ <-chan struct{}, in *fuse.IoctlIn, inbuf []byte, out *fuse.IoctlOut, outbuf []byte) fuse.Status {
	if in.Cmd == remountRequest {
		return s.remounted(in, inbuf)
	}
	return s.as(&in.InHeader, 0, func(p *vfs.Process, n *node) error {
		fd, err := p.OpenPath(n.path, unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer p.Close(fd)
		var flags uint32
		switch in.Cmd {
		case vfs.FS_IOC_GETFLAGS:
			if len(outbuf) < 4 {
				return unix.EINVAL
			}
			err = p.Ioctl(fd, vfs.FS_IOC_GETFLAGS, &flags)
			binary.NativeEndian.PutUint32(outbuf, flags)
		case vfs.FS_IOC_SETFLAGS:
			if len(inbuf) < 4 {
				return unix.EINVAL
			}
			flags = binary.NativeEndian.Uint32(inbuf)
			err = p.Ioctl(fd, vfs.FS_IOC_SETFLAGS, &flags)
		case vfs.FS_IOC_FSGETXATTR: // which the host asks for before it changes flags
			var fa vfs.Fsxattr
			clear(outbuf)
			err = p.Ioctl(fd, vfs.FS_IOC_FSGETXATTR, &fa)
			if _, werr := binary.Encode(outbuf, binary.NativeEndian, fa); err == nil {
				err = werr
			}
		case vfs.FS_IOC_FSSETXATTR:
			var fa vfs.Fsxattr
			if _, err = binary.Decode(inbuf, binary.NativeEndian, &fa); err == nil {
				err = p.Ioctl(fd, vfs.FS_IOC_FSSETXATTR, &fa)
			}
		default:
			err = unix.ENOTTY
		}
		return err
	})
}
