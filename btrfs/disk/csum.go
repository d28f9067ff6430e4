// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import (
	"bytes"
	"crypto/sha256"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Crc32cRaw is the kernel's crc32c: the seed goes in and the result comes out
// as they are, where most libraries invert both.
//
//kernel:none mirrors crc32c of lib/libcrc32c.c
func Crc32cRaw(seed uint32, p []byte) uint32 {
	return ^crc32.Update(^seed, castagnoli, p)
}

// Crc32c is the checksum of blocks and sectors.
//
//kernel:none mirrors crc32c of lib/libcrc32c.c, inverted as on disk
func Crc32c(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// NameHash is the offset of the key of a DIR_ITEM or XATTR_ITEM.
//
//kernel:none mirrors btrfs_name_hash
func NameHash(name []byte) uint64 { return uint64(Crc32cRaw(^uint32(1), name)) }

// ExtrefHash is the offset of the key of an INODE_EXTREF.
//
//kernel:none mirrors btrfs_extref_hash
func ExtrefHash(parent uint64, name []byte) uint64 {
	return uint64(Crc32cRaw(uint32(parent), name))
}

// HashExtentDataRef is the offset of the key of an EXTENT_DATA_REF. Items with
// equal hashes are told apart by adding one.
//
//kernel:fs/btrfs/extent-tree.c hash_extent_data_ref
func HashExtentDataRef(root, owner, offset uint64) uint64 {
	// Byte by byte over a table: handing the standard library a local array
	// would move it to the heap.
	high := crc32cWord(^uint32(0), root)
	low := crc32cWord(crc32cWord(^uint32(0), owner), offset)
	return uint64(high)<<31 ^ uint64(low)
}

// crc32cWord adds the 8 little-endian bytes of v to a raw crc.
//
//kernel:none helper
func crc32cWord(crc uint32, v uint64) uint32 {
	for range 8 {
		crc = castagnoli[byte(crc)^byte(v)] ^ crc>>8
		v >>= 8
	}
	return crc
}

// csumTypes are the checksum types by number.
var csumTypes = [...]struct {
	name string
	size int
}{
	BTRFS_CSUM_TYPE_CRC32:  {"crc32c", 4},
	BTRFS_CSUM_TYPE_XXHASH: {"xxhash64", 8},
	BTRFS_CSUM_TYPE_SHA256: {"sha256", 32},
	BTRFS_CSUM_TYPE_BLAKE2: {"blake2", 32},
}

// CsumName is a checksum type's name, "" of an unknown one.
//
//kernel:none mirrors btrfs_super_csum_name
func CsumName(typ uint16) string {
	if int(typ) < len(csumTypes) {
		return csumTypes[typ].name
	}
	return ""
}

// CsumSize is the length of a checksum of this type, 0 of an unknown one.
//
//kernel:none mirrors btrfs_super_csum_size
func CsumSize(typ uint16) int {
	if int(typ) < len(csumTypes) {
		return csumTypes[typ].size
	}
	return 0
}

// CsumSupported tells whether [Csum] can compute this type.
//
//kernel:none mirrors btrfs_supported_super_csum
func CsumSupported(typ uint16) bool {
	return typ == BTRFS_CSUM_TYPE_CRC32 || typ == BTRFS_CSUM_TYPE_SHA256
}

// Csum is the checksum of data as it stands on disk. The types that are not
// supported give zeros.
//
//kernel:none mirrors crypto_shash_digest with fs_info->csum_shash
func Csum(typ uint16, data []byte) (sum [BTRFS_CSUM_SIZE]byte) {
	switch typ {
	case BTRFS_CSUM_TYPE_CRC32:
		le.PutUint32(sum[:], Crc32c(data))
	case BTRFS_CSUM_TYPE_SHA256:
		sum = sha256.Sum256(data)
	}
	return sum
}

// CsumTreeBlock computes the checksum of a tree block and stores it. All 32
// bytes are written, so the unused ones are zero.
//
//kernel:fs/btrfs/disk-io.c csum_tree_block
func CsumTreeBlock(b []byte) { CsumTreeBlockType(BTRFS_CSUM_TYPE_CRC32, b) }

// CsumTreeBlockType is [CsumTreeBlock] for any supported type.
//
//kernel:fs/btrfs/disk-io.c csum_tree_block
func CsumTreeBlockType(typ uint16, b []byte) {
	sum := Csum(typ, b[BTRFS_CSUM_SIZE:])
	copy(b, sum[:])
}

// VerifyTreeBlockType compares a tree block with its checksum; blocks of types
// that are not supported never match.
//
//kernel:none mirrors the csum comparison of btrfs_validate_extent_buffer
func VerifyTreeBlockType(typ uint16, b []byte) bool {
	if !CsumSupported(typ) {
		return false
	}
	sum := Csum(typ, b[BTRFS_CSUM_SIZE:])
	n := CsumSize(typ)
	return bytes.Equal(b[:n], sum[:n])
}

// SuperSeal computes the checksum of an encoded super block and stores it.
//
//kernel:none mirrors the csum step of write_dev_supers
func SuperSeal(b []byte, typ uint16) { CsumTreeBlockType(typ, b[:BTRFS_SUPER_INFO_SIZE]) }

// SuperVerify compares an encoded super block with its checksum.
//
//kernel:fs/btrfs/disk-io.c btrfs_check_super_csum
func SuperVerify(b []byte, typ uint16) bool {
	return VerifyTreeBlockType(typ, b[:BTRFS_SUPER_INFO_SIZE])
}
