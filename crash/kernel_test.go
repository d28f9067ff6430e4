// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/linearizability"
)

// What a state shows on our mount it shows on the kernel's, and btrfs check finds
// nothing: of at least 500 images. `ktest crash --seq 2 --shard 0/18 --kernel 10000`
// does the same with many.
func TestKernelAgrees(t *testing.T) {
	oracle.Need(t, oracle.Progs, oracle.Kernel)
	const workers = 3 // mounting is mostly waiting
	images := make([]int, workers)
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			base, err := AceBase() // the kernel mounts no two of one UUID
			if err != nil {
				t.Error(err)
				return
			}
			host, err := NewHost()
			if err != nil {
				t.Error(err)
				return
			}
			defer host.Close()
			n := 0
			for w := range Workloads(1) {
				if n++; n%5 >= 2 || n/5%workers != worker || t.Failed() {
					continue
				}
				log, err := Record(w.String(), base, RecordOptions{}, w.Run)
				if err != nil {
					t.Error(err)
					return
				}
				Explore(context.Background(), log, Options{Sample: func(i Image) {
					images[worker]++
					if err := host.Judge(i); err != nil {
						t.Errorf("%s: %v", i.What, err)
					}
				}})
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range images {
		sum += n
	}
	t.Logf("%d images", sum)
	if sum < 500 && !t.Failed() {
		t.Errorf("only %d images", sum)
	}
}

// What we find in broken logs the host finds as well: trees that are not there,
// data that is not there, and names that nobody promised.
func TestKernelFinds(t *testing.T) {
	oracle.Need(t, oracle.Progs, oracle.Kernel)
	base, err := AceBase()
	if err != nil {
		t.Fatal(err)
	}
	host, err := NewHost()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for _, c := range []struct{ breakage, finds string }{
		{"no flush before the super block", "btrfs check"},
		{"data is not written", "btrfs check"},
		{"no commit is written", "by the kernel: the names are those of no moment"},
	} {
		at := slices.IndexFunc(breakages, func(b breakage) bool { return b.name == c.breakage })
		found := ""
		n := 0
		for w := range Workloads(1) {
			if n++; n%23 != 0 || strings.Contains(found, c.finds) {
				continue
			}
			log, err := Record(w.String(), base, RecordOptions{NoOracle: true, Wrap: breakages[at].wrap()}, w.Run)
			if err != nil {
				continue
			}
			for _, f := range Explore(context.Background(), log, Options{}).Findings {
				if err := host.Judge(f.Image); err != nil {
					found = err.Error()
				} else {
					t.Errorf("%s: the host finds nothing in %s: %v", c.breakage, f.What, f.Err)
				}
			}
		}
		if !strings.Contains(found, c.finds) {
			t.Errorf("%s: the host says %q", c.breakage, found)
		}
	}
}

// recordingDisk is a file in memory, mounted by FUSE, that notes what the kernel's
// loop device writes to it.
type recordingDisk struct {
	fs.Inode
	rec  *linearizability.Recorder
	mu   sync.Mutex
	mem  []byte
	on   bool
	base []byte
	log  []blockdev.LogEntry
}

func (d *recordingDisk) Getattr(_ context.Context, _ fs.FileHandle, o *fuse.AttrOut) syscall.Errno {
	o.Size, o.Mode = uint64(len(d.mem)), 0o644|syscall.S_IFREG
	return 0
}

func (d *recordingDisk) Setattr(ctx context.Context, f fs.FileHandle, _ *fuse.SetAttrIn, o *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, f, o)
}

func (d *recordingDisk) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (d *recordingDisk) Read(_ context.Context, _ fs.FileHandle, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	if off < int64(len(d.mem)) {
		n = copy(p, d.mem[off:])
	}
	return fuse.ReadResultData(p[:n]), 0
}

