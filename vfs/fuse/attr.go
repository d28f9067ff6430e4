// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
)

const (
	attrTimeout  = time.Second
	entryTimeout = time.Hour
)

// encodeDev and decodeDev are new_encode_dev and new_decode_dev: device numbers
// in 32 bits.
func encodeDev(dev uint64) uint32 {
	major, minor := unix.Major(dev), unix.Minor(dev)
	return minor&0xff | major<<8 | minor&^0xff<<12
}

func decodeDev(dev uint32) uint64 {
	return unix.Mkdev(dev&0xfff00>>8, dev&0xff|dev>>12&0xfff00)
}

// ino is the number of a file for the host. To programs the mount is one device, so where st_dev tells files of several subvolumes apart
// here, their numbers must: else find(1) sees loops, and cp(1) takes a file and its snapshot for two names of one file.
func (s *Server) ino(dev, ino uint64) uint64 {
	const shift = 48 // more inodes than a file system has; and 65,536 subvolumes
	return ino ^ (dev-s.dev)<<shift
}

func (s *Server) fillAttr(a *fuse.Attr, st *vfs.Stat) {
	a.Ino, a.Size, a.Blocks = s.ino(st.Dev, st.Ino), uint64(st.Size), uint64(st.Blocks)
	a.Atime, a.Atimensec = uint64(st.Atime.Sec), st.Atime.Nsec
	a.Mtime, a.Mtimensec = uint64(st.Mtime.Sec), st.Mtime.Nsec
	a.Ctime, a.Ctimensec = uint64(st.Ctime.Sec), st.Ctime.Nsec
	a.Mode, a.Nlink = st.Mode, st.Nlink
	a.Owner = fuse.Owner{Uid: st.Uid, Gid: st.Gid}
	a.Rdev, a.Blksize = encodeDev(st.Rdev), uint32(st.Blksize)
}

// GetAttr is stat.
func (s *Server) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := s.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	st, err := n.path.Stat()
	if err != nil {
		return status(err)
	}
	s.fillAttr(&out.Attr, &st)
	out.SetTimeout(attrTimeout)
	return fuse.OK
}

// Statx adds what stat does not tell: the birth time and the attributes.
func (s *Server) Statx(_ <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n := s.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	st, err := n.path.Stat()
	if err != nil {
		return status(err)
	}
	stamp := func(t vfs.Timespec) fuse.SxTime { return fuse.SxTime{Sec: uint64(t.Sec), Nsec: t.Nsec} }
	out.SetTimeout(attrTimeout)
	out.Statx = fuse.Statx{
		Mask: unix.STATX_BASIC_STATS | unix.STATX_BTIME, Blksize: uint32(st.Blksize), Attributes: st.Attributes, AttributesMask: st.AttributesMask,
		Nlink: st.Nlink, Uid: st.Uid, Gid: st.Gid, Mode: uint16(st.Mode), Ino: s.ino(st.Dev, st.Ino), Size: uint64(st.Size), Blocks: uint64(st.Blocks),
		Atime: stamp(st.Atime), Btime: stamp(st.Btime), Ctime: stamp(st.Ctime), Mtime: stamp(st.Mtime),
		RdevMajor: unix.Major(st.Rdev), RdevMinor: unix.Minor(st.Rdev), DevMajor: unix.Major(st.Dev), DevMinor: unix.Minor(st.Dev),
	}
	return fuse.OK
}

// SetAttr is chmod, chown, truncate and utimensat, as far as in.Valid says.
func (s *Server) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.as(&in.InHeader, 0, func(p *vfs.Process, n *node) error {
		if mode, ok := in.GetMode(); ok {
			if err := p.Fchmodat(unix.AT_FDCWD, "", mode, self); err != nil {
				return err
			}
		}
		uid, gid := -1, -1
		if v, ok := in.GetUID(); ok {
			uid = int(v)
		}
		if v, ok := in.GetGID(); ok {
			gid = int(v)
		}
		if uid != -1 || gid != -1 {
			if err := p.Fchownat(unix.AT_FDCWD, "", uid, gid, self); err != nil {
				return err
			}
		}
		if size, ok := in.GetSize(); ok {
			if err := truncate(p, n, in, int64(size)); err != nil {
				return err
			}
		}
		if in.Valid&(fuse.FATTR_ATIME|fuse.FATTR_MTIME|fuse.FATTR_ATIME_NOW|fuse.FATTR_MTIME_NOW) != 0 {
			times := [2]vfs.Timespec{
				setTime(in.Valid, fuse.FATTR_ATIME, fuse.FATTR_ATIME_NOW, in.Atime, in.Atimensec),
				setTime(in.Valid, fuse.FATTR_MTIME, fuse.FATTR_MTIME_NOW, in.Mtime, in.Mtimensec),
			}
			if err := p.Utimensat(unix.AT_FDCWD, "", &times, self); err != nil {
				return err
			}
		}
		st, err := n.path.Stat()
		if err == nil {
			s.fillAttr(&out.Attr, &st)
			out.SetTimeout(attrTimeout)
		}
		return err
	})
}

// truncate cuts or extends a file, through the request's file handle if it has one.
func truncate(p *vfs.Process, n *node, in *fuse.SetAttrIn, size int64) error {
	if fh, ok := in.GetFh(); ok {
		return p.Ftruncate(int(fh), size)
	}
	fd, err := p.OpenPath(n.path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	err = p.Ftruncate(fd, size)
	p.Close(fd)
	return err
}

func setTime(valid, set, now uint32, sec uint64, nsec uint32) vfs.Timespec {
	switch {
	case valid&now != 0:
		return vfs.Timespec{Nsec: vfs.UTIME_NOW}
	case valid&set != 0:
		return vfs.Timespec{Sec: int64(sec), Nsec: nsec}
	}
	return vfs.Timespec{Nsec: vfs.UTIME_OMIT}
}

// StatFs is statfs.
func (s *Server) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	st, err := s.root.Statfs()
	if err != nil {
		return status(err)
	}
	*out = fuse.StatfsOut{Blocks: st.Blocks, Bfree: st.Bfree, Bavail: st.Bavail, Files: st.Files, Ffree: st.Ffree,
		Bsize: uint32(st.Bsize), Frsize: uint32(st.Frsize), NameLen: uint32(st.Namelen)}
	return fuse.OK
}
