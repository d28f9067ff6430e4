// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// worlds runs body in the real world and under many schedules. Each schedule
// runs twice and must take the same course.
func worlds(t *testing.T, schedules int, body func(k *kernel.Kernel)) {
	t.Helper()
	t.Run("real", func(t *testing.T) {
		for range 10 {
			k := kernel.New(kernel.Options{})
			if err := k.Run("main", func(*kernel.Task) { body(k) }); err != nil {
				t.Fatal(err)
			}
			clean(t, k)
		}
	})
	t.Run("deterministic", func(t *testing.T) {
		if testing.Short() {
			schedules = schedules/10 + 1
		}
		hashes := map[uint64]bool{}
		for seed := range uint64(schedules) {
			var hash [2]uint64
			for i := range hash {
				s := sched.New(seed)
				k := kernel.New(kernel.Options{Scheduler: s, Seed: seed})
				if err := k.Run("main", func(*kernel.Task) { body(k) }); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				clean(t, k)
				hash[i] = s.Hash()
			}
			if hash[0] != hash[1] {
				t.Fatalf("seed %d: two runs differ", seed)
			}
			hashes[hash[0]] = true
		}
		if len(hashes) < schedules/4 {
			t.Errorf("%d schedules, only %d different", schedules, len(hashes))
		}
	})
}

// real runs body once in the real world.
func real(t testing.TB, body func(k *kernel.Kernel)) {
	t.Helper()
	k := kernel.New(kernel.Options{})
	if err := k.Run("main", func(*kernel.Task) { body(k) }); err != nil {
		t.Fatal(err)
	}
	clean(t, k)
}

func clean(t testing.TB, k *kernel.Kernel) {
	t.Helper()
	if w := k.Warnings(); len(w) != 0 {
		t.Fatal(w)
	}
}

// fakeFS is a file of a file system whose disk is a byte slice. I/O ends in
// kernel threads of its own, if async, or at once.
type fakeFS struct {
	k       *kernel.Kernel
	mm      *MM
	bdi     BackingDevInfo
	mapping AddressSpace
	size    kernel.AtomicInt64

	disk    []byte
	diskMu  kernel.Mutex
	async   bool
	private bool // pages carry PG_private

	reads, readPages, writes, marked kernel.AtomicInt64
	failReads, failWrites            kernel.AtomicBool
	refuseRelease                    kernel.AtomicBool
	stopFlusher                      func()
}

func newFakeFS(k *kernel.Kernel, o Options, pages int) *fakeFS {
	fs := &fakeFS{k: k, mm: New(k, o), disk: make([]byte, pages*PAGE_SIZE)}
	fs.bdi.Init(fs.mm, "fake")
	fs.mapping.Init(fs.mm, fs, fs, &fs.bdi)
	fs.diskMu.Init(k.Class("fake disk"))
	fs.size.Store(int64(len(fs.disk)))
	return fs
}

// done empties the cache and looks for leaks.
func (fs *fakeFS) done() {
	if fs.stopFlusher != nil {
		fs.stopFlusher()
	}
	TruncateInodePages(&fs.mapping, 0)
	s := fs.mm.Stats()
	fs.k.BUG_ON(fs.mapping.NrPages() != 0 || s.InUse != 0 || s.Dirty != 0 || s.Writeback != 0 || s.Active != 0 || s.Inactive != 0,
		"leaked: %d pages in the mapping, %+v", fs.mapping.NrPages(), s)
	fs.bdi.Destroy()
	fs.mm.Destroy()
}

// startFlusher gives the device a flusher thread.
func (fs *fakeFS) startFlusher() {
	var wanted kernel.AtomicBool
	var task *kernel.Task
	task = fs.k.KthreadRun("flusher", func(t *kernel.Task) {
		for !t.ShouldStop() {
			t.WaitEvent(wanted.Load)
			if wanted.Swap(false) {
				wbc := WritebackControl{NrToWrite: 1 << 30, RangeCyclic: true}
				DoWritepages(&fs.mapping, &wbc)
			}
		}
	})
	fs.bdi.WakeFlusher = func(int64, bool) {
		if !wanted.Swap(true) {
			task.WakeUp()
		}
	}
	fs.stopFlusher = func() { task.Stop(); fs.bdi.WakeFlusher = nil }
}

