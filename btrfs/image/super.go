// SPDX-License-Identifier: GPL-2.0-or-later

package image

import (
	"errors"
	"fmt"

	"kbtrfs/btrfs/disk"
)

// SuperCopy is one copy of the super block and what is wrong with it.
//
//kernel:none our own
type SuperCopy struct {
	Mirror int
	Super  disk.Super
	Err    error // nil if the copy can be trusted
}

// errNoMagic tells a place without any super block from a damaged one.
var errNoMagic = errors.New("no btrfs magic")

// ReadSupers reads the copies that a device of this size has room for.
//
//kernel:none mirrors the loop of btrfs_read_dev_super of btrfs-progs
func readSupers(src source) (all []SuperCopy) {
	for i := range disk.BTRFS_SUPER_MIRROR_MAX {
		at := disk.SuperOffset(i)
		if at+disk.BTRFS_SUPER_INFO_SIZE > src.Size() {
			break
		}
		c := SuperCopy{Mirror: i}
		var b [disk.BTRFS_SUPER_INFO_SIZE]byte
		if c.Err = src.Read(b[:], at); c.Err == nil {
			c.Super.Decode(b[:])
			c.Err = checkSuper(&c.Super, b[:], at)
		}
		all = append(all, c)
	}
	return all
}

// bestSuper chooses the first copy if it is good, else the youngest good one:
// the others may be left over from an older file system.
//
//kernel:none mirrors btrfs_read_dev_super of btrfs-progs
func bestSuper(all []SuperCopy) (*SuperCopy, error) {
	var best *SuperCopy
	for i := range all {
		c := &all[i]
		if c.Err == nil && (best == nil || best.Mirror != 0 && c.Super.Generation > best.Super.Generation) {
			best = c
		}
	}
	if best != nil {
		return best, nil
	}
	if len(all) == 0 {
		return nil, errors.New("too small for a btrfs")
	}
	return nil, fmt.Errorf("no valid btrfs super block: %w", all[0].Err)
}

// checkSuper refuses what no later code should have to expect.
//
//kernel:fs/btrfs/disk-io.c btrfs_validate_super
func checkSuper(s *disk.Super, b []byte, at uint64) error {
	if s.Magic != disk.BTRFS_MAGIC {
		return errNoMagic
	}
	if !disk.CsumSupported(s.CsumType) {
		if name := disk.CsumName(s.CsumType); name != "" {
			return fmt.Errorf("checksum algorithm %s is not supported", name)
		}
		return fmt.Errorf("unknown checksum algorithm %d", s.CsumType)
	}
	if !disk.SuperVerify(b, s.CsumType) {
		return errors.New("super block checksum mismatch")
	}
	power := func(n uint32) bool { return n&(n-1) == 0 }
	switch {
	case s.Bytenr != at:
		return fmt.Errorf("super block at %d claims to be at %d", at, s.Bytenr)
	case s.Nodesize < disk.BTRFS_MIN_NODESIZE || s.Nodesize > disk.BTRFS_MAX_METADATA_BLOCKSIZE || !power(s.Nodesize):
		return fmt.Errorf("invalid nodesize %d", s.Nodesize)
	case s.Sectorsize < 4096 || s.Sectorsize > disk.BTRFS_MAX_METADATA_BLOCKSIZE || !power(s.Sectorsize):
		return fmt.Errorf("invalid sectorsize %d", s.Sectorsize)
	case s.RootLevel >= disk.BTRFS_MAX_LEVEL || s.ChunkRootLevel >= disk.BTRFS_MAX_LEVEL || s.LogRootLevel >= disk.BTRFS_MAX_LEVEL:
		return fmt.Errorf("tree root level too big: %d, %d, %d", s.RootLevel, s.ChunkRootLevel, s.LogRootLevel)
	case (s.Root|s.ChunkRoot|s.LogRoot)%4096 != 0:
		return fmt.Errorf("tree root unaligned: %d, %d, %d", s.Root, s.ChunkRoot, s.LogRoot)
	case s.TotalBytes == 0:
		return errors.New("invalid total_bytes 0")
	case s.NumDevices == 0:
		return errors.New("number of devices is 0")
	case s.HeaderFsid() != s.DevItem.Fsid:
		return fmt.Errorf("device belongs to %s, not to %s", s.DevItem.Fsid, s.HeaderFsid())
	case s.SysChunkArraySize > disk.BTRFS_SYSTEM_CHUNK_ARRAY_SIZE:
		return fmt.Errorf("system chunk array too big: %d", s.SysChunkArraySize)
	case s.SysChunkArraySize < uint32(disk.SizeofDiskKey+disk.SizeofChunk(1)):
		return fmt.Errorf("system chunk array too small: %d", s.SysChunkArraySize)
	}
	return nil
}
