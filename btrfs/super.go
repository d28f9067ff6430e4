// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/disk"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/workqueue"
)

// BTRFS_SUPER_MAGIC is what statfs reports as type.
const BTRFS_SUPER_MAGIC = 0x9123683E

// Type is btrfs for vfs.RegisterFilesystem.
//
//kernel:none btrfs_fs_type
var Type = &vfs.FileSystemType{
	Name:        "btrfs",
	RequiresDev: true,
	KillSb:      func(sb *vfs.SuperBlock) { sb.KillBlockSuper() },
}

// init completes Type here, because mount names it.
//
//kernel:none init_btrfs_fs registers a static structure
func init() { Type.Mount = mount }

// parseOptions reads the option string of a mount. Flags that mount(8) turns
// into MS_* bits come separately. EINVAL: an option that is unknown or has a
// wrong value; a line in the log names it.
//
//kernel:fs/btrfs/super.c btrfs_parse_param
func parseOptions(v *vfs.VFS, data string, o *MountOptions) error {
	bad := func(opt string) error {
		v.K.Printk("BTRFS error: mount option '%s' is not known or has a wrong value", opt)
		return unix.EINVAL
	}
	for opt := range strings.SplitSeq(data, ",") {
		name, value, hasValue := strings.Cut(opt, "=")
		number := func(lo, hi uint64) (uint64, bool) {
			n, err := parseSize(value)
			return n, hasValue && err == nil && n >= lo && n <= hi
		}
		if hasValue && !slices.Contains(valueOptions, name) {
			return bad(opt)
		}
		switch name {
		case "", "defaults", "rw", "loop", "clear_cache":
			// What happens anyway.
		case "space_cache", "nospace_cache":
			if hasValue && value != "v1" && value != "v2" {
				return bad(opt)
			}
			o.SpaceCacheV1 = value != "v2"
		case "autodefrag":
			o.AutoDefrag = true
		case "noautodefrag":
			o.AutoDefrag = false
		case "skip_balance":
			o.SkipBalance = true
		case "ro":
			o.ReadOnly = true
		case "user_subvol_rm_allowed":
			o.UserSubvolRmAllowed = true
		case "datasum":
			o.NoDataSum, o.NoDataCow = false, false
		case "nodatasum":
			o.NoDataSum = true
		case "datacow":
			o.NoDataCow = false
		case "nodatacow":
			o.NoDataCow, o.NoDataSum = true, true
			o.CompressType, o.CompressForce = 0, false
		case "barrier":
			o.NoBarrier = false
		case "nobarrier":
			o.NoBarrier = true
		case "discard":
			if hasValue && value != "sync" && value != "async" {
				return bad(opt)
			}
			o.Discard, o.DiscardAsync = true, value == "async"
		case "nodiscard":
			o.Discard = false
		case "compress", "compress-force":
			if !parseCompressOption(value, hasValue, name == "compress-force", o) {
				return bad(opt)
			}
		case "flushoncommit":
			o.FlushOnCommit = true
		case "noflushoncommit":
			o.FlushOnCommit = false
		case "nologreplay", "norecovery":
			o.NoLogReplay = true
		case "rescue":
			if value != "nologreplay" {
				return bad(opt)
			}
			o.NoLogReplay = true
		case "commit":
			n, ok := number(0, 1<<31)
			if !ok {
				return bad(opt)
			}
			if n == 0 {
				n = defaultCommitSeconds
			}
			o.CommitInterval = int64(n) * 1e9
		case "max_inline":
			if !hasValue {
				return bad(opt)
			}
			n, err := parseSize(value)
			if err != nil {
				n = 0 // as memparse reads it
			}
			o.MaxInline = uint32(min(n, 1<<31))
		case "thread_pool":
			n, err := strconv.ParseUint(value, 0, 32)
			if err != nil {
				return bad(opt)
			}
			if n == 0 {
				v.K.Printk("BTRFS error: invalid value 0 for thread_pool")
				return unix.EINVAL
			}
			o.ThreadPoolSize = int(n)
		case "subvol":
			if !hasValue || value == "" {
				return bad(opt)
			}
			o.Subvol = value
		case "subvolid":
			n, err := strconv.ParseUint(value, 0, 64)
			if err != nil {
				return bad(opt)
			}
			if n == 0 {
				n = disk.BTRFS_FS_TREE_OBJECTID
			}
			o.SubvolID = n
		default:
			if !o.Hints.set(name) {
				return bad(opt)
			}
		}
	}
	return nil
}

