// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// mapAt is where setupMapping maps /f.
const mapAt = 1 << 30

// dioIntoMapping reads a page of /src directly into the mapping of /f: that page
// becomes dirty when the read has ended, whatever happened to it since it was
// pinned.
func dioIntoMapping(p *vfs.Process) error {
	src, err := p.Open("/src", unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	if got, err := p.PreadUser(src, 0, mm.UserSeg{Addr: mapAt, Len: mm.PAGE_SIZE}); err != nil || got != mm.PAGE_SIZE {
		return fmt.Errorf("direct read into the mapping: %d, %v", got, err)
	}
	return p.Close(src)
}

func fsyncFile(p *vfs.Process) error { return withFile(p, p.Fsync) }

// setupFile makes /src and /f, a page each, and commits them.
func setupFile(p *vfs.Process) error {
	if err := pwriteAll(p, "/src", letters('s', mm.PAGE_SIZE), 0); err != nil {
		return err
	}
	if err := pwriteAll(p, "/f", letters('a', mm.PAGE_SIZE), 0); err != nil {
		return err
	}
	p.Sync()
	return nil
}

// setupMapping also maps /f and stores to it: the page is dirty and may be
// written to without a fault.
func setupMapping(p *vfs.Process) error {
	if err := setupFile(p); err != nil {
		return err
	}
	return withFile(p, func(fd int) error {
		_, err := p.Mmap(mapAt, mm.PAGE_SIZE, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED, fd, 0)
		if err != nil {
			return err
		}
		return p.Store(mapAt, []byte("x"))
	})
}

// onePage expects the file to be one page of one of these letters.
func onePage(allowed string) func(data []byte) error {
	return func(data []byte) error {
		if len(data) != mm.PAGE_SIZE || !strings.Contains(allowed, string(data[0])) || strings.Count(string(data), string(data[0])) != len(data) {
			return fmt.Errorf("lost: the file is %d bytes, %q..., want a page of one of %q", len(data), data[:min(4, len(data))], allowed)
		}
		return nil
	}
}

// mmapScene is a scene with the commits that it proves: each, taken back, must
// be noticed, in words that contain the finding.
type mmapScene struct {
	detCase
	catches map[string]string // slug, maybe with variant: substring of the finding
}

var mmapScenes = []mmapScene{
	{
		detCase: detCase{
			threads: true,
			name:    "direct read into a mapping beside fsync",
			setup:   setupMapping,
			tasks: []func(p *vfs.Process) error{
				dioIntoMapping,
				fsyncFile,
			},
			after: onePage("s"),
		},
		catches: map[string]string{
			"fixup-workers":    "written in place",
			"fixup-keep-dirty": "waits for a fixup but is clean",
			"fixup-reserve":    "bytes_may_use",
		},
	},
	{
		detCase: detCase{
			threads: true,
			name:    "direct read into a mapping beside fsync and sync",
			setup:   setupMapping,
			tasks: []func(p *vfs.Process) error{
				dioIntoMapping,
				fsyncFile,
				func(p *vfs.Process) error { p.Sync(); return nil },
			},
			after: onePage("s"),
		},
		catches: map[string]string{
			"fixup-wait-ordered":               "no fixup will come",
			"fixup-wait-ordered=does-not-look": "is delalloc",
		},
	},
	{
		detCase: detCase{
			threads: true,
			name:    "direct read into a mapping beside a writer that syncs",
			setup:   setupMapping,
			tasks: []func(p *vfs.Process) error{
				dioIntoMapping,
				fsyncFile,
				func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('b', mm.PAGE_SIZE), 0) },
			},
			after: onePage("sb"),
		},
		catches: map[string]string{"clear-page-checked": "is delalloc and still marked for a fixup"},
	},
	{
		detCase: detCase{
			name:  "store to a mapping beside msync and truncate",
			setup: setupFile,
			tasks: []func(p *vfs.Process) error{
				func(p *vfs.Process) error {
					return withFile(p, func(fd int) error {
						addr, err := p.Mmap(0, mm.PAGE_SIZE, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd, 0)
						if err != nil {
							return err
						}
						for _, c := range []byte("xy") {
							if err := p.Store(addr, []byte{c}); err != nil {
								return err
							}
							if err := p.Msync(addr, mm.PAGE_SIZE, unix.MS_SYNC); err != nil {
								return err
							}
						}
						return p.Munmap(addr, mm.PAGE_SIZE)
					})
				},
				func(p *vfs.Process) error { return p.Truncate("/f", 100) },
			},
			after: func(data []byte) error {
				if len(data) != 100 || data[0] != 'y' || data[99] != 'a' {
					return fmt.Errorf("%d bytes: %q", len(data), data)
				}
				return nil
			},
		},
	},
	{
		detCase: detCase{
			name:  "write and unlink",
			setup: setupFile,
			tasks: []func(p *vfs.Process) error{
				func(p *vfs.Process) error {
					if err := pwriteAll(p, "/g", letters('g', 2*mm.PAGE_SIZE), 0); err != nil {
						return err
					}
					return p.Unlink("/g")
				},
				func(p *vfs.Process) error { p.Sync(); return nil },
			},
			after: onePage("a"),
		},
		catches: map[string]string{"delete-inode-truncate-first": "written for a deleted inode"},
	},
	{
		detCase: detCase{
			name: "truncate beside sync",
			// Long runs of one task: sync has to come with the write half done.
			strategy: func(seed uint64) sched.Strategy { return sched.NewSticky(seed) },
			setup:    setupFile,
			tasks: []func(p *vfs.Process) error{
				func(p *vfs.Process) error {
					if err := pwriteAll(p, "/f", letters('b', 2*mm.PAGE_SIZE), 0); err != nil {
						return err
					}
					return p.Truncate("/f", mm.PAGE_SIZE)
				},
				func(p *vfs.Process) error { p.Sync(); return nil },
			},
			after: onePage("b"),
		},
		catches: map[string]string{"wait-ordered-outside-trans": "waiting for the ordered extent"},
	},
	{
		detCase: detCase{
			name: "overwrite after a snapshot",
			setup: func(p *vfs.Process) error {
				if err := setupFile(p); err != nil {
					return err
				}
				root, err := p.Open("/", unix.O_RDONLY, 0)
				if err != nil {
					return err
				}
				if err := p.Ioctl(root, btrfs.BTRFS_IOC_SNAP_CREATE_V2, &btrfs.VolArgs{Fd: root, Name: "snap"}); err != nil {
					return err
				}
				return p.Close(root)
			},
			tasks: []func(p *vfs.Process) error{
				func(p *vfs.Process) error { return pwriteAll(p, "/f", letters('b', mm.PAGE_SIZE), 0) },
				func(p *vfs.Process) error { p.Sync(); return nil },
			},
			after: onePage("b"),
		},
		catches: map[string]string{"alloc-mutex-inc-ref": "alloc_mutex was held over"},
	},
}

