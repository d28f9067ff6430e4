// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/vfs"
)

// hostFiemap asks the host's kernel for the extents of a file.
func hostFiemap(path string) (list []vfs.FiemapExtent, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const head, each, most = 32, 56, 4000
	b := make([]byte, head+each*most)
	le := binary.LittleEndian
	le.PutUint64(b[8:], ^uint64(0))
	le.PutUint32(b[16:], vfs.FIEMAP_FLAG_SYNC)
	le.PutUint32(b[24:], most)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), vfs.FS_IOC_FIEMAP, uintptr(unsafe.Pointer(&b[0]))); errno != 0 {
		return nil, errno
	}
	for e := b[head:][:each*le.Uint32(b[20:])]; len(e) > 0; e = e[each:] {
		list = append(list, vfs.FiemapExtent{Logical: le.Uint64(e), Physical: le.Uint64(e[8:]), Length: le.Uint64(e[16:]), Flags: le.Uint32(e[40:])})
	}
	return list, nil
}

// TestFiemapShared compares what FIEMAP says of all files of an image full of
// clones and snapshots, here and on the kernel: ranges, places on disk and flags,
// FIEMAP_EXTENT_SHARED among them.
//
// Mutation: let isDataExtentShared believe the first reference.
func TestFiemapShared(t *testing.T) {
	path, tree := sharedImage(t, 300<<20)
	k := kernel.New(kernel.Options{})
	m := mustBoot(t, k, openLoop(t, k, path))
	ours := map[string][]vfs.FiemapExtent{}
	for _, line := range tree {
		name, _, _ := strings.Cut(line, " ")
		st, err := m.Lstat(name)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		fd, err := m.Open(name, unix.O_RDONLY, 0)
		must(t, err)
		arg := vfs.FiemapArg{Length: ^uint64(0), Info: vfs.FiemapExtentInfo{Flags: vfs.FIEMAP_FLAG_SYNC, Max: 4000}}
		must(t, m.Ioctl(fd, vfs.FS_IOC_FIEMAP, &arg))
		m.Close(fd)
		ours[name] = arg.Info.Extents
	}
	m.off()
	dir, umount := oracle.Mount(t, path, "ro")
	defer umount()
	shared, extents := 0, 0
	for name, list := range ours {
		want, err := hostFiemap(filepath.Join(dir, name))
		must(t, err)
		if len(list) != len(want) {
			t.Errorf("%s: %d extents, by the kernel %d", name, len(list), len(want))
			continue
		}
		for i := range want {
			if list[i] != want[i] {
				t.Errorf("%s: extent %d is %+v, by the kernel %+v", name, i, list[i], want[i])
			}
			if extents++; want[i].Flags&vfs.FIEMAP_EXTENT_SHARED != 0 {
				shared++
			}
		}
	}
	t.Logf("%d files, %d extents, %d of them shared", len(ours), extents, shared)
	if shared == 0 || shared == extents {
		t.Errorf("%d of %d extents are shared: this says nothing", shared, extents)
	}
}