func (d *recordingDisk) Write(_ context.Context, _ fs.FileHandle, p []byte, off int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off+int64(len(p)) > int64(len(d.mem)) {
		return 0, syscall.EFBIG
	}
	copy(d.mem[off:], p)
	if d.on {
		e := blockdev.LogEntry{Op: blockdev.REQ_OP_WRITE, Sector: uint64(off) / blockdev.SectorSize, Size: uint64(len(p)), Data: append([]byte(nil), p...)}
		e.Submitted, e.Completed = d.rec.Tick(), d.rec.Tick()
		d.log = append(d.log, e)
	}
	return uint32(len(p)), 0
}

func (d *recordingDisk) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on {
		d.log = append(d.log, blockdev.LogEntry{Op: blockdev.REQ_OP_FLUSH, Submitted: d.rec.Tick(), Completed: d.rec.Tick()})
	}
	return 0
}

func (d *recordingDisk) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

type recordingRoot struct {
	fs.Inode
	disk *recordingDisk
}

func (r *recordingRoot) OnAdd(ctx context.Context) {
	r.AddChild("disk", r.NewPersistentInode(ctx, r.disk, fs.StableAttr{Mode: syscall.S_IFREG, Ino: 2}), false)
}

// hostCalls makes calls on the kernel's mount and notes them as a Client does on
// ours.
type hostCalls struct {
	t   *testing.T
	dir string
	rec *linearizability.Recorder
	h   linearizability.History
}

func (c *hostCalls) note(call linearizability.Call, fn func() error) {
	c.t.Helper()
	call.Start = c.rec.Tick()
	if err := fn(); err != nil {
		c.t.Fatalf("%s: %v", call.String(), err)
	}
	call.End = c.rec.Tick()
	c.h.Calls = append(c.h.Calls, call)
}

func (c *hostCalls) at(name string) string { return filepath.Join(c.dir, name) }

func (c *hostCalls) ino(name string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(c.at(name), &st); err != nil {
		c.t.Fatal(err)
	}
	return st.Ino
}

func (c *hostCalls) mkdir(name string) {
	c.note(linearizability.Call{Kind: linearizability.Mkdir, Names: &linearizability.Names{Path: name}}, func() error { return os.Mkdir(c.at(name), 0o755) })
}

func (c *hostCalls) create(name string) {
	c.note(linearizability.Call{Kind: linearizability.Open, Flags: linearizability.Create, Names: &linearizability.Names{Path: name}}, func() error {
		return os.WriteFile(c.at(name), nil, 0o644)
	})
	c.h.Calls[len(c.h.Calls)-1].Ino = c.ino(name)
}

