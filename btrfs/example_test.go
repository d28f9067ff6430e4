// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// The whole life of a file system: made, mounted, written, synced, unmounted.
// On a file of the host instead of memory (blockdev.OpenLoop), the image that
// this leaves is one that Linux mounts.
func Example() {
	k := kernel.New(kernel.Options{})
	dev := blockdev.NewMem(k, 256<<20)
	if err := mkfs.Make(k, dev, mkfs.Options{Label: "example"}); err != nil {
		panic(err)
	}
	v := vfs.New(k, mm.Options{})
	v.RegisterFilesystem(btrfs.Type)
	fmt.Println("mount: ", v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev}, 0, ""))
	p := v.NewProcess(*vfs.RootCred)
	fd, err := p.Open("/hello", unix.O_CREAT|unix.O_RDWR, 0o644)
	fmt.Println("open:  ", fd, err)
	n, err := p.Pwrite(fd, []byte("hello, world"), 0)
	fmt.Println("pwrite:", n, err)
	fmt.Println("fsync: ", p.Fsync(fd))
	p.Exit()
	fmt.Println("umount:", v.Shutdown())
	// Output:
	// mount:  <nil>
	// open:   0 <nil>
	// pwrite: 12 <nil>
	// fsync:  <nil>
	// umount: <nil>
}
