// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"fmt"
	"sync"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/image"
)

// Oracle is a device that knows, without making a crash state, when one would be
// bad (T0). It remembers which blocks the last durable super block reaches, its
// trees' and its files' data, and reports at submission
//
//   - a write or discard that hits one of them: after a crash that super block
//     would lead to something else. Only the super blocks themselves are written in
//     place, and files without copy on write;
//   - a super block that is submitted while a block that it leads to is not durable:
//     not written, in flight, or not flushed.
//
// A write costs a look-up for each of its blocks. A super block costs a walk of all
// trees; the walk reads what was submitted, from memory.
type Oracle struct {
	dev blockdev.Device

	mu      sync.Mutex
	armed   bool
	replay  bool              // what is judged happened long ago
	written *drive            // everything submitted so far
	state   map[uint64]status // by block: what was written since the base
	live    map[uint64]string // by block: what it is to the last durable super block
	next    map[uint64]string // to the super block that is being written
	gen     uint64
	epoch   uint64 // flushes submitted so far
	flushed uint64 // of which have ended, with all before them
	found   error
}

// status is how far the last write of a block is.
type status struct {
	ended, fua bool
	epoch      uint64 // flushes that had been submitted when it ended
}

// NewOracle watches the writes to dev, which holds base, once it is armed.
func NewOracle(dev blockdev.Device, base blockdev.Image) *Oracle {
	return &Oracle{dev: dev, written: newDrive(base), state: map[uint64]status{}}
}

// Arm says that a file system is about to be mounted: what is on the device now is
// durable, and from now on the rules hold.
func (o *Oracle) Arm() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.armed {
		o.armed = true
		clear(o.state)
		o.gen = 0
		o.live, _ = o.reach()
	}
}

// Disarm says that somebody else writes to the device, such as mkfs.
func (o *Oracle) Disarm() {
	o.mu.Lock()
	o.armed = false
	o.mu.Unlock()
}

// Size, Name, ReadOnly and Close are the device's below.
func (o *Oracle) Size() uint64   { return o.dev.Size() }
func (o *Oracle) Name() string   { return o.dev.Name() }
func (o *Oracle) ReadOnly() bool { return o.dev.ReadOnly() }
func (o *Oracle) Close() error   { return o.dev.Close() }

// Found is the first thing that was wrong.
func (o *Oracle) Found() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found
}

func (o *Oracle) complain(format string, args ...any) {
	if o.found == nil {
		o.found = fmt.Errorf(format, args...)
	}
}

// SubmitBio judges b and passes it on.
func (o *Oracle) SubmitBio(b *blockdev.Bio) {
	if b.Op == blockdev.REQ_OP_READ {
		o.dev.SubmitBio(b)
		return
	}
	e := blockdev.LogEntry{Op: b.Op, Flags: b.Flags, Sector: b.Sector, Size: uint64(b.Len())}
	for i := range b.Vec {
		e.Data = append(e.Data, b.Vec[i].Buf...)
	}
	done := o.submit(&e)
	end := b.EndIO
	b.EndIO = func(b *blockdev.Bio) {
		b.EndIO = end
		if b.Err == nil {
			done()
		}
		end(b)
	}
	o.dev.SubmitBio(b)
}

// submit judges a request and returns what is to be called when it has ended well.
func (o *Oracle) submit(e *blockdev.LogEntry) (done func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	flush := flushes(e)
	if flush {
		o.epoch++
	}
	epoch := o.epoch
	var blocks []uint64
	if e.Op != blockdev.REQ_OP_FLUSH {
		super := isAnySuper(e)
		each(e, 0, o.written, func(n uint64, x block) {
			if what, live := o.live[n]; live && !super && o.armed {
				o.complain("%s of %d bytes at %d overwrites %s of generation %d, the last durable super block's", e.Op, e.Size, e.Sector*blockdev.SectorSize, what, o.gen)
			}
			o.written.blocks[n] = x
			o.state[n] = status{}
			blocks = append(blocks, n)
		})
	}
	primary := isSuper(e) && o.armed
	if primary {
		o.super(e.Flags&blockdev.REQ_PREFLUSH != 0)
	}
	fua := e.Flags&blockdev.REQ_FUA != 0
	gen := uint64(0)
	if primary {
		gen = generation(e)
	}
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if flush {
			o.flushed = max(o.flushed, epoch)
		}
		for _, n := range blocks {
			o.state[n] = status{true, fua, o.epoch}
		}
		if primary {
			if !fua && !o.replay {
				o.complain("super block of generation %d is written without FUA: its commit returns before it is durable", o.gen+1)
			}
			o.live, o.next = o.next, nil
			o.gen = gen
		}
	}
}

