// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
)

// The half of volumes.c that moves chunks: balance, and shrinking the device.

// BTRFS_BALANCE_* flags of BalanceArgs.Flags and of BalanceControl.Flags.
const (
	BTRFS_BALANCE_DATA     = 1 << 0
	BTRFS_BALANCE_SYSTEM   = 1 << 1
	BTRFS_BALANCE_METADATA = 1 << 2
	BTRFS_BALANCE_FORCE    = 1 << 3
	BTRFS_BALANCE_RESUME   = 1 << 5

	BTRFS_BALANCE_ARGS_PROFILES    = 1 << 0
	BTRFS_BALANCE_ARGS_USAGE       = 1 << 1
	BTRFS_BALANCE_ARGS_DEVID       = 1 << 2
	BTRFS_BALANCE_ARGS_DRANGE      = 1 << 3
	BTRFS_BALANCE_ARGS_VRANGE      = 1 << 4
	BTRFS_BALANCE_ARGS_LIMIT       = 1 << 5
	BTRFS_BALANCE_ARGS_LIMIT_RANGE = 1 << 6
	BTRFS_BALANCE_ARGS_CONVERT     = 1 << 8
	BTRFS_BALANCE_ARGS_SOFT        = 1 << 9
	BTRFS_BALANCE_ARGS_USAGE_RANGE = 1 << 10

	BTRFS_BALANCE_STATE_RUNNING    = 1 << 0
	BTRFS_BALANCE_STATE_PAUSE_REQ  = 1 << 1
	BTRFS_BALANCE_STATE_CANCEL_REQ = 1 << 2
)

// BalanceArgs says which chunks of a type to move.
//
//kernel:none mirrors struct btrfs_balance_args of include/uapi/linux/btrfs_tree.h
type BalanceArgs struct {
	Flags              uint64
	Profiles           uint64
	UsageMin, UsageMax uint32 // percent
	Devid              uint64
	Pstart, Pend       uint64
	Vstart, Vend       uint64
	Target             uint64 // profile
	LimitMin, LimitMax uint32
}

// BalanceControl is one balance, and how far it is.
//
//kernel:fs/btrfs/volumes.h struct btrfs_balance_control
type BalanceControl struct {
	Flags           uint64
	State           uint64
	Data, Meta, Sys BalanceArgs
	Expected        uint64
	Considered      uint64
	Completed       uint64
}

// argsFor are the arguments for chunks of a type.
//
//kernel:none the head of should_balance_chunk
func (bctl *BalanceControl) argsFor(chunkType uint64) (args *BalanceArgs, wanted bool) {
	switch {
	case chunkType&disk.BTRFS_BLOCK_GROUP_DATA != 0:
		return &bctl.Data, bctl.Flags&BTRFS_BALANCE_DATA != 0
	case chunkType&disk.BTRFS_BLOCK_GROUP_SYSTEM != 0:
		return &bctl.Sys, bctl.Flags&BTRFS_BALANCE_SYSTEM != 0
	}
	return &bctl.Meta, bctl.Flags&BTRFS_BALANCE_METADATA != 0
}

// chunkToExtended: "single" has no bit on disk, but one in arguments.
//
//kernel:none mirrors chunk_to_extended
func chunkToExtended(flags uint64) uint64 {
	if flags&disk.BTRFS_BLOCK_GROUP_PROFILE_MASK == 0 {
		return flags | disk.BTRFS_AVAIL_ALLOC_BIT_SINGLE
	}
	return flags
}

// balanceTarget is the profile that new chunks of a type get while a balance
// converts to it; 0: none does. "single" is BTRFS_AVAIL_ALLOC_BIT_SINGLE.
//
//kernel:fs/btrfs/block-group.c get_restripe_target
func (fsInfo *FsInfo) balanceTarget(flags uint64) uint64 {
	bctl := fsInfo.balanceCtl.Load()
	if bctl == nil {
		return 0
	}
	args, wanted := bctl.argsFor(flags)
	if !wanted || args.Flags&BTRFS_BALANCE_ARGS_CONVERT == 0 {
		return 0
	}
	return args.Target
}

