// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/kernel/sched"
	"kbtrfs/linearizability"
	"kbtrfs/vfs"
	"kbtrfs/vfs/memfs"
)

// Where scripts find the machine's file systems and devices.
const (
	ScratchMnt = "/mnt/scratch"
	TestDir    = "/mnt/test"
	ScratchDev = "/dev/ktest-scratch"
	TestDev    = "/dev/ktest-test"
)

// FSKind is a file system that cases can run on.
type FSKind struct {
	Name string // $FSTYP
	Type *vfs.FileSystemType
	// Mkfs makes a file system with the options of its mkfs program; out is what that prints.
	Mkfs func(k *kernel.Kernel, dev blockdev.Device, args []string) (out string, err error)
	// Check looks at an unmounted device and returns what is wrong, one line each.
	Check func(k *kernel.Kernel, dev blockdev.Device) ([]string, error)
}

// MachineOptions describe a machine.
type MachineOptions struct {
	Kind *FSKind // nil: memfs
	// Deterministic runs everything under the scheduler with this Seed, on devices in memory.
	Deterministic bool
	Seed          uint64
	Scheduler     kernel.Scheduler  // instead of the one that Deterministic makes
	CacheLimit    int64             // of the page cache in bytes; 0: mm's default
	Console       io.Writer         // printk lines
	Params        map[string]string // the kernel's command line, such as btrfs.revert
	Recorder      *linearizability.Recorder
}

// Machine is a kernel with a vfs, whose root is a small file system in memory with the directories that scripts
// mount on, and block devices.
type Machine struct {
	K        *kernel.Kernel
	V        *vfs.VFS
	Kind     *FSKind
	sched    *sched.Scheduler
	root     *vfs.Process
	prefixes []string                  // paths that are the machine's
	rec      *linearizability.Recorder // of scripts' system calls; may be nil
	wrap     wrapper
	onMount  func(c mountCall) // before each mount of a device that is not hidden

	mu    sync.Mutex
	devs  []*device
	kept  map[string]bool // memory file systems that outlive their mount
	warns int             // warnings already told
}

// wrapper puts something between the machine and one of its devices, such as a write log.
type wrapper func(k *kernel.Kernel, name string, dev blockdev.Device) blockdev.Device

// device is a block device by its name in scripts.
type device struct {
	name  string
	image string // the host's file, empty for a device in memory
	dev   blockdev.Device
	rdev  uint64
	dm    *dmDevice // the switchable device, when the name is one of /dev/mapper
}

// NewMachine makes a machine without devices. Its methods, but for Run, are for use inside Run.
func NewMachine(o MachineOptions) *Machine {
	m := &Machine{Kind: o.Kind, prefixes: []string{ScratchMnt, TestDir}, kept: map[string]bool{}, rec: o.Recorder}
	ko := kernel.Options{Seed: o.Seed, Console: o.Console, Params: o.Params}
	switch {
	case o.Scheduler != nil:
		ko.Scheduler = o.Scheduler
	case o.Deterministic:
		m.sched = sched.New(o.Seed)
		ko.Scheduler = m.sched
	}
	if m.Kind == nil {
		m.Kind = &FSKind{Name: "memfs", Type: memfs.Type}
	}
	m.K = kernel.New(ko)
	m.V = vfs.New(m.K, mm.Options{LimitBytes: o.CacheLimit})
	return m
}

// Run runs fn as the machine's first task, with the root file system mounted. A BUG, a deadlock and their like come
// back as error.
func (m *Machine) Run(fn func() error) error {
	var inner error
	err := m.K.Run("ktest", func(*kernel.Task) {
		if inner = m.boot(); inner != nil {
			return
		}
		if inner = fn(); inner != nil {
			return
		}
		inner = m.halt()
	})
	if err != nil {
		return err
	}
	return inner
}

func (m *Machine) boot() error {
	for _, t := range []*vfs.FileSystemType{memfs.Type, m.Kind.Type} {
		if err := m.V.RegisterFilesystem(t); err != nil && err != unix.EBUSY {
			return err
		}
	}
	if err := m.V.MountRoot("memfs", vfs.Source{Name: "root"}, 0, ""); err != nil {
		return fmt.Errorf("mounting the root: %w", err)
	}
	m.root = m.V.NewProcess(vfs.Cred{})
	m.root.Umask(0)
	for _, dir := range []string{"/mnt", ScratchMnt, TestDir, "/keep"} {
		if err := m.root.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("mkdir %s: %w", dir, err)
		}
	}
	if m.rec != nil {
		m.rec.MountedOn(ScratchMnt)
		m.rec.MountedOn(TestDir)
	}
	return nil
}

