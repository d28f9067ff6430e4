// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
	"kbtrfs/vfs/memfs"
	"kbtrfs/vfs/vfstest"
)

// deterministic runs body on a machine whose interleaving the seed decides, and returns the trace hash. Everything must unmount.
func deterministic(t *testing.T, seed uint64, body func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process)) uint64 {
	t.Helper()
	s := sched.New(seed)
	k := kernel.New(kernel.Options{Scheduler: s, Seed: seed})
	err := k.Run("init", func(*kernel.Task) {
		v := vfs.New(k, mm.Options{LimitBytes: 1 << 20})
		must(t, v.RegisterFilesystem(memfs.Type))
		must(t, v.RegisterFilesystem(pagefsType))
		must(t, v.MountRoot("memfs", vfs.Source{Name: "root"}, 0, ""))
		p := v.NewProcess(vfs.Cred{})
		body(k, v, p)
		p.Exit()
		if err := v.Shutdown(); err != nil {
			t.Errorf("seed %d: shutdown: %v", seed, err)
		}
	})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for _, w := range k.Warnings() {
		t.Fatalf("seed %d: %s", seed, w)
	}
	return s.Hash()
}

// inParallel runs n tasks with a process each and waits for them.
func inParallel(k *kernel.Kernel, p *vfs.Process, n int, fn func(i int, p *vfs.Process)) {
	var tasks []*kernel.Task
	for i := range n {
		child := p.Fork()
		tasks = append(tasks, k.Go(fmt.Sprintf("worker%d", i), func(*kernel.Task) {
			fn(i, child)
			child.Exit()
		}))
	}
	for _, task := range tasks {
		task.Join()
	}
}

// TestDeterministicNames: random calls on the same names under many interleavings; lockdep watches the order of locks.
func TestDeterministicNames(t *testing.T) {
	n := uint64(150)
	if testing.Short() {
		n = 20
	}
	body := func(seed uint64) func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
		return func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
			v.MaxDentries, v.MaxInodes = 2, 1
			inParallel(k, p, 3, func(i int, p *vfs.Process) {
				script := vfstest.Random(rand.New(rand.NewPCG(seed, uint64(i))), 25, false)
				vfstest.Run(vfstest.Process(p), script, vfstest.Options{})
			})
			checkTree(t, p, "/")
		}
	}
	hashes := map[uint64]bool{}
	for seed := range n {
		hashes[deterministic(t, seed, body(seed))] = true
	}
	if deterministic(t, 5, body(5)) != deterministic(t, 5, body(5)) {
		t.Error("the same seed, another trace")
	}
	if len(hashes) < int(n)/2 {
		t.Errorf("%d seeds, %d orders", n, len(hashes))
	}
}

// TestDeterministicRename: two names change places all the time, a third process always finds both.
func TestDeterministicRename(t *testing.T) {
	for seed := range uint64(100) {
		deterministic(t, seed, func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
			for _, dir := range []string{"/x", "/y", "/v", "/w"} {
				must(t, p.Mkdir(dir, 0o755))
				must(t, p.Mkdir(dir+"/d", 0o755))
			}
			inParallel(k, p, 4, func(i int, p *vfs.Process) {
				switch i {
				case 0:
					for range 4 {
						must(t, p.Renameat2(unix.AT_FDCWD, "/x/d", unix.AT_FDCWD, "/y/d", unix.RENAME_EXCHANGE))
					}
				case 1:
					for range 4 {
						_, err := p.Stat("/x/d/../../y/d")
						must(t, err)
					}
				case 2:
					for range 3 {
						// One of these two must lose, neither may make a loop.
						p.Rename("/v", "/w/d/v")
						p.Rename("/w/d/v", "/v")
					}
				case 3:
					for range 3 {
						p.Rename("/w", "/v/d/w")
						p.Rename("/v/d/w", "/w")
					}
				}
			})
		})
	}
}