// checkOptions: some options are for read-only mounts.
//
//kernel:fs/btrfs/super.c btrfs_check_options
func (fsInfo *FsInfo) checkOptions(o *MountOptions) error {
	if o.NoLogReplay && !o.ReadOnly {
		fsInfo.err("nologreplay must be used with ro mount option")
		return unix.EINVAL
	}
	return nil
}

// valueOptions are those that can have a value.
var valueOptions = []string{"commit", "compress", "compress-force", "discard", "max_inline", "rescue", "space_cache", "subvol", "subvolid", "thread_pool"}

// mountHints are options that change nothing here, but are shown: bit i is
// mountHintNames[i].
//
//kernel:none bits of mount_opt
type mountHints uint16

var mountHintNames = [...]string{"degraded", "nossd", "ssd_spread", "ssd", "notreelog", "noacl", "rescan_uuid_tree", "enospc_debug"}

const (
	hintDegraded = 1 << iota
	hintNoSSD
	hintSSDSpread
	hintSSD
	hintNoTreeLog
	hintNoACL
	hintRescanUUIDTree
	hintEnospcDebug
)

// set notes a hint, or takes it back by its opposite; false for another option.
//
//kernel:none part of btrfs_parse_param
func (h *mountHints) set(name string) bool {
	switch name {
	case "ssd":
		*h = *h&^hintNoSSD | hintSSD
	case "nossd":
		*h = *h&^(hintSSD|hintSSDSpread) | hintNoSSD
	case "ssd_spread":
		*h = *h&^hintNoSSD | hintSSD | hintSSDSpread
	case "nossd_spread":
		*h &^= hintSSDSpread
	case "treelog":
		*h &^= hintNoTreeLog
	case "acl":
		*h &^= hintNoACL
	case "noenospc_debug":
		*h &^= hintEnospcDebug
	default:
		i := slices.Index(mountHintNames[:], name)
		if i < 0 {
			return false
		}
		*h |= 1 << i
	}
	return true
}

// parseCompressOption reads compress[=type[:level]] and compress-force.
//
//kernel:none part of btrfs_parse_param
func parseCompressOption(value string, hasValue, force bool, o *MountOptions) bool {
	if !hasValue {
		value = "zlib"
	}
	typ, rest, ok := parseCompressType(value)
	switch {
	case ok:
		o.CompressType, o.CompressLevel, o.CompressForce = typ, compressStr2level(typ, rest), force
		o.NoDataCow, o.NoDataSum = false, false
		return true
	case value == "no" || value == "none":
		o.CompressType, o.CompressLevel, o.CompressForce = 0, 0, false
		return true
	}
	return false
}

const (
	defaultCommitSeconds = 30
	defaultMaxInline     = 2048
	defaultThreadPool    = 8
)

// parseSize reads a number with an optional suffix k, m or g.
//
//kernel:none mirrors memparse of lib/cmdline.c
func parseSize(s string) (uint64, error) {
	shift := 0
	if s != "" {
		switch s[len(s)-1] {
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		}
	}
	if shift > 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err == nil && n<<shift>>shift != n {
		err = strconv.ErrRange
	}
	return n << shift, err
}

// defaultMountOptions are those of a mount without options.
//
//kernel:none mirrors btrfs_init_fs_context's defaults
func defaultMountOptions() MountOptions {
	return MountOptions{CommitInterval: defaultCommitSeconds * 1e9, MaxInline: defaultMaxInline, ThreadPoolSize: defaultThreadPool}
}

