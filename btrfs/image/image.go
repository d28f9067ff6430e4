// SPDX-License-Identifier: GPL-2.0-or-later

package image

import (
	"fmt"
	"io"

	"kbtrfs/btrfs/disk"
)

// source is what an image reads from. Read fills all of p or fails.
//
//kernel:none our own
type source interface {
	Read(p []byte, at uint64) error
	Size() uint64
}

// Image is an opened btrfs on one device.
//
//kernel:none stands for struct btrfs_fs_info of btrfs-progs
type Image struct {
	Super      disk.Super
	Supers     []SuperCopy // all copies, good and bad
	Nodesize   int
	Sectorsize int
	CsumSize   int

	src    source
	chunks []Chunk // by Logical, not overlapping
}

// readerAt reads from an io.ReaderAt.
type readerAt struct {
	r    io.ReaderAt
	size uint64
}

func (r readerAt) Size() uint64 { return r.size }

func (r readerAt) Read(p []byte, at uint64) error {
	n, err := r.r.ReadAt(p, int64(at))
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// OpenReaderAt opens an image that is not a block device of ours, such as a
// host file or bytes in memory.
//
//kernel:none our own
func OpenReaderAt(r io.ReaderAt, size uint64) (*Image, error) {
	return open(readerAt{r, size})
}

// open reads the super block and the chunk tree. Everything else is read when
// it is asked for.
//
//kernel:none stands for open_ctree of btrfs-progs
func open(src source) (*Image, error) {
	img := &Image{src: src, Supers: readSupers(src)}
	best, err := bestSuper(img.Supers)
	if err != nil {
		return nil, err
	}
	img.Super = best.Super
	img.Nodesize = int(best.Super.Nodesize)
	img.Sectorsize = int(best.Super.Sectorsize)
	img.CsumSize = disk.CsumSize(best.Super.CsumType)
	if err := img.readSysArray(); err != nil {
		return nil, err
	}
	if err := img.readChunkTree(); err != nil {
		return nil, err
	}
	return img, nil
}

// Size is the size of the device.
//
//kernel:none our own
func (img *Image) Size() uint64 { return img.src.Size() }

// ReadRaw reads bytes of the device: whole sectors, if it is a block device.
//
//kernel:none our own
func (img *Image) ReadRaw(p []byte, physical uint64) error {
	if physical > img.src.Size() || uint64(len(p)) > img.src.Size()-physical {
		return fmt.Errorf("%d bytes at %d lie beyond the device", len(p), physical)
	}
	return img.src.Read(p, physical)
}
