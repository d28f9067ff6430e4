// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// baseFS is a file system that takes all defaults.
type baseFS struct {
	BaseAddressSpaceOperations
	dirtied int
}

func (fs *baseFS) MarkInodeDirtyPages() { fs.dirtied++ }
func (*baseFS) SetWbErr(error)          {}
func (fs *baseFS) ISize() int64         { return 100 * PAGE_SIZE }

// TestBaseOps: with the defaults a file reads as zeros and stays dirty.
func TestBaseOps(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		mm := New(k, Options{})
		var bdi BackingDevInfo
		bdi.Init(mm, "base")
		fs := &baseFS{}
		var m AddressSpace
		m.Init(mm, fs, fs, &bdi)
		var ra FileRa
		buf := []byte{1, 2, 3}
		var it IovIter
		it.InitBytes(buf)
		if n, err := GenericFileRead(&ra, &m, 10, &it); n != 3 || err != nil || buf[0] != 0 {
			t.Error(n, err, buf)
		}
		page := GrabCachePage(&m, 1)
		page.AttachPrivate("x")
		if page.Private != "x" || page.Count() != 3 || !page.HasPrivate() {
			t.Error(page.Private, page.Count())
		}
		page.Unlock()
		if !page.SetDirtyLock() || fs.dirtied != 1 {
			t.Error("not dirtied")
		}
		if err := FilemapFlush(&m); err != nil || !page.Dirty() || !m.Tagged(PAGECACHE_TAG_DIRTY) {
			t.Error(err, "the default Writepage has lost the page")
		}
		page.Put()
		if n := InvalidateMappingPages(&m, 0, math.MaxUint64); n == 0 || m.NrPages() != 1 {
			t.Error(n, m.NrPages())
		}
		TruncateInodePages(&m, 0)
		bdi.Destroy()
		mm.Destroy()
	})
}

// TestWriteOnePage: unlocked and on disk when it returns.
func TestWriteOnePage(t *testing.T) {
	worlds(t, 10, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 2)
		fs.async = true
		for i, c := range []byte{5, 6} {
			fs.write(0, []byte{c})
			page := FindLockPage(&fs.mapping, 0)
			fs.failWrites.Store(i == 1)
			err := WriteOnePage(page, true)
			k.BUG_ON(page.Locked() || page.Dirty() || page.Writeback(), "still busy")
			k.BUG_ON(i == 0 && (err != nil || fs.disk[0] != 5), "%v, %d on disk", err, fs.disk[0])
			k.BUG_ON(i == 1 && err != unix.EIO, "%v, want EIO", err)
			page.Put()
		}
		page := FindLockPage(&fs.mapping, 0)
		k.BUG_ON(WriteOnePage(page, true) != nil || page.Locked(), "a clean page")
		page.Put()
		fs.mapping.CheckErrors()
		fs.done()
	})
}

// TestRedirtiedInFlight: what was dirtied again while it was being written is
// written again by a sync, after the first write has ended. (Mutation: let
// readyToWrite pass by pages under writeback also for WB_SYNC_ALL.)
func TestRedirtiedInFlight(t *testing.T) {
	worlds(t, 40, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 2)
		fs.async = true
		fs.write(0, []byte{1})
		FilemapFlush(&fs.mapping)
		page := FindLockPage(&fs.mapping, 0)
		copyData(page.Data, []byte{2}) // through a mapping, say
		page.SetDirty()
		page.Unlock()
		k.BUG_ON(FilemapWriteAndWaitRange(&fs.mapping, 0, PAGE_SIZE-1) != nil, "sync")
		k.BUG_ON(page.Dirty(), "still dirty after the sync")
		fs.diskMu.Lock()
		k.BUG_ON(fs.disk[0] != 2, "%d on disk after the sync", fs.disk[0])
		fs.diskMu.Unlock()
		page.Put()
		fs.done()
	})
}

// TestPageFlags: each method moves its own bit.
func TestPageFlags(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		mm := New(k, Options{})
		page := mm.AllocPage()
		for _, f := range []struct {
			name       string
			set, clear func()
			test       func() bool
			bit        uint
		}{
			{"uptodate", page.SetUptodate, page.ClearUptodate, page.Uptodate, PG_uptodate},
			{"checked", page.SetChecked, page.ClearChecked, page.Checked, PG_checked},
			{"private2", page.SetPrivate2, page.ClearPrivate2, page.Private2, PG_private2},
			{"private2", page.SetPrivate2, func() { page.TestClearPrivate2() }, page.Private2, PG_private2},
			{"error", page.SetError, page.ClearError, page.Error, PG_error},
			{"locked", page.Lock, page.Unlock, page.Locked, PG_locked},
		} {
			f.clear()
			was := f.test()
			f.set()
			if was || !f.test() || page.Flags.Load() != 1<<f.bit {
				t.Errorf("%s: %v %v %#x", f.name, was, f.test(), page.Flags.Load())
			}
			f.clear()
			if f.test() || page.Flags.Load() != 0 {
				t.Errorf("%s stays", f.name)
			}
		}
		page.Put()
		mm.Destroy()
	})
}

// TestFlusherWoken: by writers from the background limit on, by reclaim when
// the tail of the list is dirty, and not again and again.
func TestFlusherWoken(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{LimitBytes: 128 * PAGE_SIZE, DirtyBackground: 20 * PAGE_SIZE, DirtyHard: 100 * PAGE_SIZE}, 128)
		background, asked := 0, 0
		fs.bdi.WakeFlusher = func(n int64, bg bool) {
			if bg {
				background++
			} else {
				asked++
			}
		}
		bg, hard := fs.mm.DirtyLimits()
		if bg != 20 || hard != 100 {
			t.Error(bg, hard)
		}
		page := make([]byte, PAGE_SIZE)
		for i := range int64(60) {
			fs.write(i*PAGE_SIZE, page)
			if over := i >= 20; (background > 0) != over || fs.mm.OverBackgroundThresh() != over {
				t.Fatalf("%d pages dirty: woken %d times, over %v", i+1, background, fs.mm.OverBackgroundThresh())
			}
		}
		if background > 60/wakeEvery+2 {
			t.Errorf("woken %d times for 40 pages", background)
		}
		fs.mm.tryToFreePages(10)
		fs.mm.tryToFreePages(10)
		if asked != 1 {
			t.Errorf("reclaim asked %d times", asked)
		}
		fs.bdi.WakeFlusher = nil
		FilemapWriteAndWait(&fs.mapping)
		if fs.mm.OverBackgroundThresh() || fs.mm.tryToFreePages(60) != 60 {
			t.Error("clean pages stay")
		}
		fs.done()
	})
}