func (fs *fakeFS) MarkInodeDirtyPages() { fs.marked.Add(1) }
func (*fakeFS) SetWbErr(error)          {}
func (fs *fakeFS) ISize() int64         { return fs.size.Load() }

func (fs *fakeFS) io(f func()) {
	if fs.async {
		fs.k.KthreadRun("io", func(*kernel.Task) {
			for range fs.k.Choose(20, "seek") {
				fs.k.CondResched()
			}
			f()
		})
	} else {
		f()
	}
}

func (fs *fakeFS) Writepage(page *Page, wbc *WritebackControl) error {
	fs.writes.Add(1)
	if page.Offset() >= uint64(fs.size.Load()) {
		page.Unlock() // truncated: the caller has cleaned it
		return nil
	}
	if fs.private && !page.HasPrivate() {
		fs.k.BUG_ON(true, "page %d without private", page.Index)
	}
	page.ClearError()
	page.SetWriteback()
	page.Unlock()
	fail := fs.failWrites.Load()
	fs.io(func() {
		if fail {
			page.SetError()
			fs.mapping.SetError(unix.EIO)
		} else {
			fs.diskMu.Lock()
			copyData(fs.disk[page.Offset():], page.Data)
			fs.diskMu.Unlock()
		}
		page.EndWriteback()
	})
	return nil
}

func (fs *fakeFS) Writepages(mapping *AddressSpace, wbc *WritebackControl) error {
	return GenericWritepages(mapping, wbc)
}

func (fs *fakeFS) Readpage(page *Page) error {
	fs.readPages.Add(1)
	if fs.private && !page.HasPrivate() {
		page.AttachPrivate(fs)
	}
	fail := fs.failReads.Load()
	fs.io(func() {
		if fail {
			page.SetError()
		} else {
			fs.diskMu.Lock()
			if off := page.Offset(); off < uint64(len(fs.disk)) {
				copyData(page.Data, fs.disk[off:off+PAGE_SIZE])
			} else {
				page.Zero(0, PAGE_SIZE)
			}
			fs.diskMu.Unlock()
			page.SetUptodate()
		}
		page.Unlock()
	})
	return nil
}

func (fs *fakeFS) Readpages(mapping *AddressSpace, pages []*Page) error {
	fs.reads.Add(1)
	return ReadEachPage(mapping, pages)
}

func (fs *fakeFS) SetPageDirty(page *Page) bool { return page.SetDirtyNobuffers() }

func (fs *fakeFS) Invalidatepage(page *Page, offset, length uint) {
	page.WaitOnWriteback()
	if offset == 0 && length == PAGE_SIZE {
		page.DetachPrivate()
	}
}

func (fs *fakeFS) Releasepage(page *Page) bool {
	if fs.refuseRelease.Load() {
		return false
	}
	page.DetachPrivate()
	return true
}

// write is what a file system's buffered write does.
func (fs *fakeFS) write(off int64, p []byte) {
	for len(p) > 0 {
		at := int(off % PAGE_SIZE)
		n := min(len(p), PAGE_SIZE-at)
		page := GrabCachePageWriteBegin(&fs.mapping, uint64(off)/PAGE_SIZE)
		for !page.Uptodate() && n < PAGE_SIZE {
			page.Unlock()
			again, err := page.makeUptodate(&fs.mapping)
			fs.k.BUG_ON(err != nil, "read for write: %v", err)
			page.Lock()
			if again || page.Mapping.Load() == nil {
				page.Unlock()
				page.Put()
				page = GrabCachePageWriteBegin(&fs.mapping, uint64(off)/PAGE_SIZE)
			}
		}
		if fs.private && !page.HasPrivate() {
			page.AttachPrivate(fs)
		}
		page.WaitOnWriteback()
		copyData(page.Data[at:], p[:n])
		page.SetUptodate()
		page.SetDirty()
		p, off = p[n:], off+int64(n)
		if off > fs.size.Load() {
			fs.size.Store(off) // before anybody can write the page
		}
		page.Unlock()
		MarkPageAccessed(page)
		page.Put()
		BalanceDirtyPagesRatelimited(&fs.mapping)
	}
}

// read reads up to len(p) bytes.
func (fs *fakeFS) read(ra *FileRa, off int64, p []byte) (int, error) {
	var it IovIter
	it.InitBytes(p)
	return GenericFileRead(ra, &fs.mapping, off, &it)
}