// shouldBalanceChunk: do the filters select the chunk? It takes one off a limit.
//
//kernel:fs/btrfs/volumes.c should_balance_chunk
func (fsInfo *FsInfo) shouldBalanceChunk(bctl *BalanceControl, m *chunkMap) bool {
	args, wanted := bctl.argsFor(m.typ)
	if !wanted {
		return false
	}
	has := func(bit uint64) bool { return args.Flags&bit != 0 }
	if has(BTRFS_BALANCE_ARGS_PROFILES) && chunkToExtended(m.typ)&args.Profiles == 0 {
		return false
	}
	blockGroup := fsInfo.lookupBlockGroup(m.start)
	if blockGroup == nil {
		return false
	}
	used := blockGroup.usedNow()
	switch {
	case has(BTRFS_BALANCE_ARGS_USAGE):
		limit := m.length * uint64(args.UsageMax) / 100
		if args.UsageMax == 0 {
			limit = 1
		}
		if args.UsageMax < 100 && used >= limit {
			return false
		}
	case has(BTRFS_BALANCE_ARGS_USAGE_RANGE):
		low, high := m.length*uint64(args.UsageMin)/100, m.length*uint64(args.UsageMax)/100
		if args.UsageMax == 0 {
			high = 1
		}
		if args.UsageMax < 100 && used >= high || used < low {
			return false
		}
	}
	if has(BTRFS_BALANCE_ARGS_DEVID) && args.Devid != fsInfo.device.devid {
		return false
	}
	if has(BTRFS_BALANCE_ARGS_DRANGE) && !slices.ContainsFunc(m.stripes, func(s uint64) bool { return s < args.Pend && s+m.length > args.Pstart }) {
		return false
	}
	if has(BTRFS_BALANCE_ARGS_VRANGE) && !(m.start < args.Vend && m.start+m.length > args.Vstart) {
		return false
	}
	if has(BTRFS_BALANCE_ARGS_SOFT) && has(BTRFS_BALANCE_ARGS_CONVERT) && chunkToExtended(m.typ)&args.Target != 0 {
		return false
	}
	switch {
	case has(BTRFS_BALANCE_ARGS_LIMIT), has(BTRFS_BALANCE_ARGS_LIMIT_RANGE):
		if args.LimitMax == 0 {
			return false
		}
		args.LimitMax--
	}
	return true
}

// validateBalanceArgs checks what is to be converted.
//
//kernel:fs/btrfs/volumes.c validate_convert_profile
func (fsInfo *FsInfo) validateBalanceArgs(bctl *BalanceControl) error {
	if bctl.Flags&(BTRFS_BALANCE_DATA|BTRFS_BALANCE_METADATA|BTRFS_BALANCE_SYSTEM) == 0 {
		return unix.EINVAL
	}
	const ours = disk.BTRFS_BLOCK_GROUP_DUP | disk.BTRFS_AVAIL_ALLOC_BIT_SINGLE
	for _, args := range []*BalanceArgs{&bctl.Data, &bctl.Meta, &bctl.Sys} {
		if args.Flags&BTRFS_BALANCE_ARGS_CONVERT != 0 && args.Target != disk.BTRFS_BLOCK_GROUP_DUP && args.Target != disk.BTRFS_AVAIL_ALLOC_BIT_SINGLE {
			fsInfo.err("balance: invalid convert profile %#x, one device can have single and dup", args.Target&^ours)
			return unix.EINVAL
		}
		if args.Flags&BTRFS_BALANCE_ARGS_LIMIT_RANGE != 0 && args.LimitMin > args.LimitMax ||
			args.Flags&BTRFS_BALANCE_ARGS_USAGE_RANGE != 0 && args.UsageMin > args.UsageMax {
			return unix.EINVAL
		}
	}
	// Fewer copies of metadata only if somebody insists.
	for _, args := range []*BalanceArgs{&bctl.Meta, &bctl.Sys} {
		if args.Flags&BTRFS_BALANCE_ARGS_CONVERT != 0 && args.Target == disk.BTRFS_AVAIL_ALLOC_BIT_SINGLE &&
			fsInfo.availMetadataBits.Load()&disk.BTRFS_BLOCK_GROUP_DUP != 0 && bctl.Flags&BTRFS_BALANCE_FORCE == 0 {
			fsInfo.err("balance: force reducing metadata redundancy")
			return unix.EINVAL
		}
	}
	return nil
}

