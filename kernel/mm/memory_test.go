// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"kbtrfs/kernel"
)

// TestStream: a file 32 times as large as the cache is written and read; the
// limit holds, nothing is lost, and what is used often stays.
func TestStream(t *testing.T) {
	for _, async := range []bool{false, true} {
		t.Run(fmt.Sprint("async=", async), func(t *testing.T) {
			real(t, func(k *kernel.Kernel) {
				const limit, pages = 1 << 20, 8 << 10
				fs := newFakeFS(k, Options{LimitBytes: limit}, pages)
				fs.async, fs.private = async, true
				fs.startFlusher()
				var ra FileRa
				ra.Init(&fs.mapping)
				buf := make([]byte, 16*PAGE_SIZE)
				for i := 0; i < pages; i += 16 {
					for j := range 16 {
						binary.LittleEndian.PutUint64(buf[j*PAGE_SIZE:], uint64(i+j)*12345)
					}
					fs.write(int64(i)*PAGE_SIZE, buf)
				}
				hot := make([]byte, PAGE_SIZE)
				missed := int64(0)
				for i := 0; i < pages; i += 16 {
					n, err := fs.read(&ra, int64(i)*PAGE_SIZE, buf)
					if n != len(buf) || err != nil {
						t.Fatal(n, err)
					}
					for j := range 16 {
						if v := binary.LittleEndian.Uint64(buf[j*PAGE_SIZE:]); v != uint64(i+j)*12345 {
							t.Fatalf("page %d holds %d", i+j, v/12345)
						}
					}
					if i > pages/2 { // page 3 is used all the time, the stream once
						before := fs.readPages.Load()
						var hotRa FileRa
						fs.read(&hotRa, 3*PAGE_SIZE, hot)
						missed += fs.readPages.Load() - before
					}
				}
				if missed > 3 {
					t.Errorf("a page in constant use was dropped %d times", missed)
				}
				s := fs.mm.Stats()
				if s.HighWater > s.Limit+s.Slack || s.OverLimit != 0 {
					t.Errorf("limit exceeded: %+v", s)
				}
				if s.Reclaimed < pages {
					t.Errorf("only %d pages reclaimed", s.Reclaimed)
				}
				fs.done()
			})
		})
	}
}

// TestDirtyLimit: writers are held back so that dirty and in-flight pages stay
// about the hard limit, with a flusher and without one.
func TestDirtyLimit(t *testing.T) {
	for _, flusher := range []bool{true, false} {
		worlds(t, 10, func(k *kernel.Kernel) {
			const writers, each = 3, 60
			fs := newFakeFS(k, Options{LimitBytes: 256 * PAGE_SIZE, DirtyBackground: 10 * PAGE_SIZE, DirtyHard: 30 * PAGE_SIZE}, writers*each)
			fs.async = true
			if flusher {
				fs.startFlusher()
			}
			worst := int64(0)
			var tasks []*kernel.Task
			var over kernel.AtomicInt64
			for w := range writers {
				tasks = append(tasks, k.Go("writer", func(*kernel.Task) {
					page := make([]byte, PAGE_SIZE)
					for i := range each {
						fs.write(int64(w*each+i)*PAGE_SIZE, page)
						if n := fs.mm.NrFileDirty() + fs.mm.NrWriteback(); n > over.Load() {
							over.Store(n)
						}
					}
				}))
			}
			for _, t := range tasks {
				t.Join()
			}
			worst = over.Load()
			// Each writer may be one page beyond the test of the limit.
			k.BUG_ON(worst > 30+writers+1, "%d pages dirty or in flight, limit 30", worst)
			k.BUG_ON(fs.mm.Stats().Throttled == 0 && k.Deterministic(), "nobody waited")
			k.BUG_ON(FilemapWriteAndWait(&fs.mapping) != nil, "sync")
			fs.done()
		})
	}
}

