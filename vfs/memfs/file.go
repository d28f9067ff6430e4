// SPDX-License-Identifier: GPL-2.0-or-later

package memfs

import (
	"bytes"

	"sort"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// block is one allocated block of a file.
type block struct {
	index uint64
	data  *[blockSize]byte // nil: preallocated, reads as zeros
}

// find returns the position of the first block at or behind index.
func (n *node) find(index uint64) int {
	if last := len(n.data) - 1; last >= 0 && n.data[last].index < index {
		return last + 1
	}
	return sort.Search(len(n.data), func(i int) bool { return n.data[i].index >= index })
}

// at returns a block, nil for a hole.
func (n *node) at(index uint64) *block {
	if i := n.find(index); i < len(n.data) && n.data[i].index == index {
		return &n.data[i]
	}
	return nil
}

// alloc makes a block exist.
func (n *node) alloc(index uint64) (*block, error) {
	i := n.find(index)
	if i < len(n.data) && n.data[i].index == index {
		return &n.data[i], nil
	}
	if err := n.fs.charge(1); err != nil {
		return nil, err
	}
	n.data = append(n.data, block{})
	copy(n.data[i+1:], n.data[i:])
	n.data[i] = block{index: index}
	return &n.data[i], nil
}

// free drops the blocks first to last.
func (n *node) free(first, last uint64) {
	i, j := n.find(first), n.find(last)
	if j < len(n.data) && n.data[j].index == last {
		j++
	}
	if i < j {
		n.fs.charge(int64(i - j))
		n.data = append(n.data[:i], n.data[j:]...)
	}
}

// zero clears bytes of one block. If dirty is set a preallocated one gets contents by that.
func (n *node) zero(from, to int64, dirty bool) {
	b := n.at(uint64(from >> blockShift))
	if from == to || b == nil {
		return
	}
	if b.data != nil {
		clear(b.data[from&(blockSize-1) : (to-1)&(blockSize-1)+1])
	} else if dirty {
		b.data = new([blockSize]byte)
	}
}

// zeroRange makes [from, to) read as zeros: whole blocks are dropped, pieces of blocks cleared; dirtyHead and dirtyTail are for the
// pieces at the two ends.
func (n *node) zeroRange(from, to int64, dirtyHead, dirtyTail bool) {
	up := (from + blockSize - 1) &^ (blockSize - 1)
	down := to &^ (blockSize - 1)
	if up > down {
		// Within one block.
		n.zero(from, to, dirtyHead)
		return
	}
	n.zero(from, up, dirtyHead)
	n.zero(down, to, dirtyTail)
	if up < down {
		n.free(uint64(up>>blockShift), uint64(down>>blockShift)-1)
	}
}

// account brings the inode's view of its size on disk up to date.
func (n *node) account(inode *vfs.Inode) { inode.SetBytes(int64(len(n.data)) * blockSize) }

// fileOps are the operations on open regular files.
type fileOps struct{ vfs.BaseFileOperations }

var zeroBlock [blockSize]byte

func (fileOps) ReadIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	inode := iocb.File.Inode
	n := nodeOf(inode)
	inode.IMutex.RLock()
	defer inode.IMutex.RUnlock()
	done := 0
	for size := inode.ISize(); iter.Count() > 0 && iocb.Pos < size; {
		off := int(iocb.Pos & (blockSize - 1))
		want := int(min(int64(blockSize-off), size-iocb.Pos))
		src := &zeroBlock
		if b := n.at(uint64(iocb.Pos >> blockShift)); b != nil && b.data != nil {
			src = b.data
		}
		m := iter.CopyTo(src[off : off+want])
		if m == 0 {
			if done == 0 {
				return 0, unix.EFAULT
			}
			break
		}
		iocb.Pos += int64(m)
		done += m
	}
	iocb.File.FileAccessed()
	return done, nil
}

