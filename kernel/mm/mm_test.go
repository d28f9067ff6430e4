// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

func tags(m *AddressSpace, index uint64) (s string) {
	for tag, c := range "DWT" {
		if m.Pages.GetMark(index, kernel.XAMark(tag)) {
			s += string(c)
		}
	}
	return s
}

// TestDirtyFlagAndTag: the flag falls in ClearDirtyForIO, the tag in
// SetWriteback, and only if the page is still clean. (Mutation: clear the tag
// in ClearDirtyForIO; the second check fails.)
func TestDirtyFlagAndTag(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 8)
		m := &fs.mapping
		page := FindOrCreatePage(m, 3)
		page.SetUptodate()
		check := func(what string, dirty, wb bool, tag string) {
			t.Helper()
			if page.Dirty() != dirty || page.Writeback() != wb || tags(m, 3) != tag {
				t.Errorf("%s: dirty %v, writeback %v, tags %q; want %v, %v, %q", what, page.Dirty(), page.Writeback(), tags(m, 3), dirty, wb, tag)
			}
			wantDirty := int64(0)
			if dirty {
				wantDirty = 1
			}
			wantWB := int64(0)
			if wb {
				wantWB = 1
			}
			if fs.mm.NrFileDirty() != wantDirty || fs.bdi.NrDirty() != wantDirty || fs.mm.NrWriteback() != wantWB || fs.bdi.NrWriteback() != wantWB {
				t.Errorf("%s: counters %d %d %d %d", what, fs.mm.NrFileDirty(), fs.bdi.NrDirty(), fs.mm.NrWriteback(), fs.bdi.NrWriteback())
			}
		}
		check("new", false, false, "")
		if !page.SetDirty() || page.SetDirty() || fs.marked.Load() != 1 {
			t.Error("SetDirty does not say who was first")
		}
		check("dirtied", true, false, "D")
		if !page.ClearDirtyForIO() || page.ClearDirtyForIO() {
			t.Error("ClearDirtyForIO does not say whether the page was dirty")
		}
		check("cleared for I/O", false, false, "D")
		page.SetWriteback()
		check("under I/O", false, true, "W")
		page.SetDirty()
		check("dirtied under I/O", true, true, "DW")
		page.EndWriteback()
		check("written, dirty again", true, false, "D")

		// Dirtied between ClearDirtyForIO and SetWriteback: the tag must stay.
		page.ClearDirtyForIO()
		page.SetDirty()
		TagPagesForWriteback(m, 0, math.MaxUint64)
		page.SetWriteback()
		check("dirtied before I/O", true, true, "DW")
		page.EndWriteback()

		wbc := WritebackControl{}
		page.ClearDirtyForIO()
		page.RedirtyForWritepage(&wbc)
		check("given back", true, false, "D")
		if wbc.PagesSkipped != 1 {
			t.Error("not counted as skipped")
		}
		page.CancelDirty()
		check("cancelled", false, false, "D")
		page.Unlock()
		page.Put()
		fs.done()
	})
}