// TestDirtyLimitKilled: a writer whom a dead device holds back goes when he is killed. Without the look at the signal in
// balanceDirtyPages he stays for ever.
func TestDirtyLimitKilled(t *testing.T) {
	worlds(t, 3, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{LimitBytes: 256 * PAGE_SIZE, DirtyBackground: 2 * PAGE_SIZE, DirtyHard: 8 * PAGE_SIZE}, 20)
		fs.bdi.WakeFlusher = func(int64, bool) {}
		writer := k.Go("writer", func(*kernel.Task) {
			for i := range int64(20) {
				fs.write(i*PAGE_SIZE, make([]byte, PAGE_SIZE))
			}
		})
		for fs.mm.Stats().Throttled == 0 {
			k.Sleep(1e6)
		}
		k.Kill()
		writer.Join()
		k.Revive()
		fs.bdi.WakeFlusher = nil
		fs.done()
	})
}

// TestAllocUnderPressure: an allocation with everything dirty, locked or pinned
// succeeds: first from the slack, then after waiting a bounded time. Page locks
// held by the caller do not matter.
func TestAllocUnderPressure(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{LimitBytes: 64 * PAGE_SIZE}, 64)
		var held []*Page
		for i := range uint64(64) {
			page := FindOrCreatePage(&fs.mapping, i)
			page.SetUptodate()
			if i%2 == 0 {
				page.SetDirty()
			}
			held = append(held, page) // locked and referenced
		}
		start := k.Now()
		var extra []*Page
		for range int(fs.mm.slack) + 20 {
			extra = append(extra, fs.mm.AllocPage())
		}
		s := fs.mm.Stats()
		k.BUG_ON(s.OverLimit == 0 || s.HighWater <= s.Limit+s.Slack, "%+v", s)
		k.BUG_ON(k.Now()-start > 2*allocPatience, "20 hopeless allocations took %d ms", (k.Now()-start)/kernel.Millisecond)
		PutPages(extra)
		for _, page := range held {
			page.Unlock()
			page.Put()
		}
		fs.done()
	})
}

// TestReclaimKeeps: what the file system does not release, and what is dirty or
// used, stays; the rest goes.
func TestReclaimKeeps(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{LimitBytes: 64 * PAGE_SIZE}, 64)
		fs.private = true
		fs.write(0, make([]byte, 40*PAGE_SIZE))
		FilemapWriteAndWait(&fs.mapping)
		fs.write(0, make([]byte, 5*PAGE_SIZE))
		used := FindGetPage(&fs.mapping, 10)
		fs.refuseRelease.Store(true)
		if n := fs.mm.tryToFreePages(100); n != 0 {
			t.Errorf("%d pages freed that the file system needs", n)
		}
		fs.refuseRelease.Store(false)
		called := 0
		s := Shrinker{Shrink: func(nr int) int { called++; return nr }}
		fs.mm.RegisterShrinker(&s)
		fs.mm.tryToFreePages(100)
		if called != 1 {
			t.Errorf("shrinker called %d times", called)
		}
		fs.mm.UnregisterShrinker(&s)
		fs.mm.tryToFreePages(100)
		if called != 1 {
			t.Error("shrinker called after it was unregistered")
		}
		if n := fs.mapping.NrPages(); n > 8 || n < 6 {
			t.Errorf("%d pages left, want the 5 dirty ones and the used one", n)
		}
		if page := FindGetPage(&fs.mapping, 10); page != used {
			t.Error("the used page went")
		} else {
			page.Put()
		}
		used.Put()
		fs.done()
	})
}

// TestLeakReported: pages that somebody still has when the machine ends are a
// WARN.
func TestLeakReported(t *testing.T) {
	k := kernel.New(kernel.Options{})
	mm := New(k, Options{})
	page := mm.AllocPage()
	mm.Destroy()
	if len(k.Warnings()) != 1 {
		t.Error("leak not reported")
	}
	page.Put()
	mm.Destroy()
}

