// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// detCase is a small scene for two or three tasks on one file.
type detCase struct {
	name  string
	setup func(p *vfs.Process) error
	tasks []func(p *vfs.Process) error
	// after looks at the file when all tasks have ended and everything is synced.
	after func(data []byte) error

	strategy func(seed uint64) sched.Strategy // nil: any enabled task, with equal chances

	revert  string // commits that are taken back
	options string // of the mount
	threads bool   // the tasks share their memory
}

func letters(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

func pwriteAll(p *vfs.Process, path string, data []byte, off int64) error {
	fd, err := p.Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return err
	}
	if n, err := p.Pwrite(fd, data, off); err != nil || n != len(data) {
		return fmt.Errorf("pwrite: %d, %v", n, err)
	}
	return p.Close(fd)
}

func withFile(p *vfs.Process, fn func(fd int) error) error {
	fd, err := p.Open("/f", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return err
	}
	if err := fn(fd); err != nil {
		return err
	}
	return p.Close(fd)
}

var detCases = []detCase{
	{
		name: "overwrite and fsync",
		setup: func(p *vfs.Process) error {
			return pwriteAll(p, "/f", letters('a', 8192), 0)
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('b', 4096), 0) },
			func(p *vfs.Process) error { return withFile(p, func(fd int) error { return p.Fsync(fd) }) },
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('c', 4096), 4096) },
		},
		after: func(data []byte) error {
			if !bytes.Equal(data, append(letters('b', 4096), letters('c', 4096)...)) {
				return fmt.Errorf("file is %q...", data[:4])
			}
			return nil
		},
	},
	{
		name: "truncate beside writeback",
		setup: func(p *vfs.Process) error {
			return pwriteAll(p, "/f", letters('a', 12288), 0)
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error {
				return withFile(p, func(fd int) error {
					if err := p.Ftruncate(fd, 5000); err != nil {
						return err
					}
					return p.Ftruncate(fd, 9000)
				})
			},
			func(p *vfs.Process) error { p.Sync(); return nil },
		},
		after: func(data []byte) error {
			if !bytes.Equal(data, append(letters('a', 5000), make([]byte, 4000)...)) {
				return fmt.Errorf("%d bytes, not what truncate left", len(data))
			}
			return nil
		},
	},
	{
		name: "read beside overwrite and sync",
		setup: func(p *vfs.Process) error {
			if err := pwriteAll(p, "/f", letters('a', 4096), 0); err != nil {
				return err
			}
			p.Sync()
			return nil
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error {
				if err := pwriteAll(p, "/f", letters('b', 4096), 0); err != nil {
					return err
				}
				p.Sync()
				return nil
			},
			func(p *vfs.Process) error {
				return withFile(p, func(fd int) error {
					buf := make([]byte, 4096)
					n, err := p.Pread(fd, buf, 0)
					if err != nil || n != 4096 || !bytes.Equal(buf, letters('a', 4096)) && !bytes.Equal(buf, letters('b', 4096)) {
						return fmt.Errorf("read %d, %v: %q...%q", n, err, buf[:1], buf[4095:])
					}
					return nil
				})
			},
		},
		after: func(data []byte) error {
			if !bytes.Equal(data, letters('b', 4096)) {
				return fmt.Errorf("lost write")
			}
			return nil
		},
	},
	{
		name: "punch beside write",
		setup: func(p *vfs.Process) error {
			return pwriteAll(p, "/f", letters('a', 16384), 0)
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error {
				return withFile(p, func(fd int) error {
					return p.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096)
				})
			},
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('b', 5000), 8000) },
			func(p *vfs.Process) error { p.Sync(); return nil },
		},
		after: func(data []byte) error {
			want := append(letters('a', 4096), make([]byte, 4096)...)
			want = append(append(want, letters('b', 13000-8192)...), letters('a', 16384-13000)...)
			got := append([]byte(nil), data...)
			copy(got[8000:8192], make([]byte, 192)) // whoever was last
			if !bytes.Equal(got, want) {
				return fmt.Errorf("hole or data wrong")
			}
			return nil
		},
	},
	{
		name: "preallocated extent written while it is synced",
		setup: func(p *vfs.Process) error {
			return withFile(p, func(fd int) error { return p.Fallocate(fd, 0, 0, 16384) })
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('x', 4096), 4096) },
			func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('y', 4096), 8192) },
			func(p *vfs.Process) error { p.Sync(); return nil },
		},
		after: func(data []byte) error {
			want := append(append(append(make([]byte, 4096), letters('x', 4096)...), letters('y', 4096)...), make([]byte, 4096)...)
			if !bytes.Equal(data, want) {
				return fmt.Errorf("wrong contents")
			}
			return nil
		},
	},
	{
		name: "unlink of dirty data",
		setup: func(p *vfs.Process) error {
			return pwriteAll(p, "/f", letters('a', 4096), 0)
		},
		tasks: []func(p *vfs.Process) error{
			func(p *vfs.Process) error {
				if err := pwriteAll(p, "/g", letters('b', 20000), 0); err != nil {
					return err
				}
				return p.Unlink("/g")
			},
			func(p *vfs.Process) error { p.Sync(); return nil },
		},
		after: func(data []byte) error { return nil },
	},
}

