// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
)

// A read into mapped memory is a read of the one file and a store to the other, a
// write from it a load and a write; unless somebody writes there meanwhile.
//
// Mutations: forget the store, or the load.
func TestUserMemory(t *testing.T) {
	k := kernel.New(kernel.Options{})
	v := vfs.New(k, mm.Options{})
	dev := blockdev.NewMem(k, 128<<20)
	if err := mkfs.Make(k, dev, mkfs.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := v.RegisterFilesystem(btrfs.Type); err != nil {
		t.Fatal(err)
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: "m", Dev: dev}, 0, ""); err != nil {
		t.Fatal(err)
	}
	defer v.Shutdown()
	rec := &Recorder{}
	c := rec.Client(v.NewProcess(*vfs.RootCred))
	defer c.Exit()
	must := func(n int, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	page := func(b byte) []byte { return bytes.Repeat([]byte{b}, 4096) }
	var fds [2]int
	for i, name := range []string{"/src", "/dest"} {
		fd, err := c.Open(name, unix.O_RDWR|unix.O_CREAT, 0o644)
		must(fd, err)
		must(c.Pwrite(fd, page('a'+byte(i)), 0))
		fds[i] = fd
	}
	at, err := c.Mmap(0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fds[1], 0)
	must(0, err)
	must(c.PreadUser(fds[0], 0, mm.UserSeg{Addr: at, Len: 4096}))
	buf := page(0)
	must(c.Pread(fds[1], buf, 0)) // a
	must(c.PwriteUser(fds[0], 4096, mm.UserSeg{Addr: at, Len: 4096}))
	must(c.Pread(fds[0], buf, 4096)) // a
	h := rec.History()
	if v := Check(h, Options{}); !v.OK() {
		t.Errorf("%v", v)
	}
	for _, kind := range []Kind{Store, Write} {
		n := 0
		spoilt := h.Select(func(i int) bool {
			if h.Calls[i].Kind != kind {
				return true
			}
			n++
			return kind == Write && n != 3
		})
		if v := Check(spoilt, Options{}); len(v.Violations) == 0 {
			t.Errorf("nothing is found without the call of kind %v", kind)
		}
	}
	// Somebody else, at the same time: the same bytes are no matter, others are.
	other := rec.Client(nil)
	user := rec.users[0]
	call := Call{Start: user.start + 1, Kind: Write, Ino: user.ino, Len: 4096, N: 4096, Data: page('a')}
	other.note(call, nil)
	if h := rec.History(); len(h.Incomplete) > 0 {
		t.Errorf("equal bytes: %v", h.Incomplete)
	}
	// The page that goes away whole shows what it did, but not when it comes back.
	other.calls = nil
	other.note(Call{Start: user.start + 1, Kind: Truncate, Ino: user.ino}, nil)
	if h := rec.History(); len(h.Incomplete) > 0 {
		t.Errorf("truncated: %v", h.Incomplete)
	}
	for _, again := range []Call{{Kind: Alloc, Len: 8192}, {Kind: Truncate, Len: 100}} {
		again.Start, again.Ino = user.start+1, user.ino
		other.note(again, nil)
		if h := rec.History(); len(h.Incomplete) != 1 {
			t.Errorf("%v: %v", again.String(), h.Incomplete)
		}
		other.calls = other.calls[:len(other.calls)-1]
	}
	other.calls = nil
	call.Data = page('x')
	other.note(call, nil)
	if h := rec.History(); len(h.Incomplete) != 1 || !strings.Contains(h.Incomplete[0], "others write to") {
		t.Errorf("other bytes: %v", h.Incomplete)
	}
}