// TestDeterministicWriteback: dirty files, the flusher, sync, unlink and umount under many interleavings.
func TestDeterministicWriteback(t *testing.T) {
	for seed := range uint64(120) {
		deterministic(t, seed, func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
			must(t, p.Mkdir("/mnt", 0o755))
			must(t, p.Mount("x", "/mnt", "pagefs", 0, ""))
			store := storeOf(p, "/mnt")
			inParallel(k, p, 3, func(i int, p *vfs.Process) {
				for j := range 3 {
					name := fmt.Sprintf("/mnt/f%d", (i+j)%2)
					fd := open(t, p, name, unix.O_CREAT|unix.O_RDWR)
					_, err := p.Pwrite(fd, []byte{byte('a' + i)}, int64(4096*i))
					must(t, err)
					switch (i + j) % 4 {
					case 0:
						must(t, p.Fsync(fd))
						store.check(t, fd, p)
					case 1:
						p.Sync()
					case 2:
						p.Unlink(name)
					}
					p.Close(fd)
				}
			})
			for _, bad := range v.CheckDcache() {
				t.Errorf("seed %d: %s", seed, bad)
			}
			seen := map[uint64]map[uint64]byte{}
			for _, name := range []string{"/mnt/f0", "/mnt/f1"} {
				if fd, err := p.Open(name, unix.O_RDONLY, 0); err == nil {
					st, _ := p.Fstat(fd)
					pages := map[uint64]byte{}
					var buf [1]byte
					for off := int64(0); off < st.Size; off += 4096 {
						p.Pread(fd, buf[:], off)
						if buf[0] != 0 {
							pages[uint64(off/4096)] = buf[0]
						}
					}
					seen[st.Ino] = pages
					p.Close(fd)
				}
			}
			must(t, p.Umount("/mnt", 0))
			// What could be read is what is on disk.
			for ino, pages := range seen {
				disk := store.disk[ino]
				for i, b := range pages {
					if disk == nil || disk.pages[i] != b {
						t.Errorf("seed %d: inode %d page %d: %q was read, %+v is on disk", seed, ino, i, b, disk)
					}
				}
			}
		})
	}
}

// TestDeterministicRemount: files come and go while the file system turns read-only and back.
func TestDeterministicRemount(t *testing.T) {
	for seed := range uint64(60) {
		deterministic(t, seed, func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
			must(t, p.Mkdir("/mnt", 0o755))
			must(t, p.Mount("x", "/mnt", "pagefs", 0, ""))
			inParallel(k, p, 2, func(i int, p *vfs.Process) {
				for range 4 {
					// So that nobody writes, now and then.
					for range 30 {
						k.CondResched()
					}
					if i == 0 {
						p.Mount("x", "/mnt", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
						p.Mount("x", "/mnt", "", unix.MS_REMOUNT, "")
						continue
					}
					name := fmt.Sprintf("/mnt/f%d", i)
					if fd, err := p.Open(name, unix.O_CREAT|unix.O_RDONLY, 0o644); err == nil {
						p.Close(fd)
					}
					p.Unlink(name)
				}
			})
			must(t, p.Umount("/mnt", 0))
		})
	}
}

// TestDeterministicFifo: a writer and a reader of a FIFO wait for one another and lose nothing.
func TestDeterministicFifo(t *testing.T) {
	for seed := range uint64(60) {
		deterministic(t, seed, func(k *kernel.Kernel, v *vfs.VFS, p *vfs.Process) {
			must(t, p.Mknod("/p", unix.S_IFIFO|0o644, 0))
			const total = 200_000
			inParallel(k, p, 2, func(i int, p *vfs.Process) {
				if i == 0 {
					fd := open(t, p, "/p", unix.O_WRONLY)
					buf := make([]byte, total)
					for j := range buf {
						buf[j] = byte(j * 7)
					}
					for len(buf) > 0 {
						n, err := p.Write(fd, buf[:min(len(buf), 30_000)])
						must(t, err)
						buf = buf[n:]
					}
					return
				}
				fd := open(t, p, "/p", unix.O_RDONLY)
				got, buf := 0, make([]byte, 9000)
				for {
					n, err := p.Read(fd, buf)
					must(t, err)
					if n == 0 {
						break
					}
					for j := range n {
						if buf[j] != byte((got+j)*7) {
							t.Fatalf("byte %d is %d", got+j, buf[j])
						}
					}
					got += n
				}
				if got != total {
					t.Errorf("%d bytes of %d", got, total)
				}
			})
		})
	}
}