// mount mounts a subvolume of the file system on the source's device: the one
// that the options name, or the default one. All mounts of a device share one
// super block, whose root is that of the top-level subvolume; what differs is
// the dentry at which a mount begins, and whether it may be written through.
//
//kernel:fs/btrfs/super.c btrfs_get_tree_subvol
func mount(v *vfs.VFS, source vfs.Source, flags vfs.MountFlags, data string) (*vfs.Dentry, error) {
	options := defaultMountOptions()
	if err := parseOptions(v, data, &options); err != nil {
		return nil, err
	}
	root, err := v.MountBdev(Type, source, flags, data, fillSuper)
	for err == unix.EBUSY {
		// One mount may be read-only while another is not: the super block is
		// writable then, and the read-only mount says so itself.
		if root, err = v.MountBdev(Type, source, flags^unix.MS_RDONLY, data, fillSuper); err == unix.EBUSY {
			// It has just become what we wanted first.
			root, err = v.MountBdev(Type, source, flags, data, fillSuper)
			continue
		}
		if err != nil {
			return nil, err
		}
		if flags&unix.MS_RDONLY == 0 {
			sb := root.Sb
			if err := infoOf(sb).remountReadWrite(); err != nil {
				root.Dput()
				sb.DeactivateLockedSuper()
				return nil, err
			}
			infoOf(sb).mountOpt.ReadOnly = false
			sb.ClearFlags(unix.MS_RDONLY)
		}
	}
	if err != nil {
		return nil, err
	}
	sb := root.Sb
	root.Dput()
	if root, err = infoOf(sb).mountSubvol(&options); err != nil {
		sb.DeactivateLockedSuper()
		return nil, err
	}
	return root, nil
}

// mountSubvol finds the root directory of the subvolume that the options name.
//
//kernel:fs/btrfs/super.c mount_subvol
func (fsInfo *FsInfo) mountSubvol(options *MountOptions) (*vfs.Dentry, error) {
	name, objectid := options.Subvol, options.SubvolID
	if name == "" {
		var err error
		byDefault := objectid == 0
		if byDefault {
			if objectid, err = fsInfo.getDefaultSubvolObjectid(); err != nil {
				return nil, err
			}
		}
		if name, err = fsInfo.subvolName(objectid); err != nil {
			if byDefault { // nobody asked for this one by its number
				fsInfo.err("the default subvolume %d cannot be found: %v", objectid, err)
			}
			return nil, err
		}
	}
	root, err := fsInfo.walkFromTop(name)
	if err != nil {
		return nil, err
	}
	inode := I(root.DInode())
	switch {
	case inode.location.Objectid != disk.BTRFS_FIRST_FREE_OBJECTID:
		fsInfo.err("'%s' is not a valid subvolume", name)
		err = unix.EINVAL
	case objectid != 0 && inode.root.Objectid() != objectid:
		fsInfo.err("subvol '%s' does not match subvolid %d", name, objectid)
		err = unix.EINVAL
	}
	if err != nil {
		root.Dput()
		return nil, err
	}
	return root, nil
}

// fillSuper reads the file system into a new super block.
//
//kernel:fs/btrfs/super.c btrfs_fill_super
func fillSuper(sb *vfs.SuperBlock, data string) error {
	options := defaultMountOptions()
	options.ReadOnly = sb.IsRdonly()
	if err := parseOptions(sb.V, data, &options); err != nil {
		return err
	}
	if options.ReadOnly {
		sb.SetFlags(unix.MS_RDONLY)
	}
	sb.Maxbytes = vfs.MAX_LFS_FILE
	sb.Magic = BTRFS_SUPER_MAGIC
	sb.TimeGran = 1
	sb.Op = superOps{}
	sb.XattrPrefixes = []string{XATTR_BTRFS_PREFIX}
	sb.SetupBdi("btrfs-" + sb.ID)
	sb.Bdi.RaPages = 1024 // 4 MiB, as open_ctree sets it
	fsInfo, err := OpenCtree(sb, sb.Dev, &options)
	if err != nil {
		return err
	}
	inode, err := fsInfo.topDirectory()
	if err == nil {
		sb.Root = sb.DMakeRoot(&inode.Inode)
	}
	if err != nil {
		fsInfo.err("the root directory cannot be read: %v", err)
		sb.EvictInodes()
		fsInfo.CloseCtree()
		return err
	}
	return nil
}

// getDefaultSubvolObjectid is the subvolume that a mount shows when none is
// named.
//
//kernel:fs/btrfs/super.c get_default_subvol_objectid
func (fsInfo *FsInfo) getDefaultSubvolObjectid() (uint64, error) {
	path := NewPath()
	defer path.Free()
	di, found, err := fsInfo.treeRoot.LookupDirItem(nil, path, fsInfo.superCopy.RootDirObjectid, "default", 0)
	if err != nil {
		return 0, err
	}
	if !found {
		return disk.BTRFS_FS_TREE_OBJECTID, nil
	}
	return di.Location.Objectid, nil
}