// halt unmounts what is still mounted and shuts the vfs down.
func (m *Machine) halt() error {
	var first error
	mounts := m.root.Mounts()
	for _, mp := range slices.Backward(mounts) {
		if mp.Target == "/" {
			continue
		}
		if err := m.root.Umount(mp.Target, 0); err != nil && first == nil {
			first = fmt.Errorf("umount %s: %s", mp.Target, errText(err))
		}
	}
	m.root.Exit()
	if err := m.V.Shutdown(); err != nil && first == nil {
		first = fmt.Errorf("shutdown: %s", errText(err))
	}
	m.mu.Lock()
	devs := m.devs
	m.devs = nil
	m.mu.Unlock()
	for _, d := range devs {
		if d.dm == nil {
			if err := d.dev.Close(); err != nil && first == nil {
				first = fmt.Errorf("closing %s: %s", d.name, errText(err))
			}
		}
	}
	return first
}

// Deterministic tells whether a scheduler runs the machine.
func (m *Machine) Deterministic() bool { return m.K.Deterministic() }

// TraceHash identifies the schedule of a deterministic run.
func (m *Machine) TraceHash() uint64 {
	if m.sched == nil {
		return 0
	}
	return m.sched.Hash()
}

// AddLoop adds a device over a file of the host.
func (m *Machine) AddLoop(name, file string, o blockdev.LoopOptions) error {
	l, err := blockdev.OpenLoop(m.K, file, o)
	if err != nil {
		return err
	}
	m.addDevice(&device{name: name, image: file, dev: m.wrapped(name, l)})
	return nil
}

// AddMem adds a device in memory.
func (m *Machine) AddMem(name string, size uint64) {
	m.addDevice(&device{name: name, dev: m.wrapped(name, blockdev.NewMem(m.K, size))})
}

func (m *Machine) wrapped(name string, dev blockdev.Device) blockdev.Device {
	if m.wrap == nil {
		return dev
	}
	return m.wrap(m.K, name, dev)
}

func (m *Machine) addDevice(d *device) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.rdev = unix.Mkdev(7, uint32(len(m.devs)))
	m.devs = append(m.devs, d)
	m.V.AddBdev(d.name, d.dev)
}

