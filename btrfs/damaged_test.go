// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// variedImage holds a bit of everything.
func variedImage(t testing.TB) (*blockdev.Snapshot, *kernel.Kernel) {
	k := kernel.New(kernel.Options{})
	dev := mkimage(t, k, 64<<20, mkfs.Options{NodeSize: 4096, AllowTiny: true})
	m := mustBoot(t, k, dev)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for d := range 4 {
		dir := fmt.Sprintf("/dir%d", d)
		must(m.Mkdir(dir, 0o755))
		for i := range 25 {
			name := fmt.Sprintf("%s/file-with-a-longer-name-%d", dir, i)
			fd, err := m.Open(name, unix.O_CREAT|unix.O_RDWR, 0o644)
			must(err)
			for j := range i % 4 {
				_, err = m.Pwrite(fd, make([]byte, 1+i*700), int64(j)*40000)
				must(err)
			}
			must(m.Fsetxattr(fd, "user.number", fmt.Appendf(nil, "%d", i), 0))
			must(m.Close(fd))
			if i%5 == 0 {
				must(m.Link(name, name+"-link"))
				must(m.Symlink(name, name+"-symlink"))
			}
		}
		m.Sync()
	}
	m.off()
	return dev.Freeze(), k
}

// visit looks at everything below dir, as far as it can.
func (m *machine) visit(dir string, depth int, budget *int) {
	fd, err := m.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return
	}
	var names []string
	entries, _ := m.ReadDir(fd)
	for _, e := range entries {
		names = append(names, e.Name)
	}
	m.Close(fd)
	buf := make([]byte, 64<<10)
	for _, name := range names {
		if *budget--; *budget < 0 {
			return
		}
		path := dir + "/" + name
		st, err := m.Lstat(path)
		if err != nil {
			continue
		}
		m.Listxattr(path, buf)
		m.Getxattr(path, "user.number", buf)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if depth < 5 && name != "." && name != ".." {
				m.visit(path, depth+1, budget)
			}
		case unix.S_IFLNK:
			m.Readlink(path)
		case unix.S_IFREG:
			if fd, err := m.Open(path, unix.O_RDONLY, 0); err == nil {
				m.Pread(fd, buf, 0)
				m.Pread(fd, buf, 1<<40)
				m.Close(fd)
			}
		}
	}
}

// change tries some of every kind of change.
func (m *machine) change(r *rand.Rand) {
	for i := range 25 {
		file := fmt.Sprintf("/dir%d/file-with-a-longer-name-%d", r.Intn(4), r.Intn(25))
		switch r.Intn(9) {
		case 0:
			m.Unlink(file)
		case 1:
			m.Rename(file, file+"-moved")
		case 2:
			m.Mkdir(file+"-dir", 0o755)
		case 3:
			m.Truncate(file, int64(r.Intn(100000)))
		case 4:
			m.Setxattr(file, "user.other", make([]byte, r.Intn(500)), 0)
		case 5:
			m.Link(file, fmt.Sprintf("/hard%d", i))
		case 6:
			m.Sync()
		default:
			if fd, err := m.Open(file, unix.O_CREAT|unix.O_RDWR, 0o644); err == nil {
				m.Pwrite(fd, make([]byte, r.Intn(20000)), int64(r.Intn(200000)))
				if r.Intn(3) == 0 {
					m.Fsync(fd)
				}
				m.Close(fd)
			}
		}
	}
}

// Whatever stands in tree blocks with good checksums: all system calls return,
// nothing panics or hangs, the file system can be unmounted.
func TestDamagedFiles(t *testing.T) {
	base, k := variedImage(t)
	blocks := btrfs.TreeBlocks(t, k, blockdev.NewOverlay(k, base))
	var addrs []uint64
	for a := range blocks {
		addrs = append(addrs, a)
	}
	slices.Sort(addrs)
	rounds := int64(200)
	if testing.Short() {
		rounds = 40
	}
	s := sched.NewWith(sched.Options{Keep: true})
	defer s.Close()
	mounted := 0
	for seed := range rounds {
		r := rand.New(rand.NewSource(seed))
		k := kernel.New(kernel.Options{Scheduler: s, Seed: uint64(seed)})
		err := k.Run("damaged", func(*kernel.Task) {
			dev := blockdev.NewOverlay(k, base)
			for range 1 + r.Intn(2) {
				addr := addrs[r.Intn(len(addrs))]
				b := make([]byte, 4096)
				if err := blockdev.ReadAt(k, dev, b, int64(blocks[addr][0].Physical)); err != nil {
					t.Fatal(err)
				}
				btrfs.DamageBlock(r, b)
				disk.CsumTreeBlock(b)
				for _, p := range blocks[addr] {
					if err := blockdev.WriteAt(k, dev, b, int64(p.Physical)); err != nil {
						t.Fatal(err)
					}
				}
			}
			m, err := boot(t, k, dev, "")
			if err != nil {
				return
			}
			mounted++
			budget := 300
			m.visit("/", 0, &budget)
			m.change(r)
			m.Exit()
			m.V.Shutdown()
		})
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, tail(k))
		}
		if w := k.Warnings(); len(w) > 0 {
			t.Fatalf("seed %d: %q", seed, w)
		}
	}
	if mounted < int(rounds)/10 {
		t.Errorf("%d of %d images could be mounted", mounted, rounds)
	}
}