// TestRaces has readers, writers, a truncater, a syncer and reclaim at work on
// one small file. Each page holds one number all over; readers must see one of
// the numbers written, or zeros, over each whole write unit of 64 bytes.
func TestRaces(t *testing.T) {
	worlds(t, 60, func(k *kernel.Kernel) {
		const pages = 6
		fs := newFakeFS(k, Options{LimitBytes: 64 * PAGE_SIZE, DirtyBackground: 2 * PAGE_SIZE, DirtyHard: 4 * PAGE_SIZE}, pages)
		fs.async, fs.private = true, k.Rand()%2 == 0
		rounds := 200
		if k.Deterministic() {
			rounds = 3
		}
		var iMutex kernel.Mutex // writers and truncate, as inode->i_mutex
		iMutex.Init(k.Class("i_mutex"))
		var tasks []*kernel.Task
		spawn := func(name string, f func(round int)) {
			tasks = append(tasks, k.Go(name, func(*kernel.Task) {
				for r := range rounds {
					f(r)
				}
			}))
		}
		for w := range 2 {
			spawn("writer", func(r int) {
				iMutex.Lock()
				fs.write(int64(r*7+w*3)%(pages-1)*PAGE_SIZE+int64(w*64), bytes.Repeat([]byte{byte(1 + w)}, PAGE_SIZE))
				iMutex.Unlock()
			})
		}
		spawn("truncater", func(r int) {
			iMutex.Lock()
			to := int64(r%pages) * PAGE_SIZE
			fs.size.Store(to)
			TruncatePagecache(&fs.mapping, to)
			// What is in flight was waited for: the disk is ours.
			fs.diskMu.Lock()
			clear(fs.disk[to:])
			fs.diskMu.Unlock()
			fs.size.Store(pages * PAGE_SIZE)
			iMutex.Unlock()
		})
		spawn("syncer", func(int) {
			k.BUG_ON(FilemapWriteAndWait(&fs.mapping) != nil, "sync")
		})
		spawn("reclaim", func(int) {
			fs.mm.tryToFreePages(2)
			InvalidateMappingPages(&fs.mapping, 0, pages)
		})
		for range 2 {
			var ra FileRa
			ra.Init(&fs.mapping)
			buf := make([]byte, 2*PAGE_SIZE)
			spawn("reader", func(r int) {
				n, err := fs.read(&ra, int64(r%(pages-1))*PAGE_SIZE, buf)
				k.BUG_ON(err != nil, "read: %v", err)
				for _, b := range buf[:n] {
					if b > 2 {
						k.BUG_ON(true, "read %#x, which nobody wrote", b)
					}
				}
			})
		}
		for _, t := range tasks {
			t.Join()
		}
		// What the cache says must be what the disk says after a sync.
		k.BUG_ON(FilemapWriteAndWait(&fs.mapping) != nil, "sync")
		var ra FileRa
		buf := make([]byte, pages*PAGE_SIZE)
		n, _ := fs.read(&ra, 0, buf)
		fs.diskMu.Lock()
		k.BUG_ON(!bytes.Equal(buf[:n], fs.disk[:n]), "disk and cache differ")
		fs.diskMu.Unlock()
		fs.done()
	})
}

// TestSyncSeesInFlight: a page whose dirty flag was just cleared for I/O that
// has not started is not passed by: the sync waits for its lock and then for
// its writeback. (Mutation: drop the DIRTY tag in ClearDirtyForIO; the sync
// returns while the page is not on disk.)
func TestSyncSeesInFlight(t *testing.T) {
	worlds(t, 60, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 4)
		fs.async = true
		fs.write(PAGE_SIZE, bytes.Repeat([]byte{9}, PAGE_SIZE))
		flusher := k.Go("flusher", func(*kernel.Task) {
			wbc := WritebackControl{NrToWrite: 100, RangeCyclic: true}
			WriteCachePages(&fs.mapping, &wbc, func(page *Page, wbc *WritebackControl) error {
				k.CondResched() // locked, not dirty, not yet under writeback
				return fs.Writepage(page, wbc)
			})
		})
		k.BUG_ON(FilemapWriteAndWait(&fs.mapping) != nil, "sync")
		fs.diskMu.Lock()
		k.BUG_ON(fs.disk[PAGE_SIZE] != 9, "sync returned before the data was on disk")
		fs.diskMu.Unlock()
		flusher.Join()
		fs.done()
	})
}

