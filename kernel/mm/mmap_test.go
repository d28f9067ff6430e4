// SPDX-License-Identifier: GPL-2.0-or-later

package mm

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
)

// mappedFile is the open file of a fakeFS.
type mappedFile struct {
	fs   *fakeFS
	ra   FileRa
	refs int
}

func (f *mappedFile) Get()                  { f.refs++ }
func (f *mappedFile) Put()                  { f.refs-- }
func (f *mappedFile) Readahead() *FileRa    { return &f.ra }
func (f *mappedFile) FileUpdateTime() error { return nil }
func (f *mappedFile) FsyncMapped() error    { return FilemapWriteAndWait(&f.fs.mapping) }
func (f *mappedFile) mmap(vma *VMA) error   { vma.Ops = FileVMOperations{}; return nil }
func (f *mappedFile) flags(shared bool) uint32 {
	flags := VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE
	if shared {
		flags |= VM_SHARED | VM_MAYSHARE
	}
	return flags
}

// mapFile maps n pages of f from page index on.
func mapFile(k *kernel.Kernel, as *MmStruct, f *mappedFile, index, n uint64, shared bool) uint64 {
	addr, err := as.Mmap(&MmapRequest{
		Length: n * PAGE_SIZE, Flags: f.flags(shared), Pgoff: index, File: f, Mapping: &f.fs.mapping, Mmap: f.mmap,
	})
	k.BUG_ON(err != nil, "mmap: %v", err)
	return addr
}

func must(k *kernel.Kernel, err error) { k.BUG_ON(err != nil, "%v", err) }

// expect compares memory with a byte.
func expect(k *kernel.Kernel, as *MmStruct, addr uint64, want byte) {
	var b [1]byte
	must(k, as.Load(addr, b[:]))
	k.BUG_ON(b[0] != want, "at %#x there is %d, want %d", addr, b[0], want)
}

// TestMmap: what a store to a shared mapping changes is in the file, what a
// private one changes is not; both see what read(2) sees; errors are those of
// the processor.
func TestMmap(t *testing.T) {
	worlds(t, 3, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 4)
		fs.disk[0], fs.disk[PAGE_SIZE] = 11, 22
		f := &mappedFile{fs: fs}
		as := fs.mm.NewMmStruct()
		shared, private := mapFile(k, as, f, 0, 8, true), mapFile(k, as, f, 0, 8, false)
		expect(k, as, shared, 11)
		expect(k, as, private+PAGE_SIZE, 22)
		must(k, as.Store(shared, []byte{1}))
		expect(k, as, private, 1) // not copied yet
		must(k, as.Store(private, []byte{2}))
		must(k, as.Store(private+PAGE_SIZE, []byte{3})) // after a read fault
		expect(k, as, shared, 1)
		expect(k, as, shared+PAGE_SIZE, 22)
		expect(k, as, private, 2)
		must(k, as.Msync(shared, 8*PAGE_SIZE, unix.MS_SYNC))
		k.BUG_ON(fs.disk[0] != 1, "msync wrote %d", fs.disk[0])
		must(k, as.Madvise(private, PAGE_SIZE, unix.MADV_DONTNEED))
		expect(k, as, private, 1)

		// A cluster of bytes over two pages.
		must(k, as.Store(shared+2*PAGE_SIZE-2, []byte{7, 8, 9}))
		expect(k, as, shared+2*PAGE_SIZE, 9)

		k.BUG_ON(as.Load(shared+4*PAGE_SIZE, make([]byte, 1)) != SIGBUS, "no SIGBUS behind the end")
		k.BUG_ON(as.Load(shared-1, make([]byte, 1)) != SIGSEGV, "no SIGSEGV where nothing is")
		must(k, as.Mprotect(shared, PAGE_SIZE, unix.PROT_READ))
		k.BUG_ON(as.Store(shared, []byte{1}) != SIGSEGV, "a store to read-only memory")
		expect(k, as, shared, 1)
		must(k, as.Mprotect(shared, PAGE_SIZE, unix.PROT_NONE))
		k.BUG_ON(as.Load(shared, make([]byte, 1)) != SIGSEGV, "a load from PROT_NONE")
		must(k, as.Mprotect(shared, PAGE_SIZE, unix.PROT_READ|unix.PROT_WRITE))
		must(k, as.Store(shared, []byte{5}))
		expect(k, as, shared, 5)

		// Truncation takes mapped pages away, private copies too.
		fs.size.Store(PAGE_SIZE)
		TruncatePagecache(&fs.mapping, PAGE_SIZE)
		k.BUG_ON(as.Load(private+PAGE_SIZE, make([]byte, 1)) != SIGBUS, "a private copy survived truncation")

		child := as.Dup()
		must(k, as.Store(private, []byte{40}))
		expect(k, child, private, 5)
		must(k, child.Store(private, []byte{41}))
		expect(k, as, private, 40)
		must(k, child.Store(shared, []byte{42}))
		expect(k, as, shared, 42)
		child.Exit()

		to, err := as.Mremap(shared, 8*PAGE_SIZE, 16*PAGE_SIZE, unix.MREMAP_MAYMOVE, 0)
		must(k, err)
		k.BUG_ON(to == shared, "grew into its neighbour")
		expect(k, as, to, 42)
		must(k, as.Store(to, []byte{43}))
		k.BUG_ON(as.Load(shared, make([]byte, 1)) != SIGSEGV, "still at the old place")
		must(k, as.Munmap(to+PAGE_SIZE, PAGE_SIZE))
		expect(k, as, to, 43)
		k.BUG_ON(as.Load(to+PAGE_SIZE, make([]byte, 1)) != SIGSEGV, "unmapped in the middle")
		k.BUG_ON(as.Load(to+2*PAGE_SIZE, make([]byte, 1)) != SIGBUS, "behind the hole")
		as.Exit()
		k.BUG_ON(f.refs != 0, "%d references of the file left", f.refs)
		fs.done()
	})
}

