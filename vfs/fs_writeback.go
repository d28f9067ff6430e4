// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"math"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
)

const (
	dirtyWritebackInterval = 5 * nsecPerSec  // how often old data is looked for
	dirtyExpireInterval    = 30 * nsecPerSec // what is old
	minWritebackPages      = 1024            // pages of one inode at a time
)

// bdiWriteback is the flusher of one file system: a kernel thread and the lists of dirty inodes that it works on.
//
// A dirty inode is on bDirty, in the order in which the inodes became dirty. A pass moves those that are due to bIO and writes them
// one after another; an inode that used its share of pages waits on bMoreIO for the next round, so that one big file does not hold up
// the others. While I_SYNC is set the inode is being written: whoever dirties it meanwhile leaves its place in the lists alone, and
// the writer sorts it in again at the end (requeueInode).
//
// Lists and their entries: listLock, which is outside ILock. An inode is on a list only while it is not I_FREEING, or its evictor waits.
//
//kernel:none mirrors struct bdi_writeback of include/linux/backing-dev-defs.h
type bdiWriteback struct {
	sb   *SuperBlock
	task *kernel.Task

	listLock kernel.SpinMutex
	bDirty   kernel.List[Inode]
	bIO      kernel.List[Inode]
	bMoreIO  kernel.List[Inode]

	workLock kernel.SpinMutex
	works    kernel.List[wbWork]
	pending  kernel.WatchedInt32 // works queued

	background kernel.WatchedBool // write until below the background limit
	kupdate    kernel.WatchedBool // look for old data
	timer      kernel.Timer       // sets kupdate
	armed      kernel.AtomicBool  // timer runs
}

// wbWork is one order to the flusher.
//
//kernel:fs/fs-writeback.c struct wb_writeback_work
type wbWork struct {
	nrPages          int64
	syncMode         mm.SyncMode
	taggedWritepages bool
	forKupdate       bool
	forBackground    bool
	forSync          bool
	rangeCyclic      bool
	entry            kernel.Entry[wbWork]
	done             *kernel.Completion // nil: nobody waits
}

// SetupBdi gives the file system a backing device and a flusher. A file system that keeps its data elsewhere than in memory calls it
// when it is mounted, before it makes inodes.
//
//kernel:fs/super.c super_setup_bdi_name
func (sb *SuperBlock) SetupBdi(name string) {
	v := sb.V
	wb := &bdiWriteback{sb: sb}
	wb.listLock.Init(v.class.wbLock)
	wb.workLock.Init(v.class.wbWorkLock)
	wb.timer.Init(v.class.wbTimer, func() {
		wb.armed.Store(false)
		wb.kupdate.Store(true)
		wb.task.WakeUp()
	})
	sb.wb = wb
	sb.Bdi = &mm.BackingDevInfo{WakeFlusher: wb.wakeFlusher}
	sb.Bdi.Init(v.MM, name)
	wb.task = v.K.KthreadRun("flush-"+name, wb.workfn)
	for _, x := range []interface{ Watch(*kernel.WaitQueue) }{&wb.pending, &wb.background, &wb.kupdate} {
		x.Watch(wb.task.WakeQueue())
	}
}

// bdiUnregister ends the flusher; there is nothing dirty any more.
//
//kernel:none mirrors bdi_unregister of mm/backing-dev.c
func (sb *SuperBlock) bdiUnregister() {
	wb := sb.wb
	if wb == nil {
		return
	}
	wb.task.Stop()
	wb.timer.DelSync()
	sb.wb = nil
	sb.Bdi.Destroy()
}

// wakeFlusher is what the page cache calls when too much is dirty.
//
//kernel:fs/fs-writeback.c wb_start_background_writeback
func (wb *bdiWriteback) wakeFlusher(nrPages int64, background bool) {
	if nrPages > 0 && !background {
		wb.queueWork(&wbWork{nrPages: nrPages, rangeCyclic: true})
		return
	}
	if !wb.background.Load() && !wb.background.Swap(true) {
		wb.task.WakeUp()
	}
}

//kernel:fs/fs-writeback.c wb_queue_work
func (wb *bdiWriteback) queueWork(work *wbWork) {
	work.entry.Init(work)
	wb.workLock.Lock()
	wb.works.PushBack(&work.entry)
	wb.pending.Add(1)
	wb.workLock.Unlock()
	wb.task.WakeUp()
}