func (fileOps) WriteIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	file := iocb.File
	inode := file.Inode
	n := nodeOf(inode)
	inode.InodeLock()
	done, err := n.write(iocb, iter)
	inode.InodeUnlock()
	if done > 0 {
		return iocb.GenericWriteSync(done)
	}
	return done, err
}

func (n *node) write(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	inode := iocb.File.Inode
	if count, err := iocb.GenericWriteChecks(iter); count == 0 {
		return 0, err
	}
	if err := iocb.File.FileRemovePrivs(); err != nil {
		return 0, err
	}
	if err := iocb.File.FileUpdateTime(); err != nil {
		return 0, err
	}
	done := 0
	var err error
	if iocb.Pos > inode.ISize() {
		err = n.expand(inode)
	}
	for err == nil && iter.Count() > 0 {
		if err = iter.FaultInReadable(blockSize); err != nil {
			break
		}
		var b *block
		if b, err = n.alloc(uint64(iocb.Pos >> blockShift)); err != nil {
			break
		}
		if b.data == nil {
			b.data = new([blockSize]byte)
		}
		off := int(iocb.Pos & (blockSize - 1))
		m := iter.CopyFrom(b.data[off:]) // 0 if the memory has gone again
		iter.Advance(m)
		iocb.Pos += int64(m)
		done += m
		if iocb.Pos > inode.ISize() {
			inode.ISizeWrite(iocb.Pos)
		}
	}
	n.account(inode)
	return done, err
}

func (fileOps) Llseek(file *vfs.File, offset int64, whence int) (int64, error) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return file.GenericFileLlseek(offset, whence)
	}
	inode := file.Inode
	inode.IMutex.RLock()
	defer inode.IMutex.RUnlock()
	size := inode.ISize()
	if offset >= size {
		return 0, unix.ENXIO
	}
	offset = max(offset, 0) // as btrfs does
	n := nodeOf(inode)
	index := uint64(offset >> blockShift)
	i := n.find(index)
	if whence == unix.SEEK_DATA {
		for i < len(n.data) && n.data[i].data == nil {
			i++
		}
		if i == len(n.data) || int64(n.data[i].index<<blockShift) >= size {
			return 0, unix.ENXIO
		}
		return file.VfsSetpos(max(offset, int64(n.data[i].index<<blockShift)), inode.Sb.Maxbytes)
	}
	for ; i < len(n.data) && n.data[i].index == index && n.data[i].data != nil; i++ {
		index++
	}
	return file.VfsSetpos(min(max(offset, int64(index<<blockShift)), size), inode.Sb.Maxbytes)
}

func (fileOps) Fsync(file *vfs.File, start, end int64, datasync bool) error { return nil }

func (fileOps) Fallocate(file *vfs.File, mode int, offset, length int64) error {
	keep := mode&unix.FALLOC_FL_KEEP_SIZE != 0
	op := mode &^ unix.FALLOC_FL_KEEP_SIZE
	if op != 0 && op != unix.FALLOC_FL_PUNCH_HOLE && op != unix.FALLOC_FL_ZERO_RANGE {
		return unix.EOPNOTSUPP
	}
	inode := file.Inode
	n := nodeOf(inode)
	inode.InodeLock()
	defer inode.InodeUnlock()
	if err := file.FileRemovePrivs(); err != nil {
		return err
	}
	end := offset + length
	size := inode.ISize()
	if op != unix.FALLOC_FL_PUNCH_HOLE && end > size {
		if err := n.expand(inode); err != nil {
			return err
		}
	}
	var err error
	switch op {
	case unix.FALLOC_FL_PUNCH_HOLE:
		if offset >= size {
			return nil
		}
		// btrfs clears pieces of blocks in the page cache, which makes preallocated blocks data.
		n.zeroRange(offset, end, true, end < size)
	case unix.FALLOC_FL_ZERO_RANGE:
		n.zeroRange(offset, end, false, false)
		err = n.prealloc(offset, end)
	default:
		err = n.prealloc(offset, end)
	}
	n.account(inode)
	if err != nil {
		return err
	}
	if op != unix.FALLOC_FL_PUNCH_HOLE && !keep && end > size {
		inode.ISizeWrite(end)
	}
	now := inode.CurrentTime()
	inode.SetMtime(now)
	inode.SetCtime(now)
	inode.IncIversion()
	return nil
}