// TestMkclean: cleaning a page for I/O write-protects it, so that the next store
// dirties it again; nothing that was stored before is missing on disk, nothing
// after stays unwritten. Without write-protection (or if the entry became
// writable before the page is dirtied) the last store is lost.
func TestMkclean(t *testing.T) {
	worlds(t, 300, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 1)
		fs.async = true
		f := &mappedFile{fs: fs}
		as := fs.mm.NewMmStruct()
		addr := mapFile(k, as, f, 0, 1, true)
		sync := k.Go("msync", func(*kernel.Task) {
			for range 3 {
				must(k, as.Msync(addr, PAGE_SIZE, unix.MS_SYNC))
			}
		})
		for b := byte(1); b < 4; b++ {
			must(k, as.Store(addr, []byte{b}))
		}
		sync.Join()
		must(k, as.Msync(addr, PAGE_SIZE, unix.MS_SYNC))
		k.BUG_ON(fs.disk[0] != 3, "%d on disk, 3 was stored last", fs.disk[0])
		as.Exit()
		fs.done()
	})
}

// TestDirtyBehind: munmap's dirty bit, and what a device wrote into pinned
// memory, reach the page; what munmap moves is no news, what comes through a
// pinned page that was cleaned meanwhile is.
func TestDirtyBehind(t *testing.T) {
	worlds(t, 3, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 2)
		f := &mappedFile{fs: fs}
		as := fs.mm.NewMmStruct()
		addr := mapFile(k, as, f, 0, 2, true)
		must(k, as.Store(addr, []byte{1}))
		must(k, as.Munmap(addr, PAGE_SIZE))
		page := FindGetPage(&fs.mapping, 0)
		k.BUG_ON(!page.Dirty() || page.DirtiedBehind(), "munmap: flags %#x", page.Flags.Load())
		page.Put()

		var it IovIter
		it.InitUser(as, []UserSeg{{addr + PAGE_SIZE, 100}})
		pins, err := it.Pin(100, true, nil)
		must(k, err)
		must(k, FilemapWriteAndWait(&fs.mapping))
		pins[0].Buf[0] = 77
		page = pins[0].Page
		k.BUG_ON(page.Dirty(), "still dirty")
		Unpin(pins, true)
		k.BUG_ON(!page.Dirty() || !page.DirtiedBehind(), "pinned: flags %#x", page.Flags.Load())
		must(k, FilemapWriteAndWait(&fs.mapping))
		k.BUG_ON(fs.disk[PAGE_SIZE] != 77 || page.DirtiedBehind(), "%d on disk", fs.disk[PAGE_SIZE])
		it.InitUser(as, []UserSeg{{addr, 100}})
		_, err = it.Pin(100, true, nil)
		k.BUG_ON(err != unix.EFAULT, "pinned nothing: %v", err)
		as.Exit()
		fs.done()
	})
}