// Balance moves the chunks that args select, the last one first, and returns in
// args how many. A chunk that has no room to go to does not end it, but ENOSPC is
// the result then. EINPROGRESS: another one runs or is paused; ECANCELED: this
// one has been paused or cancelled. With BTRFS_BALANCE_RESUME the paused one goes
// on.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_balance
func (fsInfo *FsInfo) Balance(args *BalanceControl) error {
	if fsInfo.sb.IsRdonly() {
		return unix.EROFS
	}
	fsInfo.balanceMutex.Lock()
	defer fsInfo.balanceMutex.Unlock()
	bctl := fsInfo.balanceCtl.Load()
	resume := args.Flags&BTRFS_BALANCE_RESUME != 0
	switch {
	case fsInfo.fsFlags.Test(BTRFS_FS_BALANCE_RUNNING) || bctl != nil && !resume:
		return unix.EINPROGRESS
	case bctl == nil && resume:
		return unix.ENOTCONN
	case bctl == nil:
		if !fsInfo.exclopStart(BTRFS_EXCLOP_BALANCE) {
			return unix.EINPROGRESS
		}
		bctl = new(*args)
	}
	return fsInfo.runBalance(bctl, resume, args)
}

// runBalance runs a balance from its beginning, or on from where it was paused.
// Caller holds balanceMutex, which is not held while chunks are moved.
//
//kernel:fs/btrfs/volumes.c btrfs_balance
func (fsInfo *FsInfo) runBalance(bctl *BalanceControl, resume bool, args *BalanceControl) error {
	if fsInfo.closing() || fsInfo.balancePauseReq.Load() > 0 || fsInfo.balanceCancelReq.Load() > 0 {
		if !resume { // else the next mount resumes it
			fsInfo.exclopFinish()
		}
		return unix.EINVAL
	}
	err := fsInfo.validateBalanceArgs(bctl)
	if err == nil && !resume {
		err = fsInfo.insertBalanceItem(bctl)
	}
	if err != nil {
		if resume {
			fsInfo.resetBalanceState()
		}
		fsInfo.exclopFinish()
		return err
	}
	verb := "start"
	if resume {
		verb = "resume"
		bctl = bctl.updated()
	}
	fsInfo.balanceCtl.Store(bctl)
	fsInfo.exclusiveOperation.Store(BTRFS_EXCLOP_BALANCE)
	fsInfo.fsFlags.Set(BTRFS_FS_BALANCE_RUNNING)
	fsInfo.info("balance: %s %s", verb, bctl.describe())
	fsInfo.balanceMutex.Unlock()

	err = fsInfo.balanceRaw(bctl)

	fsInfo.balanceMutex.Lock()
	paused := err == unix.ECANCELED && fsInfo.balancePauseReq.Load() > 0 && fsInfo.balanceCancelReq.Load() == 0
	switch {
	case paused:
		fsInfo.info("balance: paused")
		fsInfo.exclusiveOperation.Store(BTRFS_EXCLOP_BALANCE_PAUSED)
	case err == unix.ECANCELED:
		fsInfo.info("balance: canceled")
	default:
		fsInfo.info("balance: ended with status: %d", errnoNumber(err))
	}
	fsInfo.fsFlags.Clear(BTRFS_FS_BALANCE_RUNNING)
	if args != nil {
		fsInfo.BalanceProgress(args)
	}
	if !paused {
		fsInfo.resetBalanceState()
		fsInfo.exclopFinish()
	}
	fsInfo.balanceWaitQ.WakeUp()
	return err
}