func (n *node) prealloc(from, to int64) error {
	for i := from >> blockShift; i < (to+blockSize-1)>>blockShift; i++ {
		if _, err := n.alloc(uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

func (fileOps) Ioctl(file *vfs.File, cmd uint, arg any) error { return ioctl(file, cmd, arg) }

// expand is what btrfs does before a file grows: the block that the old end is in gets contents, also where it was a hole.
func (n *node) expand(inode *vfs.Inode) error {
	size := inode.ISize()
	if size&(blockSize-1) == 0 {
		return nil
	}
	b, err := n.alloc(uint64(size >> blockShift))
	if err == nil && b.data == nil {
		b.data = new([blockSize]byte)
	}
	n.account(inode)
	return err
}

// truncate changes the size.
func (n *node) truncate(inode *vfs.Inode, size int64) error {
	old := inode.ISize()
	if size < old {
		n.zeroRange(size, (size+blockSize-1)&^(blockSize-1), false, false)
		n.free(uint64((size+blockSize-1)>>blockShift), 1<<63)
		n.account(inode)
	} else if size > old {
		if err := n.expand(inode); err != nil {
			return err
		}
	}
	inode.ISizeWrite(size)
	return nil
}

// RemapFileRange clones whole blocks, holes included, as btrfs does. Nothing is shared: to dedupe is to compare.
func (fileOps) RemapFileRange(in *vfs.File, posIn int64, out *vfs.File, posOut int64, length int64, flags uint) (int64, error) {
	from, to := nodeOf(in.Inode), nodeOf(out.Inode)
	vfs.LockTwoNondirectories(in.Inode, out.Inode)
	defer vfs.UnlockTwoNondirectories(in.Inode, out.Inode)
	err := vfs.RemapFileRangePrep(in, posIn, out, posOut, &length, flags, compareRanges)
	if err != nil || length == 0 || flags&vfs.REMAP_FILE_DEDUP != 0 {
		return length, err
	}
	if posOut > out.Inode.ISize() {
		if err := to.expand(out.Inode); err != nil {
			return 0, err
		}
	}
	blocks := uint64(length+blockSize-1) >> blockShift
	first, start := uint64(posIn>>blockShift), uint64(posOut>>blockShift)
	to.free(start, start+blocks-1)
	for i := range blocks {
		src := from.at(first + i)
		if src == nil {
			continue
		}
		data := src.data
		dst, err := to.alloc(start + i)
		if err != nil {
			to.account(out.Inode)
			return 0, err
		}
		if data != nil {
			clone := *data
			dst.data = &clone
		}
	}
	if posOut+length > out.Inode.ISize() {
		out.Inode.ISizeWrite(posOut + length)
	}
	to.account(out.Inode)
	return length, nil
}

func compareRanges(src *vfs.File, srcOff int64, dest *vfs.File, dstOff, length int64) (bool, error) {
	from, to := nodeOf(src.Inode), nodeOf(dest.Inode)
	var zeros [blockSize]byte
	contents := func(n *node, index int64) *[blockSize]byte {
		if b := n.at(uint64(index)); b != nil && b.data != nil {
			return b.data
		}
		return &zeros
	}
	for done := int64(0); done < length; done += blockSize {
		n := min(blockSize, length-done)
		if !bytes.Equal(contents(from, (srcOff+done)>>blockShift)[:n], contents(to, (dstOff+done)>>blockShift)[:n]) {
			return false, nil
		}
	}
	return true, nil
}