func (c *hostCalls) write(name, data string, off int64) {
	c.note(linearizability.Call{Kind: linearizability.Write, Ino: c.ino(name), Off: off, Len: int64(len(data)), N: int64(len(data)), Data: []byte(data)}, func() error {
		f, err := os.OpenFile(c.at(name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt([]byte(data), off)
		return err
	})
}

func (c *hostCalls) truncate(name string, size int64) {
	c.note(linearizability.Call{Kind: linearizability.Truncate, Ino: c.ino(name), Len: size}, func() error { return os.Truncate(c.at(name), size) })
}

func (c *hostCalls) fsync(name string) {
	call := linearizability.Call{Kind: linearizability.Fsync, Ino: c.ino(name)}
	if st, err := os.Stat(c.at(name)); err == nil && st.IsDir() {
		call.Names = &linearizability.Names{Path: name}
	}
	c.note(call, func() error {
		f, err := os.Open(c.at(name))
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

func (c *hostCalls) two(kind linearizability.Kind, a, b string, fn func(a, b string) error) {
	c.note(linearizability.Call{Kind: kind, Names: &linearizability.Names{Path: a, Path2: b}}, func() error { return fn(c.at(a), c.at(b)) })
}

func (c *hostCalls) unlink(name string) {
	c.note(linearizability.Call{Kind: linearizability.Unlink, Names: &linearizability.Names{Path: name}}, func() error { return os.Remove(c.at(name)) })
}

func (c *hostCalls) sync() {
	c.note(linearizability.Call{Kind: linearizability.Sync}, func() error {
		f, err := os.Open(c.dir)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Syncfs(int(f.Fd()))
	})
}

// The same judge on what the kernel's own btrfs writes: it finds nothing, and it
// finds the log in which the flushes are missing.
func TestKernelLog(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Kernel)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		oracle.Lack(t, "/dev/fuse")
	}
	dir := t.TempDir()
	for _, sub := range []string{"fuse", "mnt"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	rec := &linearizability.Recorder{}
	d := &recordingDisk{rec: rec, mem: make([]byte, 128<<20)}
	srv, err := fs.Mount(filepath.Join(dir, "fuse"), &recordingRoot{disk: d}, &fs.Options{MountOptions: fuse.MountOptions{MaxWrite: 1 << 20, DirectMount: true}})
	if err != nil {
		oracle.Lack(t, "FUSE: "+err.Error())
	}
	defer srv.Unmount()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("mkfs.btrfs", "-q", "-f", "-n", "4k", filepath.Join(dir, "fuse", "disk"))
	loop := run("losetup", "-f", "--show", filepath.Join(dir, "fuse", "disk"))
	defer exec.Command("losetup", "-d", loop).Run()
	mnt := filepath.Join(dir, "mnt")
	run("mount", "-t", "btrfs", "-o", "noatime,commit=1000", loop, mnt)
	mounted := true
	umount := func() {
		if mounted {
			mounted = false
			run("umount", mnt)
		}
	}
	defer umount()
	c := &hostCalls{t: t, dir: mnt, rec: rec}
	c.sync()
	d.mu.Lock()
	d.base, d.on = append([]byte(nil), d.mem...), true
	d.mu.Unlock()
	begin := rec.Tick()
	a, b := strings.Repeat("a", 10000), strings.Repeat("b", 9000)
	c.mkdir("/d")
	c.create("/d/new")
	c.write("/d/new", a, 0)
	c.fsync("/d/new")
	c.two(linearizability.Rename, "/d/new", "/d/file", os.Rename)
	c.fsync("/d")
	c.two(linearizability.Link, "/d/file", "/link", os.Link)
	c.write("/link", b, 5000)
	c.fsync("/link")
	c.create("/other")
	c.write("/other", a+b, 0)
	c.truncate("/d/file", 7000)
	c.unlink("/link")
	c.sync()
	c.write("/other", b, 40000)
	c.fsync("/other")
	d.mu.Lock()
	d.on = false
	entries := d.log
	d.mu.Unlock()
	umount()

	log := &Log{Name: "the kernel's btrfs", Base: flat(d.base), Entries: entries, History: &c.h, Begin: begin}
	// Mounting such a state, and replaying what was fsynced, is ours; crashes in it too.
	r := Explore(context.Background(), log, Options{})
	for _, f := range r.Findings {
		t.Errorf("%s: %v", f.What, f.Err)
	}
	t.Logf("%d writes and flushes, %d moments, %d states, %d mounted", r.Writes, r.Moments, r.States, r.Mounted)
	if r.States < 100 {
		t.Errorf("only %d states", r.States)
	}
	var bare []blockdev.LogEntry
	for _, e := range entries {
		if e.Op != blockdev.REQ_OP_FLUSH {
			bare = append(bare, e)
		}
	}
	log.Entries = bare
	if r := Explore(context.Background(), log, Options{NoRecovery: true}); len(r.Findings) == 0 {
		t.Error("a log without flushes is found to be good")
	}
}

// flat is a disk as bytes.
type flat []byte

func (f flat) ReadImage(p []byte, off int64) { copy(p, f[off:]) }
func (f flat) Size() uint64                  { return uint64(len(f)) }
