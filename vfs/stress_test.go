// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs"
	"kbtrfs/vfs/vfstest"
)

// TestStress has processes work on the same few names at once, with caches so small that they are always being shrunk, while somebody
// mounts and unmounts. Nothing may hang, warn or be left behind.
func TestStress(t *testing.T) {
	v, p := machine(t, "")
	v.MaxDentries, v.MaxInodes = 8, 4
	must(t, p.Mkdir("/a", 0o755))
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			child := p.Fork()
			defer child.Exit()
			for i := range rounds {
				script := vfstest.Random(rand.New(rand.NewPCG(uint64(worker), uint64(i))), 100, true)
				vfstest.Run(vfstest.Process(child), script, vfstest.Options{})
			}
		})
	}
	wg.Go(func() {
		child := p.Fork()
		defer child.Exit()
		rng := rand.New(rand.NewPCG(99, 0))
		for range rounds * 3 {
			name := "/" + []string{"a", "b", "c", "d"}[rng.IntN(4)]
			switch rng.IntN(5) {
			case 0, 1:
				child.Mount("x", name, "memfs", 0, "")
			case 2:
				child.Umount(name, 0)
			case 3:
				child.Umount(name, unix.MNT_DETACH)
			case 4:
				child.Sync()
				child.Mounts()
			}
		}
		for {
			mounts := child.Mounts()
			if len(mounts) == 1 {
				break
			}
			// By where it is now: a rename beside the mount may have moved it.
			for _, m := range mounts[1:] {
				child.Umount(m.Target, unix.MNT_DETACH)
			}
		}
	})
	finish(t, &wg, 100*time.Second)
	checkTree(t, p, "/")
	for _, bad := range v.CheckDcache() {
		t.Error(bad)
	}
}

// finish waits for goroutines, but not for ever.
func finish(t *testing.T, wg *sync.WaitGroup, limit time.Duration) {
	t.Helper()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
		panic("stress hangs")
	}
}

// checkTree looks whether directories say what their entries are, from their sizes to the link counts of files.
func checkTree(t *testing.T, p *vfs.Process, root string) {
	t.Helper()
	links := map[uint64]uint32{}
	nlink := map[uint64]uint32{}
	var walk func(dir string)
	walk = func(dir string) {
		fd := open(t, p, dir, unix.O_RDONLY|unix.O_DIRECTORY)
		ents, err := p.ReadDir(fd)
		must(t, err)
		st, err := p.Fstat(fd)
		must(t, err)
		p.Close(fd)
		size := int64(0)
		for _, e := range ents[2:] {
			size += int64(2 * len(e.Name))
			name := strings.TrimSuffix(dir, "/") + "/" + e.Name
			st, err := p.Lstat(name)
			if err != nil {
				t.Fatalf("%s is listed, but: %v", name, err)
			}
			if st.Ino != e.Ino || vfs.ModeToDtype(st.Mode) != e.Type {
				t.Errorf("%s: inode %d type %d, listed as %d %d", name, st.Ino, vfs.ModeToDtype(st.Mode), e.Ino, e.Type)
			}
			links[st.Ino]++
			nlink[st.Ino] = st.Nlink
			if e.Type == vfs.DT_DIR {
				walk(name)
			}
		}
		if st.Size != size {
			t.Errorf("%s: size %d, names %d", dir, st.Size, size)
		}
	}
	walk(root)
	for ino, n := range links {
		if nlink[ino] != n {
			t.Errorf("inode %d has %d links but %d names", ino, nlink[ino], n)
		}
	}
}

// TestRenameRace: while a name is replaced again and again, it is always there. The mutation that this is for: a walk that takes a
// dentry that is being killed for a negative one.
func TestRenameRace(t *testing.T) {
	_, p := machine(t, "")
	for _, name := range []string{"/f", "/g"} {
		p.Close(open(t, p, name, unix.O_CREAT|unix.O_RDWR))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := p.Stat("/f"); err != nil {
					t.Errorf("the name vanished: %v", err)
					return
				}
			}
		})
	}
	for end := time.Now().Add(700 * time.Millisecond); time.Now().Before(end); {
		must(t, p.Rename("/g", "/f"))
		must(t, p.Link("/f", "/g2"))
		must(t, p.Rename("/g2", "/g3"))
		p.Close(open(t, p, "/g", unix.O_CREAT|unix.O_RDWR))
		must(t, p.Unlink("/g3"))
	}
	close(stop)
	finish(t, &wg, time.Minute)
}

// TestFdRace: descriptors are closed and opened while others read through them. A read gets the file or EBADF, never a released file.
func TestFdRace(t *testing.T) {
	_, p := machine(t, "")
	for i := range 4 {
		fd := open(t, p, fmt.Sprintf("/f%d", i), unix.O_CREAT|unix.O_RDWR)
		_, err := p.Write(fd, []byte(strings.Repeat(string(rune('0'+i)), 100)))
		must(t, err)
		must(t, p.Close(fd))
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(worker), 7))
			buf := make([]byte, 100)
			for range 5000 {
				switch rng.IntN(6) {
				case 0:
					p.Open(fmt.Sprintf("/f%d", rng.IntN(4)), unix.O_RDONLY, 0)
				case 1:
					p.Close(rng.IntN(8))
				case 2:
					p.Dup2(rng.IntN(8), rng.IntN(200))
				default:
					n, err := p.Pread(rng.IntN(8), buf, 0)
					if err != nil && err != unix.EBADF || err == nil && (n != 100 || strings.Trim(string(buf), string(buf[:1])) != "") {
						t.Errorf("%d %v %q", n, err, buf)
					}
				}
			}
		})
	}
	finish(t, &wg, time.Minute)
}

// TestHotPathsDoNotAllocate: cached reads, writes, stats. A closure or an escaping structure in the path walk makes it fail.
func TestHotPathsDoNotAllocate(t *testing.T) {
	_, p := machine(t, "")
	must(t, p.Mkdir("/d", 0o755))
	fd := open(t, p, "/d/f", unix.O_CREAT|unix.O_RDWR)
	buf := make([]byte, 4096)
	for name, fn := range map[string]func(){
		"pwrite": func() { p.Pwrite(fd, buf, 0) },
		"pread":  func() { p.Pread(fd, buf, 0) },
		"stat":   func() { p.Stat("/d/f") },
		"fstat":  func() { p.Fstat(fd) },
		"lseek":  func() { p.Lseek(fd, 0, unix.SEEK_SET) },
		"access": func() { p.Access("/d/../d/f", unix.R_OK) },
	} {
		fn()
		if n := testing.AllocsPerRun(1000, fn); n >= 0.5 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestUnlinkRace: a name comes and goes while others open it. Who gets it gets a file. The mutation that this is for: making a dentry
// negative although somebody just took a reference.
func TestUnlinkRace(t *testing.T) {
	_, p := machine(t, "")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				fd, err := p.Open("/f", unix.O_RDONLY, 0)
				if err == nil {
					var st vfs.Stat
					if st, err = p.Fstat(fd); err != nil || st.Ino < 257 {
						t.Errorf("%+v %v", st, err)
					}
					p.Close(fd)
				} else if err != unix.ENOENT {
					t.Error(err)
				}
			}
		})
	}
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); {
		p.Close(open(t, p, "/f", unix.O_CREAT|unix.O_RDWR))
		must(t, p.Unlink("/f"))
	}
	close(stop)
	finish(t, &wg, time.Minute)
}