// topDirectory is the root directory of the top-level subvolume.
//
//kernel:none the end of btrfs_fill_super
func (fsInfo *FsInfo) topDirectory() (*Inode, error) {
	inode, err := fsInfo.Iget(disk.BTRFS_FIRST_FREE_OBJECTID, fsInfo.fsRoot)
	if err != nil {
		return nil, err
	}
	if !inode.IsDir() {
		inode.Iput()
		return nil, unix.EUCLEAN
	}
	if !fsInfo.sb.IsRdonly() {
		err := fsInfo.fsRoot.orphanCleanup()
		if err == nil {
			err = fsInfo.recoverRelocation()
		}
		if err != nil {
			inode.Iput()
			return nil, err
		}
	}
	return inode, nil
}

// superOps are the operations of a mounted btrfs.
//
//kernel:none btrfs_super_ops
type superOps struct{ vfs.BaseSuperOperations }

//kernel:none the fs_info of a super block
func infoOf(sb *vfs.SuperBlock) *FsInfo { return sb.FsInfo.(*FsInfo) }

//kernel:fs/btrfs/inode.c btrfs_alloc_inode
func (superOps) AllocInode(sb *vfs.SuperBlock) *vfs.Inode {
	fsInfo := infoOf(sb)
	inode := new(Inode)
	inode.Impl = inode
	inode.runtimeFlags.Init(fsInfo.runtimeFlagsClass)
	return &inode.Inode
}

//kernel:fs/btrfs/inode.c btrfs_destroy_inode
func (superOps) DestroyInode(inode *vfs.Inode) { I(inode).destroyData() }

//kernel:fs/btrfs/inode.c btrfs_drop_inode
func (superOps) DropInode(inode *vfs.Inode) bool {
	root := I(inode).root
	return root == nil || root.rootItem.Refs == 0 || inode.GenericDropInode()
}

//kernel:none forwards to evictInode
func (superOps) EvictInode(inode *vfs.Inode) { I(inode).evictInode() }

// remountReadOnly brings everything to disk; from then on nothing changes.
//
//kernel:fs/btrfs/super.c btrfs_remount_ro
func (fsInfo *FsInfo) remountReadOnly() error {
	fsInfo.PauseBalance() // ENOTCONN: none runs
	fsInfo.joinBalanceKthread()
	fsInfo.fsState.Set(BTRFS_FS_STATE_RO)
	fsInfo.drainAsyncDelalloc()
	fsInfo.WaitOrderedRoots(-1)
	// The cleaner stops at the flag; CommitSuper waits for it.
	fsInfo.RunDelayedIputs()
	err := fsInfo.CommitSuper()
	if err != nil {
		fsInfo.fsState.Clear(BTRFS_FS_STATE_RO)
	}
	return err
}

// remountReadWrite makes sure that the file system may be written.
//
//kernel:fs/btrfs/super.c btrfs_remount_rw
func (fsInfo *FsInfo) remountReadWrite() error {
	if fsInfo.deviceReadOnly() {
		return unix.EACCES
	}
	if err := fsInfo.CheckFeatures(true); err != nil {
		return err
	}
	if fsInfo.superCopy.LogRoot != 0 {
		fsInfo.warn("mount required to replay tree-log, cannot remount read-write")
		return unix.EINVAL
	}
	fsInfo.fsState.Clear(BTRFS_FS_STATE_RO)
	fsInfo.fsFlags.Set(BTRFS_FS_OPEN)
	return fsInfo.startPreRwMount()
}

// SyncFs starts the write-out, and, if wait, commits what there is.
//
//kernel:fs/btrfs/super.c btrfs_sync_fs
func (superOps) SyncFs(sb *vfs.SuperBlock, wait bool) error {
	fsInfo := infoOf(sb)
	if !wait || sb.IsRdonly() {
		return nil
	}
	fsInfo.syncFixups()
	fsInfo.drainAsyncDelalloc()
	fsInfo.WaitOrderedRoots(-1)
	trans, err := fsInfo.treeRoot.AttachTransactionBarrier()
	if err == nil {
		err = trans.Commit()
	} else if err == unix.ENOENT {
		err = nil // nothing changed since the last commit
	}
	return err
}

