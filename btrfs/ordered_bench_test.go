// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// The performance claims of "Btrfs: Data ordered fixes", each with the commit
// and with its part taken back: what is written for a deleted file, how long a
// commit takes beside truncations, how long alloc_mutex is held. Where nothing
// is dirty, in flight or shared the commit wins nothing, and that is shown too.

// abRig is a machine with a file system in memory.
func abRig(b *testing.B, revert string) (v *vfs.VFS, sb *vfs.SuperBlock, p *vfs.Process) {
	k := kernel.New(kernel.Options{Seed: 1, Params: map[string]string{"btrfs.revert": revert}})
	dev := blockdev.NewMem(k, 1<<30)
	if err := mkfs.Make(k, dev, mkfs.Options{}); err != nil {
		b.Fatal(err)
	}
	v = vfs.New(k, mm.Options{LimitBytes: 512 << 20, DirtyBackground: 400 << 20, DirtyHard: 450 << 20})
	fst := *btrfs.Type
	fst.Mount = func(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
		root, err := btrfs.Type.Mount(v, source, flags, data)
		if err == nil {
			sb = root.Sb
		}
		return root, err
	}
	if err := v.RegisterFilesystem(&fst); err != nil {
		b.Fatal(err)
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: "disk", Dev: dev, KeepDev: true}, 0, ""); err != nil {
		b.Fatal(err)
	}
	return v, sb, v.NewProcess(*vfs.RootCred)
}

func ab(b *testing.B, slug string, run func(b *testing.B, revert string)) {
	b.Run("fixed", func(b *testing.B) { run(b, "") })
	b.Run("reverted", func(b *testing.B) { run(b, slug) })
}

func try(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkUnlinkDirty deletes a file of which nothing has been written yet, and
// one of which everything has.
func BenchmarkUnlinkDirty(b *testing.B) {
	for _, mib := range []int{1, 16, 64} {
		for _, synced := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dMiB,synced=%v", mib, synced), func(b *testing.B) {
				ab(b, "delete-inode-truncate-first", func(b *testing.B, revert string) {
					v, sb, p := abRig(b, revert)
					data := bytes.Repeat([]byte{'u'}, mib<<20)
					written := int64(0)
					for range b.N {
						b.StopTimer()
						try(b, pwriteAll(p, "/doomed", data, 0))
						if synced {
							p.Sync()
						}
						before := btrfs.Counts(sb).DataBytes
						b.StartTimer()
						try(b, p.Unlink("/doomed"))
						p.Sync()
						written += btrfs.Counts(sb).DataBytes - before
					}
					b.ReportMetric(float64(written)/float64(b.N), "data-bytes/op")
					p.Exit()
					v.Shutdown()
				})
			})
		}
	}
}

// BenchmarkCommitBesideTruncate commits while another task writes and truncates
// a file; dirty says how much it has in flight then.
func BenchmarkCommitBesideTruncate(b *testing.B) {
	for _, dirty := range []int{0, 32} {
		b.Run(fmt.Sprintf("%dMiB", dirty), func(b *testing.B) {
			ab(b, "wait-ordered-outside-trans", func(b *testing.B, revert string) {
				v, _, p := abRig(b, revert)
				var stop kernel.AtomicBool
				other := p.Fork()
				task := v.K.Go("truncate", func(*kernel.Task) {
					fd, err := other.Open("/t", unix.O_RDWR|unix.O_CREAT, 0o600)
					data := bytes.Repeat([]byte{'t'}, dirty<<20+1)
					for err == nil && !stop.Load() {
						if _, err = other.Pwrite(fd, data, 0); err == nil {
							err = other.Ftruncate(fd, 0)
						}
					}
					other.Exit()
				})
				fd, err := p.Open("/c", unix.O_RDWR|unix.O_CREAT, 0o600)
				try(b, err)
				var took []time.Duration
				b.ResetTimer()
				for range b.N {
					_, err := p.Pwrite(fd, []byte("c"), 0)
					try(b, err)
					start := time.Now()
					try(b, p.Fsync(fd))
					took = append(took, time.Since(start))
				}
				b.StopTimer()
				stop.Store(true)
				task.Join()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
				p.Exit()
				v.Shutdown()
			})
		})
	}
}

// BenchmarkSnapshotOverwrite overwrites a block of each of 200 files after a
// snapshot (shared) or without one.
func BenchmarkSnapshotOverwrite(b *testing.B) {
	for _, shared := range []bool{true, false} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			ab(b, "alloc-mutex-inc-ref", func(b *testing.B, revert string) {
				v, sb, p := abRig(b, revert)
				block := bytes.Repeat([]byte{'s'}, mm.PAGE_SIZE)
				for i := range 200 {
					try(b, pwriteAll(p, fmt.Sprintf("/f%d", i), block, 0))
				}
				p.Sync()
				root, err := p.Open("/", unix.O_RDONLY, 0)
				try(b, err)
				holds := int64(0)
				b.ResetTimer()
				for n := range b.N {
					if shared {
						b.StopTimer()
						try(b, p.Ioctl(root, btrfs.BTRFS_IOC_SNAP_CREATE_V2, &btrfs.VolArgs{Fd: root, Name: fmt.Sprintf("snap%d", n)}))
						b.StartTimer()
					}
					before := btrfs.Counts(sb).AllocHolds
					for i := range 200 {
						try(b, pwriteAll(p, fmt.Sprintf("/f%d", i), block, 0))
					}
					p.Sync()
					holds += btrfs.Counts(sb).AllocHolds - before
				}
				b.ReportMetric(float64(holds)/float64(b.N), "alloc-holds/op")
				b.ReportMetric(float64(btrfs.Counts(sb).AllocMaxUpdates), "most-updates-a-hold")
				p.Exit()
				v.Shutdown()
			})
		})
	}
}
