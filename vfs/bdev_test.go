// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/vfs"
)

// closing is a device that counts how often it is closed.
type closing struct {
	blockdev.Device
	closed *int
}

func (c closing) Close() error { *c.closed++; return c.Device.Close() }

// bdevType is a file system on a device that has nothing but an empty root directory. Data "bad" fails to mount.
var bdevType = &vfs.FileSystemType{Name: "bdevfs", RequiresDev: true, KillSb: (*vfs.SuperBlock).KillBlockSuper}

func init() {
	bdevType.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
		return v.MountBdev(bdevType, source, flags, data, func(sb *vfs.SuperBlock, data string) error {
			if data == "bad" {
				return unix.EINVAL
			}
			root := sb.NewInode()
			root.InodeInitOwner(vfs.RootCred, nil, unix.S_IFDIR|0o755)
			sb.Root = sb.DMakeRoot(root)
			return nil
		})
	}
}

// TestBlockDevices: who opens a device closes it, once; a device that is mounted twice is one file system.
func TestBlockDevices(t *testing.T) {
	v, p := machine(t, "")
	must(t, v.RegisterFilesystem(bdevType))
	must(t, p.Mkdir("/a", 0o755))
	must(t, p.Mkdir("/b", 0o755))
	opened, closed := 0, 0
	v.OpenBdev = func(path string, readOnly bool) (blockdev.Device, error) {
		if path != "/dev/x" {
			return nil, unix.ENOENT
		}
		opened++
		return closing{blockdev.NewMem(v.K, 1<<20), &closed}, nil
	}
	want(t, p.Mount("/dev/nothing", "/a", "bdevfs", 0, ""), unix.ENOENT)
	want(t, p.Mount("", "/a", "bdevfs", 0, ""), unix.EINVAL)
	want(t, p.Mount("/dev/x", "/a", "bdevfs", 0, "bad"), unix.EINVAL)
	if opened != 1 || closed != 1 {
		t.Fatalf("opened %d, closed %d", opened, closed)
	}
	must(t, p.Mount("/dev/x", "/a", "bdevfs", 0, ""))
	want(t, p.Mount("/dev/x", "/a", "bdevfs", 0, ""), unix.EBUSY)
	want(t, p.Mount("/dev/x", "/b", "bdevfs", unix.MS_RDONLY, ""), unix.EBUSY)
	must(t, p.Mount("/dev/x", "/b", "bdevfs", 0, ""))
	x, _ := p.Stat("/a")
	y, _ := p.Stat("/b")
	if x.Dev != y.Dev {
		t.Error("two file systems on one device")
	}
	must(t, p.Umount("/a", 0))
	if opened != 2 || closed != 1 {
		t.Errorf("opened %d, closed %d", opened, closed)
	}
	must(t, p.Umount("/b", 0))
	if opened != 2 || closed != 2 {
		t.Errorf("opened %d, closed %d", opened, closed)
	}

	own := closing{blockdev.NewMem(v.K, 1<<20), new(int)}
	v.AddBdev("/dev/own", own)
	must(t, p.Mount("/dev/own", "/a", "bdevfs", 0, ""))
	must(t, p.Umount("/a", 0))
	must(t, p.MountSource(vfs.Source{Name: "given", Dev: own}, "/a", "bdevfs", 0, ""))
	if *own.closed != 0 {
		t.Error("a device that is somebody else's was closed")
	}
	must(t, p.Umount("/a", 0))
	if *own.closed != 1 {
		t.Errorf("closed %d times", *own.closed)
	}
}
