// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"kbtrfs/kernel"
)

// A log survives the format of dm-log-writes, as far as that goes: its order is
// that of completion.
func TestDMLog(t *testing.T) {
	page := bytes.Repeat([]byte{7}, 4096)
	in := []LogEntry{
		{Op: REQ_OP_WRITE, Flags: REQ_META, Sector: 8, Size: 4096, Data: page, Submitted: 1, Completed: 4},
		{Op: REQ_OP_WRITE, Sector: 16, Size: 512, Data: page[:512], Submitted: 2, Completed: 3},
		{Op: REQ_OP_FLUSH, Submitted: 5, Completed: 6},
		{Op: REQ_OP_WRITE, Flags: REQ_FUA | REQ_PREFLUSH, Sector: 128, Size: 4096, Data: page, Submitted: 7, Completed: 8},
		{Op: REQ_OP_DISCARD, Sector: 256, Size: 1 << 20, Submitted: 9, Completed: 10},
		{Mark: "synced", Submitted: 11, Completed: 11},
		{Op: REQ_OP_WRITE, Sector: 24, Size: 4096, Data: page, Submitted: 12}, // in flight
	}
	var b bytes.Buffer
	if err := WriteDMLog(&b, in); err != nil {
		t.Fatal(err)
	}
	// What the kernel's tools look at.
	raw := b.Bytes()
	if le := binary.LittleEndian; le.Uint64(raw) != 0x6a736677736872 || le.Uint64(raw[16:]) != 6 || le.Uint64(raw[512:]) != 16 || le.Uint64(raw[520:]) != 1 {
		t.Errorf("the head is % x", raw[:32])
	}
	out, err := ParseDMLog(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := []int{1, 0, 2, 3, 4, 5}
	if len(out) != len(want) {
		t.Fatalf("%d entries", len(out))
	}
	for i, at := range want {
		w := in[at]
		w.Submitted, w.Completed = out[i].Submitted, out[i].Completed
		if !reflect.DeepEqual(out[i], w) {
			t.Errorf("entry %d is %+v, not %+v", i, out[i], w)
		}
	}
	// Piece by piece it is the same log, and a whole one after each flush.
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := NewDMLogWriter(f)
	for i, at := range want {
		if err == nil {
			err = l.Append(in[at : at+1])
		}
		if err == nil {
			err = l.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := os.ReadFile(f.Name()); !bytes.Equal(data[512:], raw[512:len(data)]) || binary.LittleEndian.Uint64(data[16:]) != uint64(i+1) {
			t.Errorf("after %d entries the log is another one", i+1)
		}
	}
	// Damage is an error, never a panic or a great allocation.
	for at := range raw {
		bad := bytes.Clone(raw)
		bad[at] ^= 0xff
		ParseDMLog(bad)
		if _, err := ParseDMLog(raw[:at]); err == nil {
			t.Errorf("%d of %d bytes are a log", at, len(raw))
		}
	}
}

// A write that ends while a flush is under way is not made durable by it: in the
// log it comes after the flush, also if somebody drains the log in between.
//
// Mutation: order by Completed alone.
func TestDMLogFlush(t *testing.T) {
	early := &LogEntry{Op: REQ_OP_WRITE, Sector: 1, Submitted: 1, Completed: 2}
	flush := &LogEntry{Op: REQ_OP_FLUSH, Submitted: 4}
	late := &LogEntry{Op: REQ_OP_WRITE, Sector: 2, Submitted: 3, Completed: 5}
	fua := &LogEntry{Op: REQ_OP_WRITE, Flags: REQ_FUA, Sector: 3, Submitted: 7, Completed: 8}
	k := kernel.New(kernel.Options{})
	l := NewLogWrites(k, NewMem(k, 1<<20))
	l.entries = []*LogEntry{early, flush, late, fua}
	var got []uint64
	note := func(entries []LogEntry) {
		for _, e := range entries {
			got = append(got, e.Sector)
		}
	}
	note(l.Drain())
	flush.Completed = 6
	want := []uint64{1, 0, 2, 3}
	note(completionOrder([]LogEntry{*early, *flush, *late, *fua}))
	note(l.Drain())
	if !slices.Equal(got, slices.Concat(want[:1], want, want[1:])) {
		t.Errorf("the log's sectors are %v", got)
	}
}
