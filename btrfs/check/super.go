// SPDX-License-Identifier: GPL-2.0-or-later

package check

import (
	"errors"

	"kbtrfs/btrfs/disk"
)

// errStop ends a walk whose results nobody wants any more.
var errStop = errors.New("stop")

// checkSupers compares the copies of the super block with one another and with
// the device.
func (c *checker) checkSupers() {
	s := &c.img.Super
	for _, m := range c.img.Supers {
		if m.Err != nil {
			c.bad("copy %d: %v", m.Mirror, m.Err)
			continue
		}
		o := &m.Super
		switch {
		case o.Fsid != s.Fsid:
			c.bad("copy %d belongs to file system %s", m.Mirror, o.Fsid)
		case c.o.Crashed && o.Generation <= s.Generation+1 && (o.Generation+1 >= s.Generation || c.o.WriteErrors):
			// A commit flushes the device before it writes the first copy, which
			// is durable before the next commit begins. Of equal generations there
			// are two if the machine crashed between the copies before.
		case o.Generation != s.Generation:
			c.bad("copy %d has generation %d, the first has %d", m.Mirror, o.Generation, s.Generation)
		case o.Root != s.Root || o.ChunkRoot != s.ChunkRoot || o.LogRoot != s.LogRoot || o.BytesUsed != s.BytesUsed ||
			o.TotalBytes != s.TotalBytes || o.SysChunkArray != s.SysChunkArray:
			c.bad("copy %d differs from the first though it has the same generation", m.Mirror)
		}
	}
	if s.Flags&disk.BTRFS_SUPER_FLAG_ERROR != 0 {
		c.bad("the file system was marked as having errors")
	}
	if s.RootDirObjectid != disk.BTRFS_ROOT_TREE_DIR_OBJECTID {
		c.bad("root directory of the root tree is %d", s.RootDirObjectid)
	}
	if s.BytesUsed > s.TotalBytes {
		c.bad("%d bytes used of %d", s.BytesUsed, s.TotalBytes)
	}
	if s.NumDevices == 1 {
		if s.DevItem.TotalBytes != s.TotalBytes {
			c.bad("total size %d, but the only device has %d", s.TotalBytes, s.DevItem.TotalBytes)
		}
		if s.TotalBytes > c.img.Size() {
			c.bad("total size %d is more than the device has (%d)", s.TotalBytes, c.img.Size())
		}
	}
	if s.CacheGeneration != 0 && s.CacheGeneration != ^uint64(0) && s.CacheGeneration > s.Generation {
		c.bad("space cache generation %d is newer than the file system (%d)", s.CacheGeneration, s.Generation)
	}
}