// balanceRaw moves chunks. Between two of them it may be asked to stop.
//
//kernel:fs/btrfs/volumes.c __btrfs_balance
func (fsInfo *FsInfo) balanceRaw(bctl *BalanceControl) error {
	run := *bctl // others see what publish shows
	run.Expected, run.Considered, run.Completed = 0, 0, 0
	publish := func() {
		fsInfo.balanceLock.Lock()
		bctl.Expected, bctl.Considered, bctl.Completed = run.Expected, run.Considered, run.Completed
		bctl.Data.LimitMax, bctl.Meta.LimitMax, bctl.Sys.LimitMax = run.Data.LimitMax, run.Meta.LimitMax, run.Sys.LimitMax
		fsInfo.balanceLock.Unlock()
	}
	// Chunks that come into being meanwhile are not meant.
	var chunks []*chunkMap
	all := *fsInfo.chunkMaps.Load()
	counting := run
	for i := len(all) - 1; i >= 0; i-- {
		if fsInfo.shouldBalanceChunk(&counting, all[i]) {
			run.Expected++
		}
		chunks = append(chunks, all[i])
	}
	for _, args := range []*BalanceArgs{&run.Data, &run.Meta, &run.Sys} {
		if args.Flags&BTRFS_BALANCE_ARGS_LIMIT_RANGE != 0 && uint64(args.LimitMin) > run.Expected {
			publish()
			return nil
		}
	}
	enospc := 0
	reserved := false
	for _, m := range chunks {
		publish()
		if fsInfo.balancePauseReq.Load() > 0 || fsInfo.shouldCancelBalance() {
			return unix.ECANCELED
		}
		run.Considered++
		if !fsInfo.shouldBalanceChunk(&run, m) {
			continue
		}
		var err error
		if !reserved && m.typ&disk.BTRFS_BLOCK_GROUP_DATA != 0 {
			reserved = true
			err = fsInfo.mayAllocDataChunk()
		}
		if err == nil {
			err = fsInfo.relocateChunk(m.start)
		}
		switch err {
		case nil:
			run.Completed++
		case unix.ENOSPC:
			enospc++
		case unix.ENOENT: // gone meanwhile
		default:
			publish()
			return err
		}
	}
	publish()
	if enospc > 0 {
		fsInfo.info("%d enospc errors during balance", enospc)
		return unix.ENOSPC
	}
	return nil
}

// mayAllocDataChunk makes a data chunk if no data are left: with the last one
// the profile of data would be forgotten.
//
//kernel:fs/btrfs/volumes.c btrfs_may_alloc_data_chunk
func (fsInfo *FsInfo) mayAllocDataChunk() error {
	spaceInfo := fsInfo.dataSinfo
	spaceInfo.lock.Lock()
	used := spaceInfo.bytesUsed
	spaceInfo.lock.Unlock()
	if used > 0 {
		return nil
	}
	trans, err := fsInfo.extentRoot.JoinTransaction()
	if err != nil {
		return err
	}
	err = trans.chunkAlloc(spaceInfo, fsInfo.getAllocProfile(spaceInfo.flags), CHUNK_ALLOC_FORCE)
	if eerr := trans.End(); err == nil {
		err = eerr
	}
	return err
}

// describe is how the log names a balance.
//
//kernel:fs/btrfs/volumes.c describe_balance_start_or_resume
func (bctl *BalanceControl) describe() string {
	var parts []string
	for _, t := range []struct {
		flag uint64
		opt  string
	}{{BTRFS_BALANCE_DATA, "-d"}, {BTRFS_BALANCE_METADATA, "-m"}, {BTRFS_BALANCE_SYSTEM, "-s"}} {
		if bctl.Flags&t.flag != 0 {
			parts = append(parts, t.opt)
		}
	}
	return strings.Join(parts, " ")
}

// BalanceProgress tells how far the balance is that runs or is paused; false if
// there is none.
//
//kernel:fs/btrfs/ioctl.c btrfs_ioctl_balance_progress
func (fsInfo *FsInfo) BalanceProgress(args *BalanceControl) bool {
	bctl := fsInfo.balanceCtl.Load()
	if bctl == nil {
		return false
	}
	fsInfo.balanceLock.Lock()
	*args = *bctl
	fsInfo.balanceLock.Unlock()
	args.State = 0
	if fsInfo.fsFlags.Test(BTRFS_FS_BALANCE_RUNNING) {
		args.State |= BTRFS_BALANCE_STATE_RUNNING
	}
	if fsInfo.balancePauseReq.Load() > 0 {
		args.State |= BTRFS_BALANCE_STATE_PAUSE_REQ
	}
	if fsInfo.balanceCancelReq.Load() > 0 {
		args.State |= BTRFS_BALANCE_STATE_CANCEL_REQ
	}
	return true
}

