// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"kbtrfs/btrfs"
	"kbtrfs/vfs"
)

// Ioctl is Process.Ioctl.
//
// A subvolume is a file system of its own: making one makes a directory, deleting
// one removes it, and what lies below is not part of the history. That a snapshot
// shows one moment of its source is not judged.
func (c *Client) Ioctl(fd int, cmd uint, arg any) error {
	start := c.begin()
	err := c.Process.Ioctl(fd, cmd, arg)
	if c.rec == nil || err != nil {
		return err
	}
	switch cmd {
	case vfs.FS_IOC_FIEMAP, vfs.FS_IOC_GETFLAGS, vfs.FS_IOC_SETFLAGS, vfs.FIGETBSZ, vfs.FIONREAD, vfs.FIDEDUPERANGE:
	case btrfs.BTRFS_IOC_TREE_SEARCH, btrfs.BTRFS_IOC_TREE_SEARCH_V2, btrfs.BTRFS_IOC_INO_LOOKUP, btrfs.BTRFS_IOC_GET_SUBVOL_INFO, btrfs.BTRFS_IOC_FS_INFO,
		btrfs.BTRFS_IOC_DEV_INFO, btrfs.BTRFS_IOC_SPACE_INFO, btrfs.BTRFS_IOC_SUBVOL_GETFLAGS, btrfs.BTRFS_IOC_SUBVOL_SYNC_WAIT:
	case btrfs.BTRFS_IOC_SYNC:
		c.note(Call{Start: start, Kind: Sync}, nil)
	case btrfs.BTRFS_IOC_START_SYNC, btrfs.BTRFS_IOC_WAIT_SYNC: // together a sync; one by one no promise
	case btrfs.BTRFS_IOC_SUBVOL_CREATE, btrfs.BTRFS_IOC_SUBVOL_CREATE_V2, btrfs.BTRFS_IOC_SNAP_CREATE, btrfs.BTRFS_IOC_SNAP_CREATE_V2:
		c.subvolume(Mkdir, start, fd, arg)
	case btrfs.BTRFS_IOC_SNAP_DESTROY:
		c.subvolume(Rmdir, start, fd, arg)
	case vfs.FICLONERANGE:
		if r, ok := arg.(*vfs.FileCloneRange); ok && r.SrcLength > 0 {
			c.clobber(start, fd, int64(r.DestOffset), int64(r.SrcLength))
			break
		}
		fallthrough
	default:
		c.rec.missing(fmt.Sprintf("ioctl %#x", cmd))
	}
	return err
}

// subvolume notes that one was made or deleted.
func (c *Client) subvolume(kind Kind, start uint64, fd int, arg any) {
	args, ok := arg.(*btrfs.VolArgs)
	if !ok {
		c.rec.missing("subvolumes")
		return
	}
	p := path.Join(c.file(fd).path, args.Name)
	if kind == Mkdir {
		c.rec.mu.Lock()
		c.rec.subvols = append(c.rec.subvols, p)
		c.rec.mu.Unlock()
	}
	c.onName(kind, 0, start, p, "", 0, nil)
}

// outside tells whether a path of the history is, or was, a subvolume or below
// one. root: it is the subvolume's own name.
func (r *Recorder) outside(p string) (below, root bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	root = slices.Contains(r.subvols, p)
	below = slices.ContainsFunc(r.subvols, func(s string) bool { return strings.HasPrefix(p, s) && len(p) > len(s) && p[len(s)] == '/' })
	return below, root
}
