// SPDX-License-Identifier: GPL-2.0-or-later

package disk

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// UUID is 16 bytes in the order in which people write them.
//
//kernel:none mirrors u8 uuid[BTRFS_UUID_SIZE]
type UUID [BTRFS_UUID_SIZE]byte

// String is the 8-4-4-4-12 form in lower case.
//
//kernel:none mirrors uuid_unparse of libuuid
func (u UUID) String() string {
	return string(u.Append(nil))
}

// Append adds the text form of u to b.
//
//kernel:none mirrors uuid_unparse of libuuid
func (u UUID) Append(b []byte) []byte {
	for i, n := range [...][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, u[n[0]:n[1]])
	}
	return b
}

// IsZero tells an unset uuid.
//
//kernel:none mirrors btrfs_is_empty_uuid
func (u UUID) IsZero() bool { return u == UUID{} }

var errUUID = errors.New("not a valid UUID")

// ParseUUID reads the 8-4-4-4-12 form in either case.
//
//kernel:none mirrors uuid_parse of libuuid
func ParseUUID(s string) (u UUID, err error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, errUUID
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(u[:], []byte(digits)); err != nil {
		return UUID{}, errUUID
	}
	return u, nil
}

// reader takes little-endian fields off the front of a structure. Structures
// have no padding, so reading the fields in order needs no offsets.
//
//kernel:none mirrors the BTRFS_SETGET_FUNCS accessors
type reader struct{ b []byte }

func (r *reader) u8() uint8 {
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) u16() uint16 {
	v := binary.LittleEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) u32() uint32 {
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) u64() uint64 {
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) key() (k Key) {
	k.Decode(r.b)
	r.b = r.b[SizeofDiskKey:]
	return k
}

func (r *reader) bytes(p []byte) {
	copy(p, r.b[:len(p)])
	r.b = r.b[len(p):]
}

func (r *reader) time() (t Timespec) {
	t.Sec = r.u64()
	t.Nsec = r.u32()
	return t
}

// writer is the opposite of reader.
//
//kernel:none mirrors the BTRFS_SETGET_FUNCS accessors
type writer struct{ b []byte }

func (w *writer) u8(v uint8) {
	w.b[0] = v
	w.b = w.b[1:]
}

func (w *writer) u16(v uint16) {
	binary.LittleEndian.PutUint16(w.b, v)
	w.b = w.b[2:]
}

func (w *writer) u32(v uint32) {
	binary.LittleEndian.PutUint32(w.b, v)
	w.b = w.b[4:]
}

func (w *writer) u64(v uint64) {
	binary.LittleEndian.PutUint64(w.b, v)
	w.b = w.b[8:]
}

func (w *writer) key(k Key) {
	k.Encode(w.b)
	w.b = w.b[SizeofDiskKey:]
}

func (w *writer) bytes(p []byte) {
	copy(w.b[:len(p)], p)
	w.b = w.b[len(p):]
}

func (w *writer) time(t Timespec) {
	w.u64(t.Sec)
	w.u32(t.Nsec)
}