// Each scene under many interleavings: of the tasks, the flusher, the workers
// and the completions of I/O. Nothing may hang, warn or leak, the file must hold
// what it should, on the device as well, and the image must be clean.
func TestDataInterleavings(t *testing.T) {
	base := kernel.New(kernel.Options{Seed: 1})
	mem := blockdev.NewMem(base, 16<<20)
	if err := mkfs.Make(base, mem, mkfs.Options{NodeSize: 4096, MetaProfile: "single", AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	snapshot := mem.Freeze()
	first, seeds := uint64(1), uint64(15)
	if testing.Short() {
		seeds = 5
	}
	fmt.Sscanf(os.Getenv("KTEST_SEEDS"), "%d-%d", &first, &seeds)
	for _, c := range detCases {
		t.Run(c.name, func(t *testing.T) {
			for seed := first; seed <= seeds; seed++ {
				if err := runDet(snapshot, &c, seed); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

func runDet(snapshot *blockdev.Snapshot, c *detCase, seed uint64) error {
	s := sched.New(seed)
	if c.strategy != nil {
		s.SetStrategy(c.strategy(seed))
	}
	k := kernel.New(kernel.Options{Scheduler: s, Seed: seed, Params: map[string]string{"btrfs.revert": c.revert}})
	var fail error
	note := func(err error) {
		if err != nil && fail == nil {
			fail = err
		}
	}
	err := k.Run(c.name, func(task *kernel.Task) {
		dev := blockdev.NewOverlay(k, snapshot)
		v := vfs.New(k, mm.Options{LimitBytes: 1 << 20})
		var sb *vfs.SuperBlock
		fst := *btrfs.Type
		fst.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
			root, err := btrfs.Type.Mount(v, source, flags, data)
			if err == nil {
				sb = root.Sb
			}
			return root, err
		}
		note(v.RegisterFilesystem(&fst))
		if err := v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, 0, c.options); err != nil {
			note(err)
			return
		}
		p := v.NewProcess(*vfs.RootCred)
		note(c.setup(p))
		// All are there before the first one starts: which steps meet must not
		// depend on how long it takes to make a process.
		fork := p.Fork
		if c.threads {
			fork = p.Thread
		}
		var children []*vfs.Process
		for range c.tasks {
			children = append(children, fork())
		}
		s.SetInvariant(func() error { return btrfs.CheckInvariants(sb) })
		s.Explore(true)
		left := new(kernel.AtomicInt32)
		left.Store(int32(len(c.tasks)))
		var all kernel.Completion
		all.Init(k.Class("test: all tasks"))
		for i, fn := range c.tasks {
			k.Go(fmt.Sprintf("task%d", i), func(*kernel.Task) {
				note(fn(children[i]))
				children[i].Exit()
				if left.Add(-1) == 0 {
					all.Complete()
				}
			})
		}
		all.Wait()
		p.Sync()
		read := func(p *vfs.Process) {
			fd, err := p.Open("/f", unix.O_RDONLY, 0)
			if err != nil {
				note(err)
				return
			}
			st, err := p.Fstat(fd)
			note(err)
			buf := make([]byte, st.Size)
			if len(buf) > 0 {
				n, err := p.Pread(fd, buf, 0)
				note(err)
				buf = buf[:n]
			}
			note(c.after(buf))
			note(p.Close(fd))
		}
		read(p)
		p.Exit()
		s.SetInvariant(nil)
		note(v.Shutdown())
		problems, err := check.Device(k, dev, check.Options{DataCsum: true})
		note(err)
		for _, problem := range problems {
			note(fmt.Errorf("check: %v", problem))
		}
		v = vfs.New(k, mm.Options{LimitBytes: 1 << 20})
		note(v.RegisterFilesystem(btrfs.Type))
		if err := v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, 0, ""); err != nil {
			note(err)
			return
		}
		p = v.NewProcess(*vfs.RootCred)
		read(p)
		p.Exit()
		note(v.Shutdown())
	})
	if err != nil {
		fail = err
	}
	for _, w := range k.Warnings() {
		note(fmt.Errorf("WARN: %v", w))
	}
	if fail != nil {
		for _, line := range k.Dmesg() {
			fail = fmt.Errorf("%w\n%s", fail, line)
		}
	}
	return fail
}