//kernel:fs/fs-writeback.c get_next_work_item
func (wb *bdiWriteback) nextWork() *wbWork {
	wb.workLock.Lock()
	work := wb.works.PopFront()
	if work != nil {
		wb.pending.Add(-1)
	}
	wb.workLock.Unlock()
	return work
}

// workfn is the flusher's thread.
//
//kernel:fs/fs-writeback.c wb_workfn
func (wb *bdiWriteback) workfn(t *kernel.Task) {
	for !t.ShouldStop() {
		wb.doWriteback()
		wb.arm()
		t.WaitEvent(func() bool { return wb.pending.Load() != 0 || wb.background.Load() || wb.kupdate.Load() })
	}
	wb.doWriteback()
}

// arm starts the timer for old data when there is something dirty.
//
//kernel:fs/fs-writeback.c wb_wakeup_delayed
func (wb *bdiWriteback) arm() {
	if wb.armed.Load() {
		return
	}
	wb.listLock.Lock()
	dirty := wb.hasDirtyIO()
	wb.listLock.Unlock()
	if dirty && !wb.armed.Swap(true) {
		wb.timer.Mod(dirtyWritebackInterval)
	}
}

//kernel:none mirrors wb_has_dirty_io of include/linux/backing-dev.h
func (wb *bdiWriteback) hasDirtyIO() bool {
	return !wb.bDirty.Empty() || !wb.bIO.Empty() || !wb.bMoreIO.Empty()
}

// doWriteback carries out all orders, then looks for old data and for too much of it.
//
//kernel:fs/fs-writeback.c wb_do_writeback
func (wb *bdiWriteback) doWriteback() {
	for work := wb.nextWork(); work != nil; work = wb.nextWork() {
		wb.writeback(work)
		if work.done != nil {
			work.done.Complete()
		}
	}
	if wb.kupdate.Swap(false) {
		wb.writeback(&wbWork{nrPages: math.MaxInt64, forKupdate: true, rangeCyclic: true})
	}
	if wb.background.Swap(false) && wb.sb.V.MM.OverBackgroundThresh() {
		wb.writeback(&wbWork{nrPages: math.MaxInt64, forBackground: true, rangeCyclic: true})
	}
}

// writeback carries out one order and returns how many pages it wrote.
//
//kernel:fs/fs-writeback.c wb_writeback
func (wb *bdiWriteback) writeback(work *wbWork) (wrote int64) {
	k := wb.sb.V.K
	start := work.nrPages
	dirtiedBefore := k.Now() // so that a sync ends beside busy writers
	wb.listLock.Lock()
	for work.nrPages > 0 {
		// Somebody waits for a sync: background work can go on later.
		if (work.forBackground || work.forKupdate) && wb.pending.Load() != 0 {
			break
		}
		if work.forBackground && !wb.sb.V.MM.OverBackgroundThresh() {
			break
		}
		if work.forKupdate {
			dirtiedBefore = k.Now() - dirtyExpireInterval
		} else if work.forBackground {
			dirtiedBefore = k.Now()
		}
		if wb.bIO.Empty() {
			wb.queueIO(dirtiedBefore)
		}
		if wb.writebackInodes(work) > 0 {
			continue
		}
		if wb.bMoreIO.Empty() {
			break
		}
		// Nothing was written, but there is more: somebody else writes that inode. Wait for it.
		inode := wb.bMoreIO.First()
		inode.ILock.Lock()
		wb.listLock.Unlock()
		inode.sleepOnWriteback()
		wb.listLock.Lock()
	}
	wb.listLock.Unlock()
	return start - work.nrPages
}

// queueIO takes the inodes that are due: first those that have waited for their next share, then those dirtied before the time given.
//
//kernel:fs/fs-writeback.c queue_io
func (wb *bdiWriteback) queueIO(dirtiedBefore int64) {
	for inode := wb.bMoreIO.First(); inode != nil; inode = wb.bMoreIO.First() {
		wb.move(inode, &wb.bIO)
	}
	for inode := wb.bDirty.First(); inode != nil && inode.dirtiedWhen <= dirtiedBefore; inode = wb.bDirty.First() {
		wb.move(inode, &wb.bIO)
	}
}

// move puts an inode at the end of one of the lists; listLock held.
//
//kernel:fs/fs-writeback.c inode_io_list_move_locked
func (wb *bdiWriteback) move(inode *Inode, list *kernel.List[Inode]) { list.MoveBack(&inode.wbEntry) }

