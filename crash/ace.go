// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"bytes"
	"fmt"
	"iter"
	"path"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/linearizability"
)

// All small workloads, in the manner of ACE (Automatic Crash Explorer, OSDI 2018):
// sequences of one or two calls that change something, each with every choice of
// arguments from four directories and two files, and after the last of them every
// call that makes something durable. What a call needs, such as a file to remove,
// is made and synced before the sequence begins.

// aceDirs are the directories, aceFiles the names of files in two of them.
var (
	aceDirs  = []string{"/", "/A", "/B", "/A/C"}
	aceFiles = []string{"/A/foo", "/A/bar", "/B/foo", "/B/bar"}
)

// aceOp is a call that changes something.
type aceOp struct {
	kind  string
	a, b  string
	off   int64
	n     int64
	flags int
}

func (o aceOp) String() string {
	s := o.kind + " " + o.a
	if o.b != "" {
		s += " " + o.b
	}
	if o.n != 0 || o.off != 0 {
		s += fmt.Sprintf(" %d+%d", o.off, o.n)
	}
	if o.flags != 0 {
		s += fmt.Sprintf(" %#x", o.flags)
	}
	return s
}

// aceSize is what files hold that exist at first.
const aceSize = 12 << 10

// aceOps lists all calls with all arguments.
func aceOps() (ops []aceOp) {
	add := func(o aceOp) { ops = append(ops, o) }
	for i, f := range aceFiles {
		add(aceOp{kind: "creat", a: f})
		add(aceOp{kind: "unlink", a: f})
		for _, w := range [][2]int64{{aceSize, 8192}, {0, 8192}, {aceSize - 3000, 6000}, {aceSize + 16384, 4096}} {
			add(aceOp{kind: "write", a: f, off: w[0], n: w[1]})
		}
		for _, w := range [][2]int64{{0, 4096}, {aceSize, 8192}} {
			add(aceOp{kind: "dwrite", a: f, off: w[0], n: w[1]})
		}
		add(aceOp{kind: "mwrite", a: f, off: 4096, n: 4096})
		for _, size := range []int64{0, 5000, 3 * aceSize} {
			add(aceOp{kind: "truncate", a: f, n: size})
		}
		for _, mode := range []int{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE,
			unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE} {
			add(aceOp{kind: "falloc", a: f, off: 4096, n: aceSize, flags: mode})
		}
		add(aceOp{kind: "setxattr", a: f})
		add(aceOp{kind: "removexattr", a: f})
		for j, g := range aceFiles {
			if i != j {
				add(aceOp{kind: "link", a: f, b: g})
				add(aceOp{kind: "rename", a: f, b: g})
				if i < j {
					add(aceOp{kind: "rename", a: f, b: g, flags: unix.RENAME_EXCHANGE})
				}
			}
		}
	}
	for _, d := range aceDirs {
		add(aceOp{kind: "mkdir", a: path.Join(d, "D")})
		add(aceOp{kind: "symlink", a: path.Join(d, "sym")})
		add(aceOp{kind: "rmdir", a: path.Join(d, "E")})
		add(aceOp{kind: "tmpfile", a: d})
	}
	add(aceOp{kind: "rename", a: "/A/C", b: "/B/C"})
	add(aceOp{kind: "rename", a: "/A", b: "/N"})
	return ops
}

// aceSync is a call that makes something durable; of "" there is none.
var aceSyncs = []string{"fsync", "fdatasync", "fsync of the directory", "sync"}

// Workload is a sequence of calls.
type Workload struct {
	ops  []aceOp
	sync string
}

func (w Workload) String() string {
	s := ""
	for _, o := range w.ops {
		s += o.String() + "; "
	}
	return s + w.sync
}

// Workloads yields all workloads with n calls.
func Workloads(n int) iter.Seq[Workload] {
	ops := aceOps()
	return func(yield func(Workload) bool) {
		var seq func(prefix []aceOp) bool
		seq = func(prefix []aceOp) bool {
			if len(prefix) < n {
				for _, o := range ops {
					if !seq(append(prefix[:len(prefix):len(prefix)], o)) {
						return false
					}
				}
				return true
			}
			for _, s := range aceSyncs {
				last := prefix[len(prefix)-1]
				if (s == "fdatasync") && (last.kind == "mkdir" || last.kind == "rmdir" || last.kind == "symlink" || last.kind == "unlink" || last.kind == "tmpfile") {
					continue // there is no file
				}
				if !yield(Workload{prefix, s}) {
					return false
				}
			}
			return true
		}
		seq(nil)
	}
}

// AceBase is what the workloads begin with: the directories, on a small device.
func AceBase() (*Base, error) {
	return NewBase(32<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true, MetaProfile: "single"}, func(c *linearizability.Client) error {
		for _, d := range aceDirs[1:] {
			if err := c.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		return nil
	})
}