// TestReadWrite compares random reads, writes, truncations and syncs with a
// byte slice, with and without PG_private, with a cache that is too small.
func TestReadWrite(t *testing.T) {
	worlds(t, 20, func(k *kernel.Kernel) {
		const pages = 100
		rnd := rand.New(rand.NewPCG(k.Rand(), 1))
		fs := newFakeFS(k, Options{LimitBytes: 64 * PAGE_SIZE}, pages)
		fs.async = rnd.IntN(2) == 0
		fs.private = rnd.IntN(2) == 0
		var ra FileRa
		ra.Init(&fs.mapping)
		model := make([]byte, pages*PAGE_SIZE)
		for i := range fs.disk {
			fs.disk[i] = byte(i >> 8)
		}
		copy(model, fs.disk)
		buf := make([]byte, 5*PAGE_SIZE)
		steps := 200
		if k.Deterministic() {
			steps = 40
		}
		for range steps {
			size := int(fs.size.Load())
			off := rnd.IntN(size + 1)
			n := rnd.IntN(min(len(buf), pages*PAGE_SIZE-off) + 1)
			switch op := rnd.IntN(10); {
			case op < 5:
				got, err := fs.read(&ra, int64(off), buf[:n])
				want := model[off:min(off+n, size)]
				k.BUG_ON(err != nil || !bytes.Equal(buf[:got], want), "read %d at %d of %d: got %d bytes, %v", n, off, size, got, err)
			case op < 8:
				for i := range buf[:n] {
					buf[i] = byte(rnd.Uint32())
				}
				copy(model[off:], buf[:n])
				fs.write(int64(off), buf[:n])
			case op < 9:
				err := FilemapWriteAndWait(&fs.mapping)
				k.BUG_ON(err != nil, "sync: %v", err)
				size := fs.size.Load()
				for i := range model[:size] {
					if fs.disk[i] != model[i] {
						k.BUG_ON(true, "byte %d of %d is %#x on disk after sync, want %#x", i, size, fs.disk[i], model[i])
					}
				}
			default:
				to := size / 2
				if rnd.IntN(2) == 0 {
					to = min(size*2+PAGE_SIZE, pages*PAGE_SIZE) // grows: zeros appear
				}
				fs.size.Store(int64(to))
				TruncatePagecache(&fs.mapping, int64(to))
				if to < size {
					clear(model[to:])
					fs.diskMu.Lock()
					clear(fs.disk[to:])
					fs.diskMu.Unlock()
				}
			}
		}
		fs.done()
	})
}

// TestReadErrors: EIO if a page cannot be read, what was read before if there is
// any, and a second chance later. A size of zero or a position behind the end
// reads nothing and makes no pages.
func TestReadErrors(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 64)
		var ra FileRa
		ra.Init(&fs.mapping)
		buf := make([]byte, 3*PAGE_SIZE)
		fs.failReads.Store(true)
		if n, err := fs.read(&ra, 0, buf); n != 0 || err != unix.EIO {
			t.Errorf("%d, %v; want EIO", n, err)
		}
		fs.failReads.Store(false)
		if n, err := fs.read(&ra, 0, buf[:PAGE_SIZE]); n != PAGE_SIZE || err != nil {
			t.Errorf("%d, %v after the disk has recovered", n, err)
		}
		InvalidateMappingPages(&fs.mapping, 1, math.MaxUint64)
		fs.failReads.Store(true)
		if n, err := fs.read(&ra, 100, buf); n != PAGE_SIZE-100 || err != nil {
			t.Errorf("%d, %v; want what is cached", n, err)
		}
		before := fs.mapping.NrPages()
		if n, err := fs.read(&ra, 64*PAGE_SIZE, buf); n != 0 || err != nil || fs.mapping.NrPages() != before {
			t.Errorf("read at the end: %d, %v, %d pages more", n, err, fs.mapping.NrPages()-before)
		}
		if _, err := ReadMappingPage(&fs.mapping, 40); err != unix.EIO {
			t.Errorf("ReadMappingPage: %v", err)
		}
		fs.failReads.Store(false)
		page, err := ReadMappingPage(&fs.mapping, 40)
		if err != nil || page.Index != 40 || !page.Uptodate() {
			t.Errorf("ReadMappingPage: %v", err)
		}
		page.Put()
		fs.done()
	})
}

