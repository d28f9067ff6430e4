// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

// The rows of "Btrfs: Data ordered fixes" and of the fixup worker.
func TestABOrdered(t *testing.T) {
	abHead(t)
	t.Run("unlink", abUnlink)
	t.Run("truncate", abTruncate)
	t.Run("alloc_mutex", abAllocMutex)
	t.Run("hook", abHook)
}

// abUnlink deletes a file of which nothing has been written yet, and one of which
// everything has.
func abUnlink(t *testing.T) {
	sizes := []int{1, 16}
	if abLong() {
		sizes = append(sizes, 256)
	}
	for _, mib := range sizes {
		for _, synced := range []bool{false, true} {
			state := map[bool]string{false: "dirty", true: "written"}[synced]
			with, without := abBoth(t, "delete-inode-truncate-first", "", fmt.Sprintf("unlink of %d MiB, %s, and sync", mib, state), []string{"data bytes", "us"}, func(m *abMachine) []float64 {
				m.must(pwriteAll(m.Process, "/doomed", bytes.Repeat([]byte{'u'}, mib<<20), 0))
				if synced {
					m.Sync()
				}
				before, begin := btrfs.Counts(m.sb).DataBytes, m.k.Now()
				m.must(m.Unlink("/doomed"))
				m.Sync()
				return []float64{float64(btrfs.Counts(m.sb).DataBytes - before), m.since(begin)}
			})
			if !synced && (with[0] != 0 || without[0] != float64(mib<<20) || with[1] >= without[1]) {
				t.Errorf("want nothing written, and everything without the commit, and less time")
			}
			if synced && with[0] != without[0] {
				t.Errorf("nothing was dirty, and yet there is a difference")
			}
		}
	}
}

// abTruncate commits a new directory while another task truncates a file into the
// middle of a block, which is written for that, and while the device has other
// data to write first.
func abTruncate(t *testing.T) {
	const rounds = 60
	sizes := []int{0, 1}
	if abLong() {
		sizes = append(sizes, 4, 64)
	}
	for _, mib := range sizes {
		measure := func(m *abMachine) []float64 {
			var stop kernel.AtomicBool
			truncater, writer := m.Fork(), m.Fork()
			truncate := m.k.Go("truncate", func(*kernel.Task) {
				fd, err := truncater.Open("/t", unix.O_RDWR|unix.O_CREAT, 0o600)
				for n := 0; err == nil && !stop.Load(); n++ {
					if _, err = truncater.Pwrite(fd, make([]byte, 8192), 0); err == nil {
						err = truncater.Ftruncate(fd, 5000)
					}
				}
				m.must(err)
				truncater.Exit()
			})
			write := m.k.Go("write", func(*kernel.Task) {
				fd, err := writer.Open("/w", unix.O_RDWR|unix.O_CREAT, 0o600)
				for err == nil && !stop.Load() && mib > 0 {
					if _, err = writer.Pwrite(fd, make([]byte, mib<<20), 0); err == nil {
						err = writer.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
					}
				}
				m.must(err)
				writer.Exit()
			})
			var took []float64
			for n := range rounds {
				name := fmt.Sprintf("/d%d", n)
				m.must(m.Mkdir(name, 0o700))
				fd, err := m.Open(name, unix.O_RDONLY, 0)
				m.must(err)
				begin := m.k.Now()
				m.must(m.Fsync(fd))
				took = append(took, m.since(begin))
				m.must(m.Close(fd))
			}
			stop.Store(true)
			truncate.Join()
			write.Join()
			slices.Sort(took)
			return []float64{took[len(took)/2], took[len(took)*9/10], took[len(took)-1]}
		}
		// Which commit meets a truncation that waits is a matter of the order of
		// steps (of nine orders one had none with 1 MiB in flight): each measure is
		// the median of several.
		orders := uint64(3)
		if abLong() && mib < 64 {
			orders = 9
		}
		var all [2][3][]float64
		for seed := range orders {
			for i, revert := range []string{"", "wait-ordered-outside-trans"} {
				for j, x := range abRunOn(t, abDevice, seed+1, revert, "", measure) {
					all[i][j] = append(all[i][j], x)
				}
			}
		}
		for j, what := range []string{"us, median", "us, p90", "us, most"} {
			slices.Sort(all[0][j])
			slices.Sort(all[1][j])
			with, without := all[0][j][orders/2], all[1][j][orders/2]
			abRow(t, "wait-ordered-outside-trans", fmt.Sprintf("commit beside truncation, %d MiB in flight", mib), what, with, without)
			if mib > 0 && j == 2 && with >= without {
				t.Errorf("the slowest commit does not get faster")
			}
		}
	}
}