// redirtyTail makes a dirty inode the youngest one.
//
//kernel:fs/fs-writeback.c redirty_tail
func (wb *bdiWriteback) redirtyTail(inode *Inode) {
	if last := wb.bDirty.Last(); last != nil && inode.dirtiedWhen < last.dirtiedWhen {
		inode.dirtiedWhen = wb.sb.V.K.Now()
	}
	wb.move(inode, &wb.bDirty)
}

// writebackInodes writes the inodes on bIO. It is called with listLock held, and drops it while it writes.
//
//kernel:fs/fs-writeback.c writeback_sb_inodes
func (wb *bdiWriteback) writebackInodes(work *wbWork) (wrote int64) {
	k := wb.sb.V.K
	startTime := k.Now()
	wbc := mm.WritebackControl{
		SyncMode: work.syncMode, TaggedWritepages: work.taggedWritepages, ForKupdate: work.forKupdate,
		ForBackground: work.forBackground, ForSync: work.forSync, RangeCyclic: work.rangeCyclic,
		RangeStart: 0, RangeEnd: math.MaxInt64,
	}
	for inode := wb.bIO.First(); inode != nil; inode = wb.bIO.First() {
		inode.ILock.Lock()
		state := inode.state.Load()
		if state&(I_NEW|I_FREEING|I_WILL_FREE) != 0 {
			inode.ILock.Unlock()
			wb.redirtyTail(inode)
			continue
		}
		if state&I_SYNC != 0 && work.syncMode != mm.WB_SYNC_ALL {
			inode.ILock.Unlock()
			wb.move(inode, &wb.bMoreIO)
			continue
		}
		wb.listLock.Unlock()
		if state&I_SYNC != 0 {
			// The inode may be gone when we wake up.
			inode.sleepOnWriteback()
			wb.listLock.Lock()
			continue
		}
		inode.setState(I_SYNC)
		inode.ILock.Unlock()

		chunk := wb.chunkSize(work)
		wbc.NrToWrite, wbc.PagesSkipped = chunk, 0
		if err := inode.writebackRaw(&wbc); err != nil && err != unix.EAGAIN {
			// The mapping remembers the error for fsync.
			wb.sb.V.K.Printk("%s: writeback of inode %d: %v", wb.sb.ID, inode.Ino, err)
		}
		work.nrPages -= chunk - wbc.NrToWrite
		wrote += chunk - wbc.NrToWrite

		wb.listLock.Lock()
		inode.ILock.Lock()
		if inode.state.Load()&I_DIRTY == 0 {
			wrote++
		}
		wb.requeueInode(inode, &wbc)
		inode.syncComplete()
		inode.ILock.Unlock()
		if wrote > 0 && (work.nrPages <= 0 || k.Now()-startTime > nsecPerSec/10) {
			break
		}
	}
	return wrote
}

// chunkSize is how many pages of one inode to write before the next one's turn. A sync writes all of each.
//
//kernel:fs/fs-writeback.c writeback_chunk_size
func (wb *bdiWriteback) chunkSize(work *wbWork) int64 {
	if work.syncMode == mm.WB_SYNC_ALL || work.taggedWritepages {
		return math.MaxInt64
	}
	return min(work.nrPages, minWritebackPages)
}

// requeueInode sorts an inode in again after it was written. Both locks held.
//
//kernel:fs/fs-writeback.c requeue_inode
func (wb *bdiWriteback) requeueInode(inode *Inode, wbc *mm.WritebackControl) {
	state := inode.state.Load()
	if state&I_FREEING != 0 {
		return
	}
	// A sync that comes by again must not find it at once: it would never end.
	if state&I_DIRTY != 0 && (wbc.SyncMode == mm.WB_SYNC_ALL || wbc.TaggedWritepages) {
		inode.dirtiedWhen = wb.sb.V.K.Now()
	}
	switch {
	case wbc.PagesSkipped != 0:
		wb.redirtyTail(inode)
	case inode.Mapping.Tagged(mm.PAGECACHE_TAG_DIRTY) && wbc.NrToWrite <= 0:
		wb.move(inode, &wb.bMoreIO)
	case inode.Mapping.Tagged(mm.PAGECACHE_TAG_DIRTY), state&I_DIRTY != 0:
		wb.redirtyTail(inode)
	default:
		inode.wbEntry.Remove()
	}
}
