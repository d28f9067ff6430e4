// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/vfs/memfs"
)

// TestFlusherOldData: what nobody syncs is on disk after half a minute and a bit, and not at once.
func TestFlusherOldData(t *testing.T) {
	deterministic(t, 1, func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
		must(t, p.Mkdir("/mnt", 0o755))
		must(t, p.Mount("x", "/mnt", "pagefs", 0, ""))
		store := storeOf(p, "/mnt")
		fd := open(t, p, "/mnt/f", unix.O_CREAT|unix.O_RDWR)
		p.Write(fd, []byte("x"))
		k.Sleep(10 * kernel.Second)
		if n := store.node(2); len(n.pages) != 0 || n.wrote != 0 {
			t.Errorf("written after ten seconds: %+v", n)
		}
		k.Sleep(30 * kernel.Second)
		if n := store.node(2); len(n.pages) != 1 || n.wrote != 1 || n.size != 1 {
			t.Errorf("not written after forty seconds: %+v", n)
		}
		k.Sleep(100 * kernel.Second)
		if n := store.node(2); n.wrote != 1 {
			t.Errorf("a clean inode was written %d times", n.wrote)
		}
		p.Close(fd)
		must(t, p.Umount("/mnt", 0))
	})
}

// TestFlusherBackground: a writer that dirties more than the background limit is served without a sync.
func TestFlusherBackground(t *testing.T) {
	deterministic(t, 1, func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
		must(t, p.Mkdir("/mnt", 0o755))
		must(t, p.Mount("x", "/mnt", "pagefs", 0, ""))
		fd := open(t, p, "/mnt/f", unix.O_CREAT|unix.O_RDWR)
		buf := make([]byte, 64<<10)
		for range 64 {
			_, err := p.Write(fd, buf)
			must(t, err)
		}
		k.Sleep(kernel.Second)
		background, hard := v.MM.DirtyLimits()
		// Between the limits the flusher is woken now and then only.
		if n := v.MM.NrFileDirty(); n > (background+hard)/2 {
			t.Errorf("%d dirty pages, limits %d and %d", n, background, hard)
		}
		p.Close(fd)
		must(t, p.Umount("/mnt", 0))
	})
}

// TestSyncWritesEverything: sync, syncfs, fsync and umount leave nothing dirty behind.
func TestSyncWritesEverything(t *testing.T) {
	for i := range uint64(100) {
		how := []string{"sync", "syncfs", "fsync", "umount", "remount"}[i%5]
		deterministic(t, i, func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
			must(t, p.Mkdir("/mnt", 0o755))
			must(t, p.Mount("x", "/mnt", "pagefs", 0, ""))
			store := storeOf(p, "/mnt")
			store.delay = 300
			fd := open(t, p, "/mnt/f", unix.O_CREAT|unix.O_RDWR)
			p.Pwrite(fd, []byte("x"), 3*4096)
			switch how {
			case "sync":
				p.Sync()
			case "syncfs":
				must(t, p.Syncfs(fd))
			case "fsync":
				must(t, p.Fsync(fd))
			}
			p.Close(fd)
			switch how {
			case "umount":
				must(t, p.Umount("/mnt", 0))
			case "remount":
				must(t, p.Mount("x", "/mnt", "pagefs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			}
			if n := store.node(2); len(n.pages) != 1 || n.size != 3*4096+1 {
				t.Errorf("%s: %+v", how, n)
			}
			if n := v.MM.NrFileDirty() + v.MM.NrWriteback(); n != 0 {
				t.Errorf("%s: %d pages dirty or under way", how, n)
			}
			if how != "umount" {
				must(t, p.Umount("/mnt", 0))
			}
		})
	}
}

// TestWritebackStress is the real world's share: goroutines write, sync, unlink, mount and unmount a file system with a flusher and
// little memory.
func TestWritebackStress(t *testing.T) {
	k := kernel.New(kernel.Options{})
	v := vfs.New(k, mm.Options{LimitBytes: 4 << 20})
	must(t, v.RegisterFilesystem(memfs.Type))
	must(t, v.RegisterFilesystem(pagefsType))
	must(t, v.MountRoot("memfs", vfs.Source{}, 0, ""))
	p := v.NewProcess(vfs.Cred{})
	must(t, p.Mkdir("/mnt", 0o755))
	for range 5 {
		must(t, p.Mount("x", "/mnt", "pagefs", 0, ""))
		v.MaxInodes = 2
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				p := p.Fork()
				defer p.Exit()
				buf := make([]byte, 16<<10)
				for i := range 100 {
					name := fmt.Sprintf("/mnt/f%d", (worker+i)%5)
					fd, err := p.Open(name, unix.O_CREAT|unix.O_RDWR, 0o644)
					if err != nil {
						t.Error(err)
						return
					}
					p.Pwrite(fd, buf, int64(i%40)*4096)
					p.Pread(fd, buf, int64(i%30)*4096)
					switch i % 9 {
					case 0:
						p.Fsync(fd)
					case 4:
						p.Sync()
					case 7:
						p.Unlink(name)
					}
					p.Close(fd)
				}
			})
		}
		finish(t, &wg, 100*time.Second)
		must(t, p.Umount("/mnt", 0))
	}
	p.Exit()
	must(t, v.Shutdown())
	for _, w := range k.Warnings() {
		t.Error(w)
	}
	if n := v.MM.NrFileDirty() + v.MM.NrWriteback(); n != 0 {
		t.Errorf("%d pages dirty or under way", n)
	}
}
