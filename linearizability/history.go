// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kind is which system call a Call is.
type Kind uint8

// The calls that are recorded. Load and Store are accesses to mapped memory.
const (
	Read Kind = iota
	Write
	Load
	Store
	Truncate
	Zero  // fallocate with FALLOC_FL_PUNCH_HOLE or FALLOC_FL_ZERO_RANGE
	Alloc // fallocate otherwise
	Clobber
	SizeOf // stat, of a regular file's size; lseek to the end
	Fsync
	Sync
	Open
	Mkdir
	Mknod
	Unlink
	Rmdir
	Link
	Rename
	Lookup // stat, of a name
	ReadDir
	kinds
)

var kindNames = [kinds]string{"read", "write", "load", "store", "truncate", "zero", "falloc", "clobber", "size", "fsync", "sync",
	"open", "mkdir", "mknod", "unlink", "rmdir", "link", "rename", "stat", "readdir"}

func (k Kind) String() string { return kindNames[k] }

// Flag is how a call was made.
type Flag uint8

// The flags.
const (
	Append   Flag = 1 << iota // O_APPEND: Off is where the data went
	Direct                    // O_DIRECT
	KeepSize                  // FALLOC_FL_KEEP_SIZE
	Create                    // O_CREAT
	Excl                      // O_EXCL; RENAME_NOREPLACE
	Exchange                  // RENAME_EXCHANGE
	OnlyDir                   // O_DIRECTORY
	Datasync                  // fdatasync
)

// Soft says that a Mknod is a symlink.
const Soft = Append

// Forever is the End of a call that has not returned.
const Forever = uint64(math.MaxUint64)

// Call is one system call as its caller saw it: when it began and ended, in
// ticks that all clients share, what was asked and what came back.
type Call struct {
	Start, End uint64
	Ino        uint64 // the file that it is about; of Open what was opened
	Off, Len   int64  // what was asked; of Truncate, Len is the new size
	N          int64  // bytes moved; of SizeOf, the size
	Vals       []uint64
	Data       []byte
	Names      *Names // calls that take paths
	Client     int32
	Errno      uint16
	Kind       Kind
	Flags      Flag
}

// Names is what calls that take paths have beside.
type Names struct {
	Path, Path2 string
	Dir         bool     // Lookup: it is a directory; Rename: what was moved is one
	Nlink       uint32   // Lookup
	Entries     []string // ReadDir: without "." and ".."
}

// Sum is a hash of all that the history says. Histories that say the same, the
// order of calls' beginnings and ends included, have the same in one process.
func (h *History) Sum() uint64 {
	d := digest(0)
	d.num(uint64(h.Cell), uint64(h.Clients), uint64(len(h.Incomplete)))
	for i := range h.Calls {
		c := &h.Calls[i]
		d.num(c.Start, c.End, c.Ino, uint64(c.Off), uint64(c.Len), uint64(c.N),
			uint64(uint32(c.Client))|uint64(c.Errno)<<32|uint64(c.Kind)<<48|uint64(c.Flags)<<56)
		d.num(c.Vals...)
		d.bytes(c.Data)
		if n := c.Names; n != nil {
			d.str(n.Path)
			d.str(n.Path2)
			d.num(uint64(n.Nlink), uint64(len(n.Entries)))
			if n.Dir {
				d.num(1)
			}
			for _, e := range n.Entries {
				d.str(e)
			}
		}
	}
	return uint64(d)
}

// digest is a hash in the making.
type digest uint64

func (d *digest) num(list ...uint64) {
	d.one(uint64(len(list)))
	for _, x := range list {
		d.one(x)
	}
}

func (d *digest) one(x uint64) {
	h := (uint64(*d) ^ x) * 0x9e3779b97f4a7c15
	h = (h ^ h>>29) * 0xbf58476d1ce4e5b9
	*d = digest(h ^ h>>32)
}

// seed is of the hash that processors have an instruction for.
var seed = maphash.MakeSeed()

func (d *digest) str(s string) { d.one(maphash.String(seed, s)) }

func (d *digest) bytes(b []byte) { d.one(maphash.Bytes(seed, b)) }

// Err is the call's errno.
func (c *Call) Err() unix.Errno { return unix.Errno(c.Errno) }

// failed tells a call that returned an error.
func (c *Call) failed() bool { return c.Errno != 0 }

func (c *Call) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s(", c.Kind)
	switch {
	case c.Names != nil && c.Names.Path2 != "":
		fmt.Fprintf(&b, "%s, %s", c.Names.Path, c.Names.Path2)
	case c.Names != nil:
		b.WriteString(c.Names.Path)
	case c.Kind == Truncate:
		fmt.Fprintf(&b, "inode %d, %d", c.Ino, c.Len)
	case c.Kind == SizeOf || c.Kind == Fsync:
		fmt.Fprintf(&b, "inode %d", c.Ino)
	case c.Kind == Sync:
	default:
		fmt.Fprintf(&b, "inode %d, %d bytes at %d", c.Ino, c.Len, c.Off)
	}
	for i, name := range []string{"append", "direct", "keep size", "create", "exclusive", "exchange", "directory", "data"} {
		if c.Flags>>i&1 != 0 {
			b.WriteString(", " + name)
		}
	}
	b.WriteString(")")
	switch {
	case c.End == Forever:
		b.WriteString(" has not returned")
	case c.failed():
		b.WriteString(" = " + unix.ErrnoName(c.Err()))
	case c.Kind == ReadDir:
		fmt.Fprintf(&b, " = %s", strings.Join(c.Names.Entries, " "))
	case c.Kind == Lookup:
		fmt.Fprintf(&b, " = inode %d", c.Ino)
		if !c.Names.Dir {
			fmt.Fprintf(&b, ", %d links", c.Names.Nlink)
		}
	case c.Kind == Open:
		fmt.Fprintf(&b, " = inode %d", c.Ino)
	case c.Kind == Read || c.Kind == Write || c.Kind == SizeOf:
		fmt.Fprintf(&b, " = %d", c.N)
	}
	return b.String()
}

// History is what some clients did, on a file system that was empty when it
// began.
type History struct {
	Calls []Call
	// Cell is the unit of contents: each Cell bytes of a read or write stand in
	// Vals as one value, the first 8 bytes of the cell. 0: calls carry their
	// bytes in Data, and where cells begin and end is found from the calls.
	Cell int
	// Clients is the number of clients.
	Clients int
	// Incomplete says what was not recorded, if anything.
	Incomplete []string
	// Subvols are directories that somebody made as subvolumes. What happened in them
	// is not in the history.
	Subvols []string
}

// sortCalls orders the calls by their start.
func (h *History) sortCalls() {
	slices.SortFunc(h.Calls, func(a, b Call) int {
		if a.Start < b.Start {
			return -1
		}
		return 1
	})
}

// Select returns a history of some of the calls.
func (h *History) Select(keep func(i int) bool) *History {
	out := &History{Cell: h.Cell, Clients: h.Clients, Incomplete: h.Incomplete}
	for i := range h.Calls {
		if keep(i) {
			out.Calls = append(out.Calls, h.Calls[i])
		}
	}
	return out
}

// MarshalText writes a history one call a line, for people.
func (h *History) MarshalText() ([]byte, error) {
	var b []byte
	for i := range h.Calls {
		c := &h.Calls[i]
		end := "..."
		if c.End != Forever {
			end = fmt.Sprint(c.End)
		}
		b = fmt.Appendf(b, "%8d %8s  client %-3d %s\n", c.Start, end, c.Client, c)
	}
	return b, nil
}
