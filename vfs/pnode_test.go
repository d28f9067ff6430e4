// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/vfs"
)

// mounter is what both sides of TestPropagation can do. Paths begin at the directory in which all happens.
type mounter interface {
	mkdir(path string)
	mount(source, target, fsType string, flags uint64) error
	umount(target string, flags int) error
	list() []string // "target source" of what is mounted below, sorted
}

type ourMounts struct{ p *vfs.Process }

func (o ourMounts) mkdir(path string) { _ = o.p.Mkdir("/t"+path, 0o755) }

func (o ourMounts) mount(source, target, fsType string, flags uint64) error {
	if fsType == "" && source != "" {
		source = "/t" + source
	}
	return o.p.Mount(source, "/t"+target, fsType, vfs.MountFlags(flags), "")
}

func (o ourMounts) umount(target string, flags int) error { return o.p.Umount("/t"+target, flags) }

func (o ourMounts) list() (all []string) {
	for _, m := range o.p.Mounts() {
		if rest, ok := strings.CutPrefix(m.Target, "/t/"); ok {
			all = append(all, "/"+rest+" "+m.Source)
		}
	}
	slices.Sort(all)
	return all
}

// hostMounts works in the mount namespace of the calling thread.
type hostMounts struct{ dir string }

func (h hostMounts) mkdir(path string) { _ = os.Mkdir(h.dir+path, 0o755) }

func (h hostMounts) mount(source, target, fsType string, flags uint64) error {
	if fsType == "" && source != "" {
		source = h.dir + source
	}
	if fsType != "" {
		fsType = "tmpfs"
	}
	return unix.Mount(source, h.dir+target, fsType, uintptr(flags), "")
}

func (h hostMounts) umount(target string, flags int) error { return unix.Unmount(h.dir+target, flags) }

func (h hostMounts) list() (all []string) {
	text, _ := os.ReadFile("/proc/thread-self/mountinfo")
	for line := range strings.Lines(string(text)) {
		front, back, _ := strings.Cut(line, " - ")
		if rest, ok := strings.CutPrefix(strings.Fields(front)[4], h.dir+"/"); ok {
			all = append(all, "/"+rest+" "+strings.Fields(back)[1])
		}
	}
	slices.Sort(all)
	return all
}

// TestPropagation mounts, binds, moves, unmounts and changes propagation at random, here and in a mount namespace of the
// kernel's: the results and what is mounted where must be the same after each call. It fails when
// copies below slaves become shared, when propagateMnt makes slaves of peers, and when what a umount takes away elsewhere is
// not trimmed.
func TestPropagation(t *testing.T) {
	if os.Geteuid() != 0 {
		oracle.Lack(t, "a mount namespace needs root")
	}
	runtime.LockOSThread() // for good: the thread has a namespace of its own and ends with the test
	must(t, unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	for seed := range uint64(150) {
		if !propagationSequence(t, dir, seed) {
			return
		}
	}
}

func propagationSequence(t *testing.T, dir string, seed uint64) bool {
	_, p := machine(t, "")
	must(t, p.Mkdir("/t", 0o755))
	must(t, p.Mount("base", "/t", "memfs", 0, ""))
	must(t, unix.Mount("base", dir, "tmpfs", 0, ""))
	sides := []mounter{ourMounts{p}, hostMounts{dir}}
	defer func() {
		// Moves and copies may have come to lie on the first one.
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
		for p.Umount("/t", unix.MNT_DETACH) == nil {
		}
	}()

	rnd := rand.New(rand.NewPCG(seed, 1))
	var places []string
	for _, a := range []string{"", "/a", "/b", "/c"} {
		places = append(places, a)
		for _, b := range []string{"/x", "/y"} {
			places = append(places, a+b, a+b+"/x")
		}
	}
	fill := func(s mounter, below string) {
		for _, d := range []string{"/a", "/b", "/c", "/x", "/y", "/x/x", "/y/x", "/a/x", "/b/x", "/c/x"} {
			s.mkdir(below + d)
		}
	}
	for _, s := range sides {
		fill(s, "")
	}
	// Mount points are the places where most can happen.
	mounted := []string{""}
	place := func() string {
		if rnd.IntN(3) > 0 {
			return mounted[rnd.IntN(len(mounted))]
		}
		return places[rnd.IntN(len(places))]
	}
	types := []uint64{unix.MS_SHARED, unix.MS_SHARED, unix.MS_SLAVE, unix.MS_PRIVATE, unix.MS_UNBINDABLE}
	var history []string
	for step := range 40 {
		var do func(s mounter) error
		to, from := place(), place()
		if to == "" {
			to = "/a"
		}
		rec := uint64(0)
		if rnd.IntN(3) == 0 {
			rec = unix.MS_REC
		}
		name := ""
		switch n := rnd.IntN(12); {
		case n < 3:
			source := fmt.Sprintf("fs%d", step)
			name = "mount " + source + " " + to
			do = func(s mounter) error {
				err := s.mount(source, to, "memfs", 0)
				if err == nil {
					fill(s, to)
				}
				return err
			}
		case n < 5:
			name = fmt.Sprintf("bind %s %s rec=%v", from, to, rec != 0)
			do = func(s mounter) error { return s.mount(from+"/", to, "", unix.MS_BIND|rec) }
		case n < 9:
			typ := types[rnd.IntN(len(types))]
			name = fmt.Sprintf("type %#x %s rec=%v", typ, from, rec != 0)
			do = func(s mounter) error { return s.mount("", from+"/", "", typ|rec) }
		case n < 10:
			name = "move " + from + " " + to
			do = func(s mounter) error { return s.mount(from+"/", to, "", unix.MS_MOVE) }
		case n < 11:
			name = "umount " + to
			do = func(s mounter) error { return s.umount(to, 0) }
		default:
			name = "umount -l " + to
			do = func(s mounter) error { return s.umount(to, unix.MNT_DETACH) }
		}
		ours, theirs := do(sides[0]), do(sides[1])
		history = append(history, fmt.Sprintf("%-40s %v", name, theirs))
		a, b := sides[0].list(), sides[1].list()
		if ours != theirs || !slices.Equal(a, b) {
			t.Errorf("seed %d: after\n%s\nours: %v, theirs: %v\n%v\n%v", seed, strings.Join(history, "\n"), ours, theirs, a, b)
			return false
		}
		mounted = []string{""}
		for _, line := range a {
			point, _, _ := strings.Cut(line, " ")
			mounted = append(mounted, point)
		}
		if len(a) > 40 {
			break // they grow exponentially
		}
	}
	return true
}