// TestReadahead: a stream is read in growing windows, ahead of the reader; a
// random read brings what was asked for and no more.
func TestReadahead(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 2048)
		var ra FileRa // the zero value does
		buf := make([]byte, PAGE_SIZE)
		for i := range 1024 {
			if n, err := fs.read(&ra, int64(i)*PAGE_SIZE, buf); n != PAGE_SIZE || err != nil {
				t.Fatal(n, err)
			}
		}
		if n := fs.reads.Load(); n > 1024/defaultRaPages+5 {
			t.Errorf("1024 sequential pages took %d reads", n)
		}
		if n := fs.mapping.NrPages(); n < 1024+defaultRaPages/2 || n > 1024+3*defaultRaPages {
			t.Errorf("%d pages cached after reading 1024", n)
		}
		TruncateInodePages(&fs.mapping, 0)
		ra.Init(&fs.mapping)
		before := fs.readPages.Load()
		for i := range 50 {
			fs.read(&ra, int64((i*37+5)%1800)*PAGE_SIZE, buf)
		}
		if n := fs.readPages.Load() - before; n > 60 {
			t.Errorf("50 random pages read %d", n)
		}
		// Two streams through one open file: the marks keep both going.
		TruncateInodePages(&fs.mapping, 0)
		ra.Init(&fs.mapping)
		calls := fs.reads.Load()
		for i := range 400 {
			fs.read(&ra, int64(i)*PAGE_SIZE, buf)
			fs.read(&ra, int64(1000+i)*PAGE_SIZE, buf)
		}
		if n := fs.reads.Load() - calls; n > 120 {
			t.Errorf("two streams of 400 pages took %d reads", n)
		}
		ra.SetPages(0)
		TruncateInodePages(&fs.mapping, 0)
		fs.read(&ra, 0, buf)
		if n := fs.mapping.NrPages(); n != 1 {
			t.Errorf("read-ahead is off, %d pages", n)
		}
		fs.done()
	})
}

// TestWriteCachePages checks what is written, how far, and where cyclic
// writeback goes on.
func TestWriteCachePages(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 100)
		m := &fs.mapping
		dirty := func(idx ...uint64) {
			for _, i := range idx {
				fs.write(int64(i)*PAGE_SIZE, make([]byte, PAGE_SIZE))
			}
		}
		var wrote []uint64
		var ret error
		walk := func(wbc *WritebackControl) error {
			wrote = nil
			return WriteCachePages(m, wbc, func(page *Page, wbc *WritebackControl) error {
				wrote = append(wrote, page.Index)
				if ret != nil && page.Index == 20 {
					if ret != AOP_WRITEPAGE_ACTIVATE {
						page.SetDirty()
						page.Unlock()
					} else {
						page.SetDirty()
					}
					return ret
				}
				return fs.Writepage(page, wbc)
			})
		}
		check := func(what string, want ...uint64) {
			t.Helper()
			if len(wrote) != len(want) {
				t.Fatalf("%s: wrote %v, want %v", what, wrote, want)
			}
			for i := range want {
				if wrote[i] != want[i] {
					t.Fatalf("%s: wrote %v, want %v", what, wrote, want)
				}
			}
		}
		dirty(5, 10, 20, 30)
		walk(&WritebackControl{NrToWrite: 100, RangeStart: 10 * PAGE_SIZE, RangeEnd: 21*PAGE_SIZE - 1})
		check("a range", 10, 20)
		dirty(10, 20)
		walk(&WritebackControl{NrToWrite: 2, RangeCyclic: true})
		check("two pages", 5, 10)
		walk(&WritebackControl{NrToWrite: 1, RangeCyclic: true})
		check("going on", 20)
		dirty(1)
		walk(&WritebackControl{NrToWrite: 100, RangeCyclic: true})
		check("round the end", 30, 1)

		dirty(10, 20, 30)
		walk(&WritebackControl{NrToWrite: 1, RangeEnd: math.MaxInt64, SyncMode: WB_SYNC_ALL})
		check("integrity ignores the number", 10, 20, 30)
		m.WritebackIndex.Store(0)
		dirty(10, 20, 30)
		ret = unix.EIO
		if err := walk(&WritebackControl{NrToWrite: 100, RangeCyclic: true}); err != unix.EIO {
			t.Error(err)
		}
		check("an error ends the walk", 10, 20)
		ret = nil
		walk(&WritebackControl{NrToWrite: 100, RangeCyclic: true})
		check("behind the bad page, then the rest", 30, 20)
		dirty(10, 20, 30)
		ret = AOP_WRITEPAGE_ACTIVATE
		if err := walk(&WritebackControl{NrToWrite: 100, RangeEnd: math.MaxInt64}); err != nil {
			t.Error(err)
		}
		check("not written now", 10, 20, 30)
		ret = nil

		// Pages dirtied during an integrity sync are not its business.
		TruncateInodePages(m, 0)
		dirty(1, 2)
		n := 0
		WriteCachePages(m, &WritebackControl{NrToWrite: 100, RangeEnd: math.MaxInt64, SyncMode: WB_SYNC_ALL}, func(page *Page, wbc *WritebackControl) error {
			n++
			if page.Index < 50 {
				dirty(page.Index + 50)
			}
			return fs.Writepage(page, wbc)
		})
		if n != 2 || !m.Tagged(PAGECACHE_TAG_DIRTY) || m.Tagged(PAGECACHE_TAG_TOWRITE) {
			t.Errorf("wrote %d pages while more were dirtied", n)
		}
		fs.done()
	})
}