// TestFindLockPage: a page that was truncated while somebody waited for its
// lock is not what was looked for. (Mutation: no look at Mapping behind Lock.)
func TestFindLockPage(t *testing.T) {
	worlds(t, 60, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 4)
		fs.write(0, make([]byte, PAGE_SIZE))
		FilemapWriteAndWait(&fs.mapping)
		other := k.Go("truncate", func(*kernel.Task) { TruncateInodePages(&fs.mapping, 0) })
		page := FindOrCreatePage(&fs.mapping, 0)
		k.BUG_ON(page.Mapping.Load() != &fs.mapping, "page without mapping")
		k.CondResched()
		k.BUG_ON(page.Mapping.Load() != &fs.mapping, "truncated although locked")
		page.Unlock()
		page.Put()
		other.Join()
		fs.done()
	})
}

// TestTruncateWaits: blocks are freed after truncation, so it must not return
// while a page of the range is still on its way to them. (Mutations: no look at
// PG_writeback in the first pass, no wait in the second or at the edge.)
func TestTruncateWaits(t *testing.T) {
	worlds(t, 40, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 3)
		fs.async = true
		fs.write(0, bytes.Repeat([]byte{1}, int(1+k.Rand()%3)*PAGE_SIZE))
		FilemapFdatawrite(&fs.mapping)
		from := int64(k.Rand()%3) * PAGE_SIZE / 2
		TruncateInodePages(&fs.mapping, from)
		k.BUG_ON(fs.mm.NrWriteback() > from/PAGE_SIZE, "truncated from %d with %d pages in flight", from, fs.mm.NrWriteback())
		k.BUG_ON(FilemapFdatawait(&fs.mapping) != nil, "wait")
		fs.done()
	})
}

// TestRemoveMapping: only clean pages that nobody uses go.
func TestRemoveMapping(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 4)
		page := FindOrCreatePage(&fs.mapping, 0)
		page.SetUptodate()
		page.SetDirty()
		if RemoveMapping(&fs.mapping, page) {
			t.Error("a dirty page went")
		}
		page.CancelDirty()
		page.Get()
		if RemoveMapping(&fs.mapping, page) {
			t.Error("a used page went")
		}
		page.Put()
		if !RemoveMapping(&fs.mapping, page) || page.Count() != 1 {
			t.Error("a clean page stays")
		}
		page.Unlock()
		page.Put()
		fs.done()
	})
}

// TestLookupRecycled: look-ups without locks beside a task that removes pages
// and gives them another index at once: what FindGetPage looks at the tree a
// second time for.
func TestLookupRecycled(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{LimitBytes: 64 * PAGE_SIZE}, 8)
		var stop kernel.AtomicBool
		churn := k.Go("churn", func(*kernel.Task) {
			for i := 0; !stop.Load(); i++ {
				page := fs.mm.AllocPage()
				if AddToPageCacheLru(page, &fs.mapping, uint64(i%8)) == nil {
					TruncateInodePage(&fs.mapping, page)
					page.Unlock()
				}
				page.Put()
			}
		})
		end := k.Now() + 30*kernel.Millisecond
		for i := uint64(0); i%64 != 0 || k.Now() < end; i++ {
			if page := FindGetPage(&fs.mapping, i%8); page != nil {
				if page.Index != i%8 {
					k.BUG_ON(true, "looked for page %d, found %d", i%8, page.Index)
				}
				page.Put()
			}
		}
		stop.Store(true)
		churn.Join()
		fs.done()
	})
}