// bgFlagsString names the type and profile of a group: data|dup.
//
//kernel:fs/btrfs/volumes.c btrfs_describe_block_groups
func bgFlagsString(flags uint64) string {
	var parts []string
	for _, f := range []struct {
		bit  uint64
		name string
	}{{disk.BTRFS_BLOCK_GROUP_DATA, "data"}, {disk.BTRFS_BLOCK_GROUP_SYSTEM, "system"}, {disk.BTRFS_BLOCK_GROUP_METADATA, "metadata"},
		{disk.BTRFS_BLOCK_GROUP_DUP, "dup"}, {disk.BTRFS_BLOCK_GROUP_RAID0, "raid0"}} {
		if flags&f.bit != 0 {
			parts = append(parts, f.name)
		}
	}
	return strings.Join(parts, "|")
}

// ResizeDevice makes the file system larger or smaller; to make it smaller,
// chunks beyond the new end are moved. After an error it is as large as before.
//
//kernel:fs/btrfs/volumes.c btrfs_grow_device
func (fsInfo *FsInfo) ResizeDevice(newSize uint64) error {
	if fsInfo.sb.IsRdonly() {
		return unix.EROFS
	}
	newSize = alignDown(newSize, uint64(fsInfo.sectorsize))
	if newSize < 256<<20 {
		return unix.EINVAL
	}
	if newSize > fsInfo.dev.Size() {
		return unix.EFBIG
	}
	if !fsInfo.exclopStart(BTRFS_EXCLOP_RESIZE) {
		return unix.EINPROGRESS
	}
	defer fsInfo.exclopFinish()
	old := fsInfo.device.totalBytes
	fsInfo.info("resize device %s (devid %d) from %d to %d", fsInfo.dev.Name(), fsInfo.device.devid, old, newSize)
	if newSize == old {
		return nil
	}
	fsInfo.setDeviceSize(newSize)
	if newSize < old {
		if err := fsInfo.shrinkDevice(newSize); err != nil {
			fsInfo.setDeviceSize(old)
			return err
		}
	}
	trans, err := fsInfo.chunkRoot.StartTransaction(1)
	if err == nil {
		fsInfo.superLock.Lock()
		fsInfo.superCopy.TotalBytes += newSize - old
		fsInfo.superLock.Unlock()
		fsInfo.allocMutex.Lock()
		fsInfo.device.diskTotalBytes = newSize
		if err = fsInfo.updateDevice(trans); err == nil {
			err = trans.runPending(false)
		}
		fsInfo.allocMutex.Unlock()
		if trans.abortOn(err) != nil {
			trans.End()
			return err
		}
		err = trans.Commit()
	}
	fsInfo.clearSpaceInfoFull()
	return err
}

// setDeviceSize changes how much of the device chunks may take.
//
//kernel:none btrfs_device_set_total_bytes and atomic64_sub on free_chunk_space
func (fsInfo *FsInfo) setDeviceSize(size uint64) {
	fsInfo.chunkMutex.Lock()
	fsInfo.freeChunkBytes.Add(int64(size - fsInfo.device.totalBytes))
	fsInfo.device.totalBytes = size
	fsInfo.chunkMutex.Unlock()
}

// shrinkDevice moves all chunks that reach beyond newSize.
//
//kernel:fs/btrfs/volumes.c btrfs_shrink_device
func (fsInfo *FsInfo) shrinkDevice(newSize uint64) error {
	for retried := false; ; retried = true {
		failed := false
		all := *fsInfo.chunkMaps.Load()
		for i := len(all) - 1; i >= 0; i-- {
			m := all[i]
			if !slices.ContainsFunc(m.stripes, func(s uint64) bool { return s+m.length > newSize }) {
				continue
			}
			err := fsInfo.relocateChunk(m.start)
			switch err {
			case nil, unix.ENOENT:
			case unix.ENOSPC:
				failed = true
			default:
				return err
			}
		}
		if !failed {
			return nil
		}
		if retried {
			return unix.ENOSPC
		}
	}
}
