// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel"
)

// The part of volumes.c that keeps a balance alive across pauses, umounts and
// crashes.
//
// A balance is an item in the root tree from its start to its end. Who finds one
// at mount has an interrupted balance: it is paused, and unless skip_balance
// says otherwise a kernel thread resumes it. What had been moved is not told by
// the item; chunks that were moved are full, or have the profile they should
// have, and filters added at resume pass them over.
//
// balanceMutex guards beginning and end; it is not held while chunks move, so
// pausing and cancelling are requests, seen between two chunks (and cancelling
// within one), and a wait for BTRFS_FS_BALANCE_RUNNING to clear. Umount and
// remounting read-only pause.

// What FsInfo.exclusiveOperation can be. A paused balance keeps others out too.
//
//kernel:none mirrors enum btrfs_exclusive_operation
const (
	BTRFS_EXCLOP_NONE int32 = iota
	BTRFS_EXCLOP_BALANCE_PAUSED
	BTRFS_EXCLOP_BALANCE
	BTRFS_EXCLOP_RESIZE
)

// Arguments of BTRFS_IOC_BALANCE_CTL.
const (
	BTRFS_BALANCE_CTL_PAUSE  = 1
	BTRFS_BALANCE_CTL_CANCEL = 2
)

//kernel:fs/btrfs/ioctl.c btrfs_exclop_start
func (fsInfo *FsInfo) exclopStart(op int32) bool {
	return fsInfo.exclusiveOperation.CompareAndSwap(BTRFS_EXCLOP_NONE, op)
}

//kernel:fs/btrfs/ioctl.c btrfs_exclop_finish
func (fsInfo *FsInfo) exclopFinish() { fsInfo.exclusiveOperation.Store(BTRFS_EXCLOP_NONE) }

// balanceKey is where the item is.
//
//kernel:none the key in insert_balance_item and its like
var balanceKey = disk.Key{Objectid: disk.BTRFS_BALANCE_OBJECTID, Type: disk.BTRFS_TEMPORARY_ITEM_KEY}

// toDisk: on disk one number for usage or limit takes the place of both halves.
//
//kernel:fs/btrfs/volumes.c btrfs_cpu_balance_args_to_disk
func (args *BalanceArgs) toDisk() disk.DiskBalanceArgs {
	d := disk.DiskBalanceArgs{Profiles: args.Profiles, UsageMin: args.UsageMin, UsageMax: args.UsageMax, Devid: args.Devid, Pstart: args.Pstart,
		Pend: args.Pend, Vstart: args.Vstart, Vend: args.Vend, Target: args.Target, Flags: args.Flags, LimitMin: args.LimitMin, LimitMax: args.LimitMax}
	if args.Flags&BTRFS_BALANCE_ARGS_USAGE != 0 {
		d.UsageMin, d.UsageMax = args.UsageMax, 0
	}
	if args.Flags&BTRFS_BALANCE_ARGS_LIMIT != 0 {
		d.LimitMin, d.LimitMax = args.LimitMax, 0
	}
	return d
}

//kernel:fs/btrfs/volumes.c btrfs_disk_balance_args_to_cpu
func (args *BalanceArgs) fromDisk(d *disk.DiskBalanceArgs) {
	*args = BalanceArgs{Flags: d.Flags, Profiles: d.Profiles, UsageMin: d.UsageMin, UsageMax: d.UsageMax, Devid: d.Devid, Pstart: d.Pstart, Pend: d.Pend,
		Vstart: d.Vstart, Vend: d.Vend, Target: d.Target, LimitMin: d.LimitMin, LimitMax: d.LimitMax}
	if d.Flags&BTRFS_BALANCE_ARGS_USAGE != 0 {
		args.UsageMin, args.UsageMax = 0, d.UsageMin
	}
	if d.Flags&BTRFS_BALANCE_ARGS_LIMIT != 0 {
		args.LimitMin, args.LimitMax = 0, d.LimitMin
	}
}