// device finds a device by its name.
func (m *Machine) device(name string) *device {
	if !strings.HasPrefix(name, "/dev/") {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.devs {
		if d.name == name {
			return d
		}
	}
	return nil
}

// newWarnings returns the warnings since the last call.
func (m *Machine) newWarnings() []string {
	all := m.K.Warnings()
	fresh := all[min(m.warns, len(all)):]
	m.warns = len(all)
	return fresh
}

func (m *Machine) spawn(name string, fn func()) func(context.Context) bool {
	if m.Deterministic() {
		t := m.K.Go(name, func(*kernel.Task) { fn() })
		return func(context.Context) bool {
			t.Join()
			return true
		}
	}
	done := make(chan struct{})
	m.K.Go(name, func(*kernel.Task) {
		defer close(done)
		fn()
	})
	return waitFor(done)
}

// sleep lets virtual time pass, in pieces, so that a kill is noticed.
func (m *Machine) sleep(ctx context.Context, d time.Duration) {
	const piece = 100 * time.Millisecond
	for d > 0 && ctx.Err() == nil {
		n := min(d, piece)
		m.K.Sleep(int64(n))
		d -= n
	}
}

func (m *Machine) now() time.Time { return time.Unix(0, m.K.Now()) }
func (m *Machine) random() uint32 { return uint32(m.K.Rand()) }

// mountTable lists the machine's mounts that scripts may see.
func (m *Machine) mountTable() []mountPoint {
	var out []mountPoint
	for _, mp := range m.root.Mounts() {
		if mp.Target == "/" || strings.HasPrefix(mp.Target, "/keep/") {
			continue
		}
		out = append(out, mountPoint{mp.Source, mp.Target, mp.Type, mp.Options})
	}
	return out
}

// Mkfs makes a file system on a device.
func (m *Machine) Mkfs(name string, args []string) (string, error) {
	d := m.device(name)
	if d == nil {
		return "", unix.ENOENT
	}
	if m.rec != nil && name != TestDev {
		m.rec.Renew(ScratchMnt)
	}
	if w, ok := d.dev.(watcher); ok {
		w.Disarm()
	}
	if m.Kind.Mkfs == nil {
		return "", m.mkfsMemory(d.name)
	}
	return m.Kind.Mkfs(m.K, d.dev, args)
}

// watcher is a device that wants to know whose writes it sees.
type watcher interface {
	Arm()    // a mount's
	Disarm() // those of mkfs
}

// mkfsMemory gives a device that is only a name a new file system in memory. It is mounted out of sight, and
// mounting the device binds it.
func (m *Machine) mkfsMemory(name string) error {
	dir := "/keep/" + path.Base(name)
	if m.kept[name] {
		if err := m.root.Umount(dir, 0); err != nil {
			return err
		}
	} else if err := m.root.Mkdir(dir, 0o755); err != nil {
		return err
	}
	m.kept[name] = true
	return m.root.MountSource(vfs.Source{Name: name}, dir, m.Kind.Name, 0, "")
}

// mountCall is a call of Machine.Mount.
type mountCall struct {
	dev, dir, fstype string
	flags            vfs.MountFlags
	data             string
}

// Mount mounts a device as mount(2) does.
func (m *Machine) Mount(p *vfs.Process, dev, dir, fstype string, flags vfs.MountFlags, data string) error {
	if flags&(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_MOVE) == 0 && m.claimed(dev) {
		return unix.EBUSY
	}
	if m.onMount != nil {
		m.onMount(mountCall{dev, dir, fstype, flags, data})
	}
	if m.Kind.Mkfs == nil && flags&(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_MOVE) == 0 && m.device(dev) != nil {
		if !m.kept[dev] {
			return unix.EINVAL
		}
		return p.Mount("/keep/"+path.Base(dev), dir, "", flags|unix.MS_BIND, "")
	}
	if d := m.device(dev); d != nil && flags&(unix.MS_REMOUNT|unix.MS_BIND|unix.MS_MOVE) == 0 {
		if d.dm != nil && d.dm.below != nil {
			d = d.dm.below
		}
		if w, ok := d.dev.(watcher); ok {
			w.Arm()
		}
	}
	return p.Mount(dev, dir, fstype, flags, data)
}

// Check looks at an unmounted device: with our own check, and with btrfs check where the host has it and external
// is set. It returns what is wrong.
func (m *Machine) Check(ctx context.Context, name, dir string, external bool) []string {
	d := m.device(name)
	if d == nil || m.Kind.Check == nil {
		return nil
	}
	problems, err := m.Kind.Check(m.K, d.dev)
	if err != nil {
		problems = append(problems, err.Error())
	}
	if !external || m.Kind.Name != "btrfs" {
		return problems
	}
	image := d.image
	if image == "" {
		image = filepath.Join(dir, path.Base(name)+".check")
		if err := m.save(d, image); err != nil {
			return append(problems, err.Error())
		}
		defer os.Remove(image)
	}
	if out, err := btrfsCheck(ctx, image); err != nil {
		problems = append(problems, "btrfs check: "+err.Error()+"\n"+out)
	}
	return problems
}

// save writes a device's contents to a file of the host, zeroes as holes.
func (m *Machine) save(d *device, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	size := int64(d.dev.Size())
	sparse, _ := d.dev.(interface{ NextData(off uint64) uint64 })
	for off := int64(0); off < size; off += int64(len(buf)) {
		if sparse != nil {
			if off = int64(sparse.NextData(uint64(off))); off == size {
				break
			}
		}
		p := buf[:min(int64(len(buf)), size-off)]
		if err := blockdev.ReadAt(m.K, d.dev, p, off); err != nil {
			return err
		}
		if !isZero(p) {
			if _, err := f.WriteAt(p, off); err != nil {
				return err
			}
		}
	}
	return f.Truncate(size)
}