// TestSyncErrors: a failed write is reported once by the next wait.
func TestSyncErrors(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 8)
		fs.async = true
		fs.failWrites.Store(true)
		fs.write(0, []byte("x"))
		if err := FilemapWriteAndWait(&fs.mapping); err != unix.EIO {
			t.Errorf("%v, want EIO", err)
		}
		if err := FilemapFdatawait(&fs.mapping); err != nil {
			t.Errorf("%v: reported twice", err)
		}
		fs.mapping.SetError(unix.ENOSPC)
		if err := FilemapFdatawait(&fs.mapping); err != unix.ENOSPC || fs.mapping.HasErrors() {
			t.Errorf("%v, want ENOSPC once", err)
		}
		fs.failWrites.Store(false)
		fs.write(0, []byte("y"))
		if err := FilemapWriteAndWaitRange(&fs.mapping, 0, 0); err != nil || fs.disk[0] != 'y' {
			t.Errorf("%v, disk %q", err, fs.disk[0])
		}
		fs.done()
	})
}

// TestTruncateEdges: partial pages are zeroed and stay, whole ones go.
func TestTruncateEdges(t *testing.T) {
	for _, c := range []struct{ start, end int64 }{
		{0, -1}, {100, -1}, {PAGE_SIZE, -1}, {0, PAGE_SIZE - 1}, {10, 19}, {10, PAGE_SIZE - 1}, {0, 9},
		{PAGE_SIZE - 1, PAGE_SIZE}, {100, 3*PAGE_SIZE + 99}, {PAGE_SIZE, 3*PAGE_SIZE - 1}, {PAGE_SIZE, 3 * PAGE_SIZE},
	} {
		real(t, func(k *kernel.Kernel) {
			fs := newFakeFS(k, Options{}, 5)
			want := bytes.Repeat([]byte{7}, 5*PAGE_SIZE)
			fs.write(0, want)
			TruncatePagecacheRange(&fs.mapping, c.start, c.end)
			end := c.end
			if end == -1 {
				end = 5*PAGE_SIZE - 1
			}
			clear(want[c.start : end+1])
			for i := range uint64(5) {
				page := FindGetPage(&fs.mapping, i)
				whole := c.start <= int64(i)*PAGE_SIZE && end >= int64(i+1)*PAGE_SIZE-1
				if (page == nil) != whole {
					t.Errorf("[%d,%d]: page %d cached %v", c.start, c.end, i, page != nil)
				}
				if page != nil {
					if !bytes.Equal(page.Data, want[i*PAGE_SIZE:(i+1)*PAGE_SIZE]) {
						t.Errorf("[%d,%d]: page %d is wrong", c.start, c.end, i)
					}
					page.Put()
				}
			}
			fs.done()
		})
	}
}