// insertBalanceItem makes it known on disk that a balance has begun.
//
//kernel:fs/btrfs/volumes.c insert_balance_item
func (fsInfo *FsInfo) insertBalanceItem(bctl *BalanceControl) error {
	trans, err := fsInfo.treeRoot.StartTransaction(0)
	if err != nil {
		return err
	}
	item := disk.BalanceItem{Flags: bctl.Flags, Data: bctl.Data.toDisk(), Meta: bctl.Meta.toDisk(), Sys: bctl.Sys.toDisk()}
	var b [disk.SizeofBalanceItem]byte
	item.Encode(b[:])
	key := balanceKey
	err = fsInfo.treeRoot.InsertItem(trans, &key, b[:])
	if cerr := trans.Commit(); err == nil {
		err = cerr
	}
	return err
}

// delBalanceItem makes it known on disk that there is no balance any more.
//
//kernel:fs/btrfs/volumes.c del_balance_item
func (fsInfo *FsInfo) delBalanceItem() error {
	trans, err := fsInfo.treeRoot.StartTransactionFallbackGlobalRsv(0)
	if err != nil {
		return err
	}
	key := balanceKey
	err = fsInfo.treeRoot.delKey(trans, &key)
	if cerr := trans.Commit(); err == nil {
		err = cerr
	}
	return err
}

// resetBalanceState forgets the balance. After an error of the file system the
// item stays; the next mount resumes then.
//
//kernel:fs/btrfs/volumes.c reset_balance_state
func (fsInfo *FsInfo) resetBalanceState() {
	fsInfo.balanceCtl.Store(nil)
	if err := fsInfo.delBalanceItem(); err != nil {
		fsInfo.err("balance: its item could not be deleted: %v", err)
	}
}

// updated returns what a resumed balance has still to do: what is converted, or
// is as full as only chunks are that have been balanced, is not done again.
//
//kernel:fs/btrfs/volumes.c update_balance_args
func (bctl *BalanceControl) updated() *BalanceControl {
	next := *bctl
	next.Flags |= BTRFS_BALANCE_RESUME
	for _, args := range []*BalanceArgs{&next.Data, &next.Meta, &next.Sys} {
		switch {
		case args.Flags&BTRFS_BALANCE_ARGS_CONVERT != 0:
			args.Flags |= BTRFS_BALANCE_ARGS_SOFT
		case args.Flags&(BTRFS_BALANCE_ARGS_USAGE|BTRFS_BALANCE_ARGS_USAGE_RANGE) == 0:
			args.Flags |= BTRFS_BALANCE_ARGS_USAGE
			args.UsageMin, args.UsageMax = 0, 90
		}
	}
	return &next
}

// recoverBalance finds a balance that an earlier mount did not end.
//
//kernel:fs/btrfs/volumes.c btrfs_recover_balance
func (fsInfo *FsInfo) recoverBalance() error {
	path := NewPath()
	defer path.Free()
	key := balanceKey
	found, err := fsInfo.treeRoot.SearchSlot(nil, &key, path, 0, false)
	data, err := path.found(found, err, disk.SizeofBalanceItem)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	var item disk.BalanceItem
	item.Decode(data)
	bctl := &BalanceControl{Flags: item.Flags}
	bctl.Data.fromDisk(&item.Data)
	bctl.Meta.fromDisk(&item.Meta)
	bctl.Sys.fromDisk(&item.Sys)
	fsInfo.exclusiveOperation.Store(BTRFS_EXCLOP_BALANCE_PAUSED)
	fsInfo.balanceCtl.Store(bctl)
	return nil
}

// resumeBalanceAsync has a kernel thread go on with a paused balance.
//
//kernel:fs/btrfs/volumes.c btrfs_resume_balance_async
func (fsInfo *FsInfo) resumeBalanceAsync() {
	if fsInfo.balanceCtl.Load() == nil {
		return
	}
	if fsInfo.mountOpt.SkipBalance {
		fsInfo.info("balance: resume skipped")
		return
	}
	fsInfo.joinBalanceKthread()
	fsInfo.balanceKthread = fsInfo.k.KthreadRun("btrfs-balance", fsInfo.balanceThread)
}

