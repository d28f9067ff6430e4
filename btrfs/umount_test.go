// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// The transaction aborts when a page of an ordered extent is on disk and the
// others are still dirty: nobody writes those any more, and umount must get rid
// of the extent and its inode all the same.
//
// Mutation: CloseCtree without destroyAllOrderedExtents.
func TestUmountWithHalfAnOrderedExtent(t *testing.T) {
	k := kernel.New(kernel.Options{})
	mem := blockdev.NewMem(k, 64<<20)
	if err := mkfs.Make(k, mem, mkfs.Options{NodeSize: 4096, AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	dev := blockdev.NewFlaky(k, mem)
	v := vfs.New(k, mm.Options{})
	var root *vfs.Dentry
	seen := *Type
	seen.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (d *vfs.Dentry, err error) {
		root, err = mount(v, source, flags, data)
		return root, err
	}
	if err := v.RegisterFilesystem(&seen); err != nil {
		t.Fatal(err)
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, 0, "commit=1000000"); err != nil {
		t.Fatal(err)
	}
	p := v.NewProcess(*vfs.RootCred)
	fd, err := p.Open("/f", unix.O_CREAT|unix.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pwrite(fd, make([]byte, 1<<20), 0); err != nil {
		t.Fatal(err)
	}
	st, err := p.Fstat(fd)
	if err != nil {
		t.Fatal(err)
	}
	fsInfo := infoOf(root.Sb)
	inode, err := fsInfo.Iget(st.Ino, fsInfo.fsRoot)
	if err != nil {
		t.Fatal(err)
	}
	page := mm.FindLockPage(inode.Mapping, 7)
	page.ClearDirtyForIO()
	if err := inode.Mapping.AOps.Writepage(page, &mm.WritebackControl{NrToWrite: 1}); err != nil {
		t.Fatal(err)
	}
	page.WaitOnWriteback()
	page.Put()
	inode.Iput()
	if n := fsInfo.orderedAlive.Load(); n != 1 {
		t.Fatalf("%d ordered extents", n)
	}
	trans, err := fsInfo.fsRoot.StartTransaction(0)
	if err != nil {
		t.Fatal(err)
	}
	trans.Abort(unix.EIO)
	trans.End()
	p.Exit()
	if err := v.Shutdown(); err != nil {
		t.Error(err)
	}
	if w := k.Warnings(); len(w) > 0 {
		t.Errorf("warnings: %q", w)
	}
	checkImage(t, k, mem)
}
