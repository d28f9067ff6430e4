// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"encoding/binary"
	"strings"
	"sync"
	"testing"

	"kbtrfs/btrfs/disk"
)

// patchLen is the length of one edit of a fuzzed image.
const patchLen = 12

// patched applies a script of edits to the victim that its first byte chooses.
// The first byte of an edit says how wide the value is (1), whether it goes into
// the super block (4), whether the checksum stays as it was (8), and whether the
// place is in the data of an item of a leaf (16); the number of a tree block, the
// place, and a value follow.
func patched(all []*victim, script []byte) *mutant {
	if len(script) == 0 {
		script = []byte{0}
	}
	m := &mutant{victim: all[int(script[0])%len(all)], changed: map[uint64][]byte{}}
	m.size = m.victim.size
	for script = script[1:]; len(script) >= patchLen; script = script[patchLen:] {
		how := script[0]
		off := int(binary.LittleEndian.Uint16(script[3:]))
		value := script[5:patchLen]
		width := min(1<<(how&3), len(value))
		if how&4 != 0 {
			b := m.edit(disk.SuperOffset(0))
			copy(b[off%disk.BTRFS_SUPER_INFO_SIZE:], value[:width])
			if how&8 == 0 {
				disk.SuperSeal(b, disk.BTRFS_CSUM_TYPE_CRC32)
			}
			continue
		}
		n := m.nodes[int(binary.LittleEndian.Uint16(script[1:]))%len(m.nodes)]
		b := m.nodeBytes(n)
		at := off % len(b)
		if items := disk.HeaderNritems(n.block); n.level == 0 && how&16 != 0 && items > 0 {
			i := off % items
			if size := disk.ItemSize(n.block, i); size > 0 {
				at = disk.ItemPtrOffset(n.block, i) + off/items%size
			}
		}
		copy(b[at:], value[:width])
		if how&8 == 0 {
			m.seal(n)
		}
	}
	return m
}

// FuzzMount mounts, reads, writes and unmounts images after arbitrary edits of
// their metadata: every outcome but a panic, a warning, a hang or an endless
// loop is fine, and errors have a line in the log.
//
// Mutation: a tree checker that accepts an item which reaches over its leaf.
func FuzzMount(f *testing.F) {
	all := victims(f)
	f.Add([]byte{0})
	f.Add([]byte{1})
	for v := range byte(2) {
		for how := range byte(8) {
			for _, node := range []byte{0, 1, 5, 17, 40} {
				f.Add([]byte{v, how, node, 0, 97 + 3*how, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1})
				f.Add([]byte{v, how&3 | 16, node, 0, 21 * how, node, 1, 0x80, 0xff, 0xff, 0xff, 0xff, 0x7f})
			}
		}
	}
	var lock sync.Mutex // the corruptor is one machine at a time
	c := newCorruptor()
	f.Cleanup(c.sched.Close)
	f.Cleanup(watchdog([]*corruptor{c}))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1+32*patchLen {
			return
		}
		m := patched(all, script)
		lock.Lock()
		defer lock.Unlock()
		seed := uint64(len(script))
		for _, b := range script {
			seed = seed*31 + uint64(b)
		}
		if o := c.use(m, seed); len(o.wrong) > 0 {
			t.Errorf("%x:\n%s\nlog:\n%s", script, strings.Join(o.wrong, "\n"), strings.Join(o.dmesg[max(0, len(o.dmesg)-12):], "\n"))
		}
	})
}