//kernel:fs/btrfs/volumes.c balance_kthread
func (fsInfo *FsInfo) balanceThread(*kernel.Task) {
	fsInfo.balanceMutex.Lock()
	if bctl := fsInfo.balanceCtl.Load(); bctl != nil && !fsInfo.fsFlags.Test(BTRFS_FS_BALANCE_RUNNING) {
		fsInfo.runBalance(bctl, true, nil) // it has logged how it ended
	}
	fsInfo.balanceMutex.Unlock()
}

// joinBalanceKthread waits for the thread that has resumed a balance.
//
//kernel:none the kernel leaves it to itself
func (fsInfo *FsInfo) joinBalanceKthread() {
	if fsInfo.balanceKthread != nil {
		fsInfo.balanceKthread.Join()
		fsInfo.balanceKthread = nil
	}
}

//kernel:fs/btrfs/ioctl.c btrfs_ioctl_balance_ctl
func (fsInfo *FsInfo) ioctlBalanceCtl(cmd int) error {
	switch cmd {
	case BTRFS_BALANCE_CTL_PAUSE:
		return fsInfo.PauseBalance()
	case BTRFS_BALANCE_CTL_CANCEL:
		return fsInfo.CancelBalance()
	}
	return unix.EINVAL
}

// PauseBalance stops the running balance between two chunks. ENOTCONN: none runs.
//
//kernel:fs/btrfs/volumes.c btrfs_pause_balance
func (fsInfo *FsInfo) PauseBalance() error {
	fsInfo.balanceMutex.Lock()
	defer fsInfo.balanceMutex.Unlock()
	if fsInfo.balanceCtl.Load() == nil || !fsInfo.fsFlags.Test(BTRFS_FS_BALANCE_RUNNING) {
		return unix.ENOTCONN
	}
	fsInfo.balancePauseReq.Add(1)
	fsInfo.waitBalance()
	fsInfo.balancePauseReq.Add(-1)
	return nil
}

// CancelBalance ends a balance that runs or is paused. ENOTCONN: there is none.
//
//kernel:fs/btrfs/volumes.c btrfs_cancel_balance
func (fsInfo *FsInfo) CancelBalance() error {
	fsInfo.balanceMutex.Lock()
	defer fsInfo.balanceMutex.Unlock()
	if fsInfo.balanceCtl.Load() == nil {
		return unix.ENOTCONN
	}
	if fsInfo.sb.IsRdonly() {
		return unix.EROFS // the item cannot be deleted
	}
	fsInfo.balanceCancelReq.Add(1)
	fsInfo.waitBalance()
	if fsInfo.balanceCtl.Load() != nil {
		fsInfo.resetBalanceState()
		fsInfo.exclopFinish()
		fsInfo.info("balance: canceled")
	}
	fsInfo.balanceCancelReq.Add(-1)
	return nil
}

// waitBalance waits until none runs. Caller holds balanceMutex, which is not held
// meanwhile.
//
//kernel:none wait_event on balance_wait_q
func (fsInfo *FsInfo) waitBalance() {
	for fsInfo.fsFlags.Test(BTRFS_FS_BALANCE_RUNNING) {
		fsInfo.balanceMutex.Unlock()
		fsInfo.balanceWaitQ.WaitEvent(func() bool { return !fsInfo.fsFlags.Test(BTRFS_FS_BALANCE_RUNNING) })
		fsInfo.balanceMutex.Lock()
	}
}

// shouldCancelBalance: somebody waits for the balance to end.
//
//kernel:fs/btrfs/relocation.c btrfs_should_cancel_balance
func (fsInfo *FsInfo) shouldCancelBalance() bool { return fsInfo.balanceCancelReq.Load() > 0 }