// calcAvailFreeSpace is how many bytes of the device chunks can still take: not
// the head of the device, nor what is less than a stripe.
//
//kernel:fs/btrfs/super.c btrfs_calc_avail_data_space
func (fsInfo *FsInfo) calcAvailFreeSpace() uint64 {
	avail := alignDown(fsInfo.freeChunkSpace(), disk.BTRFS_STRIPE_LEN)
	return avail - min(avail, disk.BTRFS_DEVICE_RANGE_RESERVED)
}

// Statfs counts what is allocated: free blocks are what no extent takes,
// available ones what data can still get.
//
//kernel:fs/btrfs/super.c btrfs_statfs
func (superOps) Statfs(dentry *vfs.Dentry, buf *vfs.Statfs) error {
	fsInfo := infoOf(dentry.Sb)
	var totalUsed, freeData, freeMeta uint64
	dataFactor := uint64(1)
	for _, si := range fsInfo.SpaceInfos() {
		si.lock.Lock()
		switch {
		case si.flags&disk.BTRFS_BLOCK_GROUP_DATA != 0:
			freeData += si.diskTotal - si.diskUsed
			if si.totalBytes > 0 {
				dataFactor = max(1, si.diskTotal/si.totalBytes)
			}
		case si.flags&disk.BTRFS_BLOCK_GROUP_METADATA != 0:
			freeMeta += si.diskTotal - si.diskUsed
		}
		totalUsed += si.diskUsed
		si.lock.Unlock()
	}
	total := fsInfo.superCopy.TotalBytes
	block := uint64(fsInfo.sectorsize)
	buf.Blocks = total / dataFactor / block
	buf.Bfree = buf.Blocks - min(buf.Blocks, totalUsed/dataFactor/block)
	fsInfo.globalBlockRsv.lock.Lock()
	reserve := fsInfo.globalBlockRsv.size
	fsInfo.globalBlockRsv.lock.Unlock()
	buf.Bfree -= min(buf.Bfree, reserve/block)
	unallocated := fsInfo.calcAvailFreeSpace()
	buf.Bavail = min((freeData+unallocated)/dataFactor/block, buf.Blocks)
	const thresh = 4 << 20
	if unallocated < thresh && freeMeta < thresh+reserve {
		buf.Bavail = 0
	}
	buf.Type = BTRFS_SUPER_MAGIC
	buf.Bsize, buf.Frsize = int64(block), int64(block)
	buf.Namelen = disk.BTRFS_NAME_LEN
	fsid, objectid := fsInfo.superCopy.Fsid, I(dentry.DInode()).root.Objectid()
	be32 := func(b []byte) uint32 {
		return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	buf.Fsid[0] = int32(be32(fsid[0:]) ^ be32(fsid[8:]) ^ uint32(objectid>>32))
	buf.Fsid[1] = int32(be32(fsid[4:]) ^ be32(fsid[12:]) ^ uint32(objectid))
	return nil
}

// RemountFs changes options and switches between read-only and read-write.
//
//kernel:fs/btrfs/super.c btrfs_reconfigure
func (superOps) RemountFs(sb *vfs.SuperBlock, flags *vfs.MountFlags, data string) error {
	fsInfo := infoOf(sb)
	options := fsInfo.mountOpt
	options.ReadOnly = false
	if err := parseOptions(sb.V, data, &options); err != nil {
		return err
	}
	fsInfo.setCompressIncompat(options.CompressType)
	if options.ReadOnly {
		*flags |= unix.MS_RDONLY
	}
	options.ReadOnly = *flags&unix.MS_RDONLY != 0
	if err := fsInfo.checkOptions(&options); err != nil {
		return err
	}
	fsInfo.fsState.Set(BTRFS_FS_STATE_REMOUNTING)
	defer fsInfo.fsState.Clear(BTRFS_FS_STATE_REMOUNTING)
	fsInfo.waitDefragInodes()
	if options.ReadOnly || !options.AutoDefrag {
		fsInfo.cleanupDefragInodes()
	}
	switch {
	case options.ReadOnly && !sb.IsRdonly():
		if err := fsInfo.remountReadOnly(); err != nil {
			return err
		}
	case !options.ReadOnly && sb.IsRdonly():
		if fsInfo.fsState.Test(BTRFS_FS_STATE_ERROR) {
			fsInfo.err("remounting read-write after an error is not allowed")
			return unix.EINVAL
		}
		if err := fsInfo.remountReadWrite(); err != nil {
			return err
		}
		if err := fsInfo.fsRoot.orphanCleanup(); err != nil {
			return err
		}
		if err := fsInfo.recoverRelocation(); err != nil {
			return err
		}
	}
	fsInfo.resizeThreadPool(options.ThreadPoolSize)
	fsInfo.mountOpt = options
	fsInfo.wakeTransactionKthread() // the commit interval may be another
	return nil
}

// resizeThreadPool lets the queues have another number of threads; fixups keep
// their one.
//
//kernel:fs/btrfs/super.c btrfs_resize_thread_pool
func (fsInfo *FsInfo) resizeThreadPool(size int) {
	old := fsInfo.mountOpt.ThreadPoolSize
	if size == old {
		return
	}
	fsInfo.info("resize thread pool %d -> %d", old, size)
	for _, w := range []*workqueue.Workers{fsInfo.workers, fsInfo.submitWorkers, fsInfo.delallocWorkers, fsInfo.endioWorkers,
		fsInfo.endioMetaWorkers, fsInfo.endioWriteWorkers} {
		w.SetMax(size)
	}
}

//kernel:fs/btrfs/super.c btrfs_put_super
func (superOps) PutSuper(sb *vfs.SuperBlock) { infoOf(sb).CloseCtree() }

// ShowOptions is what /proc/mounts shows.
//
//kernel:fs/btrfs/super.c btrfs_show_options
func (superOps) ShowOptions(root *vfs.Dentry) string {
	fsInfo := infoOf(root.Sb)
	o := &fsInfo.mountOpt
	var b strings.Builder
	show := func(on bool, format string, args ...any) {
		if on {
			b.WriteByte(',')
			fmt.Fprintf(&b, format, args...)
		}
	}
	hint := func(bit mountHints) {
		if o.Hints&bit != 0 {
			show(true, "%s", mountHintNames[bits.TrailingZeros16(uint16(bit))])
		}
	}
	hint(hintDegraded)
	show(o.NoDataSum, "nodatasum")
	show(o.NoDataCow, "nodatacow")
	show(o.NoBarrier, "nobarrier")
	show(o.MaxInline != defaultMaxInline, "max_inline=%d", o.MaxInline)
	show(o.ThreadPoolSize != defaultThreadPool, "thread_pool=%d", o.ThreadPoolSize)
	if o.CompressType != 0 {
		name := "compress"
		if o.CompressForce {
			name = "compress-force"
		}
		show(true, "%s=%s", name, compressTypeName(o.CompressType))
		if o.CompressLevel != 0 {
			fmt.Fprintf(&b, ":%d", o.CompressLevel)
		}
	}
	hint(hintNoSSD)
	if hint(hintSSDSpread); o.Hints&hintSSDSpread == 0 {
		hint(hintSSD)
	}

	hint(hintNoTreeLog)
	show(o.NoLogReplay, "rescue=nologreplay")
	show(o.FlushOnCommit, "flushoncommit")
	show(o.Discard && !o.DiscardAsync, "discard")
	show(o.Discard && o.DiscardAsync, "discard=async")
	hint(hintNoACL)
	if fsInfo.freeSpaceRoot != nil {
		show(true, "space_cache=v2")
	} else {
		show(true, "nospace_cache")
	}
	hint(hintRescanUUIDTree)
	show(o.UserSubvolRmAllowed, "user_subvol_rm_allowed")
	hint(hintEnospcDebug)
	show(o.AutoDefrag, "autodefrag")
	show(o.SkipBalance, "skip_balance")
	show(o.CommitInterval != defaultCommitSeconds*1e9, "commit=%d", o.CommitInterval/1e9)
	id := I(root.DInode()).root.Objectid()
	fmt.Fprintf(&b, ",subvolid=%d", id)
	if name, err := fsInfo.subvolName(id); err == nil {
		fmt.Fprintf(&b, ",subvol=%s", name)
	}
	return b.String()[1:]
}

var _ vfs.SuperOperations = superOps{}
var _ mm.Host = (*Inode)(nil)