// Run does the workload: what it needs, a sync, and the calls.
func (w Workload) Run(c *linearizability.Client) error {
	r := aceRun{Client: c, exists: map[string]bool{}}
	for _, o := range w.ops {
		if err := r.prepare(o); err != nil {
			return fmt.Errorf("preparing %v: %w", o, err)
		}
	}
	if err := r.syncAll(); err != nil {
		return err
	}
	for i, o := range w.ops {
		// A call of the first may have taken away what a later one needs: then that
		// one fails, as it should.
		if err := r.do(o); err != nil && i == 0 {
			return fmt.Errorf("%v: %w", o, err)
		}
	}
	return r.persist(w.ops[len(w.ops)-1], w.sync)
}

// aceRun is a workload under way.
type aceRun struct {
	*linearizability.Client
	exists map[string]bool // made by prepare
	fill   byte
}

func (r *aceRun) prepare(o aceOp) error {
	var need []string
	switch o.kind {
	case "creat", "mkdir", "symlink", "tmpfile":
	case "rmdir":
		if !r.exists[o.a] {
			r.exists[o.a] = true
			return r.Mkdir(o.a, 0o755)
		}
	case "rename":
		if o.a == "/A" || o.a == "/A/C" {
			return nil
		}
		need = append(need, o.a)
		if o.flags != 0 {
			need = append(need, o.b)
		}
	default:
		need = append(need, o.a)
	}
	for _, f := range need {
		if r.exists[f] {
			continue
		}
		r.exists[f] = true
		fd, err := r.Open(f, unix.O_RDWR|unix.O_CREAT, 0o644)
		if err == nil {
			_, err = r.Pwrite(fd, r.data(aceSize), 0)
			r.Close(fd)
		}
		if err == nil && o.kind == "removexattr" {
			err = r.Lsetxattr(f, "user.ace", []byte("value"), 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *aceRun) data(n int64) []byte {
	r.fill++
	return bytes.Repeat([]byte{'a' + r.fill%26}, int(n))
}

func (r *aceRun) syncAll() error {
	fd, err := r.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer r.Close(fd)
	return r.Syncfs(fd)
}

func (r *aceRun) do(o aceOp) error {
	onFile := func(flags int, fn func(fd int) error) error {
		fd, err := r.Open(o.a, flags, 0o644)
		if err != nil {
			return err
		}
		defer r.Close(fd)
		return fn(fd)
	}
	switch o.kind {
	case "creat":
		return onFile(unix.O_RDWR|unix.O_CREAT, func(int) error { return nil })
	case "unlink":
		return r.Unlink(o.a)
	case "mkdir":
		return r.Mkdir(o.a, 0o755)
	case "rmdir":
		return r.Rmdir(o.a)
	case "symlink":
		return r.Symlink("target", o.a)
	case "link":
		if err := r.Link(o.a, o.b); err != unix.EEXIST {
			return err
		}
		return nil
	case "rename":
		return r.Renameat2(unix.AT_FDCWD, o.a, unix.AT_FDCWD, o.b, uint(o.flags))
	case "write":
		return onFile(unix.O_RDWR, func(fd int) error { _, err := r.Pwrite(fd, r.data(o.n), o.off); return err })
	case "dwrite":
		return onFile(unix.O_RDWR|unix.O_DIRECT, func(fd int) error { _, err := r.Pwrite(fd, r.data(o.n), o.off); return err })
	case "mwrite":
		return onFile(unix.O_RDWR, func(fd int) error {
			at, err := r.Mmap(0, uint64(o.off+o.n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd, 0)
			if err != nil {
				return err
			}
			if err = r.Store(at+uint64(o.off), r.data(o.n)); err == nil {
				err = r.Munmap(at, uint64(o.off+o.n))
			}
			return err
		})
	case "truncate":
		return onFile(unix.O_RDWR, func(fd int) error { return r.Ftruncate(fd, o.n) })
	case "falloc":
		return onFile(unix.O_RDWR, func(fd int) error { return r.Fallocate(fd, o.flags, o.off, o.n) })
	case "setxattr":
		return r.Lsetxattr(o.a, "user.ace", []byte("new value"), 0)
	case "removexattr":
		return r.Lremovexattr(o.a, "user.ace")
	case "tmpfile":
		// An orphan: it lives while it is open, and no mount shows it.
		fd, err := r.Process.OpenAt(unix.AT_FDCWD, o.a, unix.O_RDWR|unix.O_TMPFILE, 0o600)
		if err == nil {
			_, err = r.Process.Pwrite(fd, r.data(8192), 0)
		}
		return err
	}
	return unix.EINVAL
}

// persist makes durable what the last call was about.
func (r *aceRun) persist(o aceOp, how string) error {
	target := o.a
	if o.b != "" {
		target = o.b
	}
	dir := path.Dir(target)
	if o.kind == "tmpfile" || how == "sync" {
		return r.syncAll()
	}
	flags := unix.O_RDONLY
	if how == "fsync of the directory" || o.kind == "mkdir" || o.kind == "rmdir" || o.kind == "unlink" || o.kind == "symlink" {
		target, flags = dir, unix.O_RDONLY|unix.O_DIRECTORY
	}
	fd, err := r.Open(target, flags, 0)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return r.syncAll() // an earlier call took it away
	}
	if err != nil {
		return err
	}
	defer r.Close(fd)
	if how == "fdatasync" {
		return r.Fdatasync(fd)
	}
	return r.Fsync(fd)
}