// Retrace is what an Oracle would have said about a log while it was written. That
// a super block has no FUA is nothing: a flush may follow, and when the commit
// returned is not known.
func Retrace(log *Log) error {
	o := NewOracle(nil, log.Base)
	o.replay = true
	t := newTracker(log.Base, log.Entries)
	ends := make([]func(), len(log.Entries))
	for _, ev := range t.events {
		if !o.armed && ev.tick > log.Begin {
			o.Arm()
		}
		e := &log.Entries[ev.entry]
		switch {
		case !ev.end:
			ends[ev.entry] = o.submit(e)
		case e.Err == nil:
			ends[ev.entry]()
			ends[ev.entry] = nil
		}
		if o.found != nil {
			return fmt.Errorf("%s: entry %d: %w", log.Name, ev.entry, o.found)
		}
	}
	return nil
}

// super judges a super block that is about to be written.
func (o *Oracle) super(preflush bool) {
	next, err := o.reach()
	if err != nil {
		o.complain("super block before its trees: %v", err)
		return
	}
	o.next = next
	for n, what := range next {
		st, written := o.state[n]
		switch {
		case !written:
		case !st.ended:
			o.complain("super block before its trees: %s at %d is still being written", what, n*blockSize)
		case !st.fua && !preflush && o.flushed <= st.epoch:
			o.complain("super block before its trees: %s at %d is not flushed", what, n*blockSize)
		}
	}
}

// reach finds the blocks that the super block on the written disk leads to.
func (o *Oracle) reach() (map[uint64]string, error) {
	img, err := image.OpenReaderAt(readerAt{o.written}, o.written.Size())
	if err != nil {
		return nil, err
	}
	if o.gen == 0 {
		o.gen = img.Super.Generation
	}
	live := map[uint64]string{}
	mark := func(logical, length uint64, what string) {
		for at := uint64(0); at < length; at += blockSize {
			for _, p := range img.Map(logical + at) {
				live[p.Physical/blockSize] = what
			}
		}
	}
	roots := []image.Root{img.ChunkRoot(), img.TreeRoot()}
	if r, ok := img.LogRoot(); ok {
		roots = append(roots, r)
	}
	for key, item := range img.Roots(img.TreeRoot()) {
		if key.Type == disk.BTRFS_ROOT_ITEM_KEY {
			roots = append(roots, image.RootOf(key.Objectid, &item))
		}
	}
	for _, r := range roots {
		files := r.Tree == disk.BTRFS_FS_TREE_OBJECTID || r.Tree >= disk.BTRFS_FIRST_FREE_OBJECTID && r.Tree <= disk.BTRFS_LAST_FREE_OBJECTID
		nocow := map[uint64]bool{}
		werr := img.Walk(r, func(v *image.Visit) error {
			if v.Err != nil {
				return v.Err
			}
			mark(v.Bytenr, uint64(img.Nodesize), fmt.Sprintf("block %d of tree %d", v.Bytenr, int64(r.Tree)))
			if v.Level > 0 || !files {
				return nil
			}
			for i := range disk.HeaderNritems(v.Block) {
				key, data := disk.ItemKey(v.Block, i), disk.ItemData(v.Block, i)
				switch key.Type {
				case disk.BTRFS_INODE_ITEM_KEY:
					var item disk.InodeItem
					item.Decode(data)
					nocow[key.Objectid] = item.Flags&(disk.BTRFS_INODE_NODATACOW|disk.BTRFS_INODE_NODATASUM) != 0
				case disk.BTRFS_EXTENT_DATA_KEY:
					var fe disk.FileExtentItem
					fe.Decode(data)
					if fe.Type != disk.BTRFS_FILE_EXTENT_REG || fe.DiskBytenr == 0 || nocow[key.Objectid] {
						continue
					}
					what := fmt.Sprintf("data of inode %d", key.Objectid)
					if fe.Compression != 0 {
						mark(fe.DiskBytenr, fe.DiskNumBytes, what)
					} else {
						mark(fe.DiskBytenr+fe.Offset, fe.NumBytes, what)
					}
				}
			}
			return nil
		})
		if werr != nil {
			return nil, werr
		}
	}
	return live, nil
}