// abAllocMutex overwrites a block of each of 400 files after a snapshot and a
// mount, while others make files in subvolumes of their own.
func abAllocMutex(t *testing.T) {
	for _, others := range []int{0, 1, 2, 4} {
		for _, shared := range []bool{true, false} {
			if !shared && others > 0 {
				continue
			}
			work := fmt.Sprintf("400 overwrites after a snapshot, %d others", others)
			if !shared {
				work = "400 overwrites, nothing shared"
			}
			measures := []string{"updates a hold, most", "us held, most", "holds", "us waited, all", "us waited, most", "others' files a ms"}
			if others == 0 {
				measures = append(measures[:3], "us, all of it")
			}
			with, without := abBoth(t, "alloc-mutex-inc-ref", "max_inline=0", work, measures, func(m *abMachine) []float64 { return abSnapshotOverwrite(m, shared, others) })
			if shared && (with[0] != 1 || without[0] < 10 || with[1] >= without[1]) {
				t.Errorf("want one update a hold, many without the commit, and shorter holds")
			}
			if !shared && with[0] != without[0] {
				t.Errorf("nothing was shared, and yet there is a difference")
			}
		}
	}
}

func abSnapshotOverwrite(m *abMachine, shared bool, others int) []float64 {
	const files = 400
	block := bytes.Repeat([]byte{'s'}, mm.PAGE_SIZE)
	for i := range files {
		m.must(pwriteAll(m.Process, fmt.Sprintf("/f%d", i), block, 0))
	}
	root, err := m.Open("/", unix.O_RDONLY, 0)
	m.must(err)
	for i := range others {
		m.must(m.Ioctl(root, btrfs.BTRFS_IOC_SUBVOL_CREATE_V2, &btrfs.VolArgs{Fd: root, Name: fmt.Sprintf("sub%d", i)}))
	}
	m.Sync()
	if shared {
		m.must(m.Ioctl(root, btrfs.BTRFS_IOC_SNAP_CREATE_V2, &btrfs.VolArgs{Fd: root, Name: "snap"}))
	}
	m.must(m.Close(root))
	m.umount()
	m.mount("max_inline=0")
	var stop kernel.AtomicBool
	made := 0
	var tasks []*kernel.Task
	for i := range others {
		p := m.Fork()
		tasks = append(tasks, m.k.Go(fmt.Sprintf("other%d", i), func(*kernel.Task) {
			for n := 0; !stop.Load(); n++ {
				m.must(pwriteAll(p, fmt.Sprintf("/sub%d/f%d", i, n), block[:1], 0))
				made++
				m.k.Sleep(20 * kernel.Microsecond)
			}
			p.Exit()
		}))
	}
	begin := m.k.Now()
	for i := range files {
		m.must(pwriteAll(m.Process, fmt.Sprintf("/f%d", i), block, 0))
	}
	m.Sync()
	us := m.since(begin)
	stop.Store(true)
	for _, task := range tasks {
		task.Join()
	}
	c := btrfs.Counts(m.sb)
	out := []float64{float64(c.AllocMaxUpdates), float64(c.AllocMaxHold) / 1000, float64(c.AllocHolds)}
	if others == 0 {
		return append(out, us)
	}
	return append(out, float64(c.AllocWait)/1000, float64(c.AllocMaxWait)/1000, float64(made)/us*1000)
}

// abHook writes pages of which none, some or all were dirtied behind the file
// system's back. Where none was, the start hook costs a look at a flag.
func abHook(t *testing.T) {
	const pages = 1024
	for _, improper := range []int{0, pages / 100, pages} {
		measure := func(m *abMachine) []float64 {
			data := bytes.Repeat([]byte{'h'}, pages*mm.PAGE_SIZE)
			fd, err := m.Open("/h", unix.O_RDWR|unix.O_CREAT, 0o600)
			m.must(err)
			_, err = m.Pwrite(fd, data, 0)
			m.must(err)
			m.must(m.Fsync(fd))
			file := m.File(fd)
			rounds := btrfs.DirtyBehind(file.Inode, improper)
			if rest := improper * mm.PAGE_SIZE; rest < len(data) {
				_, err = m.Pwrite(fd, data[rest:], int64(rest))
				m.must(err)
			}
			begin := m.k.Now()
			m.must(m.Fsync(fd))
			us := m.since(begin)
			out := []float64{us, float64(rounds())}
			file.Put()
			m.must(m.Close(fd))
			return out
		}
		work := fmt.Sprintf("fsync of %d pages, %d improperly dirty", pages, improper)
		if improper == 0 {
			abBoth(t, "fixup-workers", "", work, []string{"us"}, measure)
			continue
		}
		out := abRun(t, "", "", measure)
		abRow(t, "fixup-workers", work, "us", out[0], 0)
		abRow(t, "fixup-workers", work, "rounds a page", out[1]/float64(improper), 0)
	}
}