// TestUserIter: copies stop where nothing is, take what is not in memory only
// when they may fault, and cross segments.
func TestUserIter(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 2)
		f := &mappedFile{fs: fs}
		as := fs.mm.NewMmStruct()
		addr := mapFile(k, as, f, 0, 2, true)
		anon, err := as.Mmap(&MmapRequest{Length: 2 * PAGE_SIZE, Flags: f.flags(false)})
		must(k, err)
		segs := []UserSeg{{anon + 2*PAGE_SIZE - 3, 3}, {addr, 5}, {anon + 2*PAGE_SIZE - 1, 10}}
		var it IovIter
		it.InitUser(as, segs)
		buf := make([]byte, 18)
		if n := it.CopyFrom(buf); n != 0 {
			t.Errorf("took %d bytes that are not in memory", n)
		}
		must(k, it.FaultInReadable(8))
		if n := it.CopyFrom(buf); n != 9 {
			t.Errorf("took %d bytes of 9", n)
		}
		it.DisableFaults()
		if n := it.CopyTo([]byte("0123456789")); n != 3 {
			t.Errorf("gave %d bytes, the shared page is read-only", n)
		}
		it.EnableFaults()
		if n := it.CopyTo([]byte("abcdefghij")); n != 6 || it.Count() != 9 {
			t.Errorf("gave %d bytes, left %d", n, it.Count())
		}
		must(k, as.Load(addr, buf[:5]))
		if !bytes.Equal(buf[:5], []byte("abcde")) {
			t.Errorf("%q", buf[:5])
		}
		if err := it.FaultInWriteable(1); err != unix.EFAULT {
			t.Error(err)
		}
		as.Exit()
		fs.done()
	})
}

// TestMappedReclaim: mapping and storing to more than the machine's memory works
// and loses nothing: mapped pages can be reclaimed.
func TestMappedReclaim(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		const pages = 400
		fs := newFakeFS(k, Options{LimitBytes: 64 * PAGE_SIZE}, pages)
		fs.startFlusher()
		f := &mappedFile{fs: fs}
		as := fs.mm.NewMmStruct()
		addr := mapFile(k, as, f, 0, pages, true)
		for i := range uint64(pages) {
			must(k, as.Store(addr+i*PAGE_SIZE, []byte{byte(i)}))
		}
		for i := range uint64(pages) {
			expect(k, as, addr+i*PAGE_SIZE, byte(i))
		}
		if s := fs.mm.Stats(); s.HighWater > 64+2*64 {
			t.Errorf("%d pages in use at once, the limit is 64", s.HighWater)
		}
		as.Exit()
		fs.done()
	})
}

// TestSharedAnonymous: parent and child see one another's stores.
func TestSharedAnonymous(t *testing.T) {
	real(t, func(k *kernel.Kernel) {
		fs := newFakeFS(k, Options{}, 1)
		as := fs.mm.NewMmStruct()
		addr, err := as.Mmap(&MmapRequest{Length: PAGE_SIZE, Flags: (&mappedFile{}).flags(true)})
		must(k, err)
		child := as.Dup()
		must(k, child.Store(addr, []byte{9}))
		expect(k, as, addr, 9)
		child.Exit()
		expect(k, as, addr, 9)
		as.Exit()
		fs.done()
	})
}