// TestInvalidate: clean unused pages go; dirty ones stay; the strong form takes
// used ones too and reports dirty ones.
func TestInvalidate(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 16)
		fs.private = true
		fs.write(0, make([]byte, 6*PAGE_SIZE))
		FilemapWriteAndWait(&fs.mapping)
		fs.write(2*PAGE_SIZE, []byte("dirty"))
		used := FindGetPage(&fs.mapping, 4)
		if n := InvalidateMappingPages(&fs.mapping, 1, 4); n != 2 {
			t.Errorf("%d pages invalidated, want 1 and 3", n)
		}
		if err := InvalidateInodePages2Range(&fs.mapping, 3, 5); err != nil || used.Mapping.Load() != nil {
			t.Errorf("%v; the used page stays", err)
		}
		used.Put()
		if err := InvalidateInodePages2(&fs.mapping); err != unix.EBUSY {
			t.Errorf("%v, want EBUSY for the dirty page", err)
		}
		if n := fs.mapping.NrPages(); n != 1 {
			t.Errorf("%d pages, want the dirty one", n)
		}
		fs.done()
	})
}

// TestGang covers the multi-page look-ups.
func TestGang(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 8)
		m := &fs.mapping
		for _, i := range []uint64{1, 2, 3, 7, 1 << 40} {
			page := FindOrCreatePage(m, i)
			other := fs.mm.AllocPage()
			if AddToPageCacheLru(other, m, i) != unix.EEXIST {
				t.Error("added twice")
			}
			other.Put()
			page.Unlock()
			page.Put()
		}
		var buf [8]*Page
		if n := FindGetPages(m, 2, buf[:3]); n != 3 || buf[2].Index != 7 {
			t.Error(n)
		}
		PutPages(buf[:3])
		if n := FindGetPages(m, 8, buf[:]); n != 1 || buf[0].Index != 1<<40 {
			t.Error(n)
		}
		PutPages(buf[:1])
		if n := FindGetPagesContig(m, 1, buf[:]); n != 3 {
			t.Error(n)
		}
		PutPages(buf[:3])
		if NextHole(m, 1, 100) != 4 || NextHole(m, 1, 2) != 3 {
			t.Error(NextHole(m, 1, 100), NextHole(m, 1, 2))
		}
		fs.done()
	})
}

func TestIovIter(t *testing.T) {
	var it IovIter
	a, b, c := []byte("hello"), []byte{}, []byte(" world")
	it.InitVec([][]byte{a, b, c})
	buf := make([]byte, 20)
	if n := it.CopyFrom(buf[:7]); n != 7 || string(buf[:7]) != "hello w" || it.Count() != 11 {
		t.Error(n, string(buf[:n]), it.Count())
	}
	it.Advance(4)
	if it.SingleSegCount() != 1 {
		t.Error(it.SingleSegCount())
	}
	save := it
	if n := it.CopyFrom(buf); n != 7 || string(buf[:7]) != "o world" {
		t.Error(n, string(buf[:n]))
	}
	it.Advance(7)
	if it.Count() != 0 || it.CopyFrom(buf) != 0 || it.CopyTo(buf) != 0 || it.Zero(3) != 0 {
		t.Error("something left")
	}
	it = save
	if n := it.CopyTo([]byte("ABC")); n != 3 || string(a) != "hellA" || string(c) != "BCorld" || it.Count() != 4 {
		t.Error(n, string(a), string(c), it.Count())
	}
	it.Truncate(3)
	if n := it.Zero(10); n != 3 || string(c) != "BC\x00\x00\x00d" || it.Count() != 0 {
		t.Error(n, string(c))
	}
	it.InitBytes(nil)
	it.Advance(5)
	if it.Count() != 0 {
		t.Error(it.Count())
	}
}