// TestMmapSchedules: each scene under many interleavings is clean, and with each
// of its commits taken back the named invariant is violated in one of them.
// KTEST_SEEDS=1-20000 is the long run.
func TestMmapSchedules(t *testing.T) {
	base := kernel.New(kernel.Options{Seed: 1})
	mem := blockdev.NewMem(base, 16<<20)
	if err := mkfs.Make(base, mem, mkfs.Options{NodeSize: 4096, MetaProfile: "single", AllowTiny: true}); err != nil {
		t.Fatal(err)
	}
	snapshot := mem.Freeze()
	first, seeds := uint64(1), uint64(20)
	if testing.Short() {
		seeds = 5
	}
	fmt.Sscanf(os.Getenv("KTEST_SEEDS"), "%d-%d", &first, &seeds)
	const enough = 600 // schedules in which a defect must have shown
	for _, c := range mmapScenes {
		if c.strategy == nil {
			c.strategy = func(seed uint64) sched.Strategy { return sched.NewPOS(seed) }
		}
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			for seed := first; seed <= seeds; seed++ {
				if err := runDet(snapshot, &c.detCase, seed); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			for slug, finding := range c.catches {
				reverted := c.detCase
				reverted.revert = slug
				var seed uint64
				var others []string
				for seed = 1; seed <= enough; seed++ {
					err := runDet(snapshot, &reverted, seed)
					if err == nil {
						continue
					}
					if strings.Contains(err.Error(), finding) {
						break
					}
					others = append(others, strings.SplitN(err.Error(), "\n", 2)[0])
				}
				if seed > enough {
					t.Errorf("%s taken back: no schedule of %d says %q; other findings: %q", slug, enough, finding, others[:min(3, len(others))])
				} else {
					name, _, _ := strings.Cut(slug, "=")
					t.Logf("%s (kernel commit %s) taken back: schedule %d: %s", slug, btrfs.FindRevert(name).Commit, seed, finding)
				}
			}
		})
	}
}
