// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// copyIn copies a tree of the host below dst.
func (m *machine) copyIn(src, dst string) (files int, bytes int64) {
	m.t.Helper()
	buf := make([]byte, 256<<10)
	err := filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(src, path)
		to := filepath.Join(dst, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return m.Mkdir(to, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return m.Symlink(target, to)
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		fd, err := m.Open(to, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint32(info.Mode().Perm()))
		if err != nil {
			return err
		}
		defer m.Close(fd)
		files++
		for {
			n, _ := in.Read(buf)
			if n == 0 {
				return nil
			}
			bytes += int64(n)
			if _, err := m.Write(fd, buf[:n]); err != nil {
				return err
			}
		}
	})
	if err != nil {
		m.t.Fatalf("copy: %v\n%s", err, tail(m.k))
	}
	return files, bytes
}

// TestSourceTree copies the sources of the Go distribution in; btrfs check and
// the kernel agree with every byte; the kernel deletes, renames and adds; ours
// sees the same; then everything is deleted and the space comes back.
func TestSourceTree(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs)
	src := filepath.Join(runtime.GOROOT(), "src")
	k := kernel.New(kernel.Options{})
	dev, path := mkloop(t, k, 2<<30, mkfs.Options{})

	m := mustBoot(t, k, dev)
	fresh, err := m.Statfs("/")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	files, bytes := m.copyIn(src, "/src")
	m.Sync()
	took := time.Since(start)
	if files < 10000 {
		t.Errorf("only %d files", files)
	}
	m.off()
	theirs := kernelCopy(t, k, src)
	ratio := took.Seconds() / theirs.Seconds()
	t.Logf("%d files, %d MiB copied and synced in %v, by the kernel in %v: ratio %.2f", files, bytes>>20, took.Round(time.Millisecond), theirs.Round(time.Millisecond), ratio)
	if ratio > 3 {
		t.Errorf("%.2f times as long as the kernel", ratio)
	}
	fsck(t, k, dev)
	oracle.Check(t, path, "--check-data-csum")

	dir, umount := oracle.Mount(t, path, "")
	oracle.Run(t, "diff", "-r", "--no-dereference", src, filepath.Join(dir, "src"))
	script := `set -e; cd "$1/src"
find . -type f | sort | awk 'NR%3==0' | xargs rm
find . -type f | sort | awk 'NR%3==0' | while read f; do mv "$f" "$f.renamed"; done
cp -r net "$1/added"; ln -s src "$1/link"`
	if out, err := exec.Command("bash", "-c", script, "x", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want, err := oracle.Tree(oracle.Host{Dir: dir}, "/")
	if err != nil {
		t.Fatal(err)
	}
	umount()

	m = mustBoot(t, k, dev)
	got, err := oracle.Tree(oracle.Ours{Process: m.Process}, "/")
	if err != nil {
		t.Fatal(err)
	}
	if d := oracle.Diff(want, got); d != "" {
		t.Errorf("after the kernel's changes (- kernel, + ours):\n%s", d)
	}
	m.removeAll("/")
	m.Sync()
	m.off()
	fsck(t, k, dev)
	oracle.Check(t, path)
	m = mustBoot(t, k, dev)
	now, err := m.Statfs("/")
	if err != nil {
		t.Fatal(err)
	}
	m.off()
	// What stays taken is metadata blocks of trees that have not shrunk to one
	// leaf: at most this many blocks, in two copies.
	const constant = 2 << 20 / 4096
	t.Logf("free blocks: %d when new, %d now", fresh.Bfree, now.Bfree)
	if now.Bfree+constant < fresh.Bfree {
		t.Errorf("%d blocks free when new, %d now", fresh.Bfree, now.Bfree)
	}
}

// kernelCopy is how long cp -r and sync take on the kernel's btrfs over a loop
// device, the image in a file of the same host file system as ours.
func kernelCopy(t testing.TB, k *kernel.Kernel, src string) time.Duration {
	_, path := mkloop(t, k, 2<<30, mkfs.Options{})
	dir, umount := oracle.Mount(t, path, "")
	defer os.Remove(path)
	defer umount()
	start := time.Now()
	oracle.Run(t, "cp", "-r", src, dir)
	oracle.Run(t, "sync", "-f", dir)
	return time.Since(start)
}

// removeAll empties a directory.
func (m *machine) removeAll(dir string) {
	m.t.Helper()
	names, err := oracle.Ours{Process: m.Process}.ReadDirNames(dir)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range names {
		p := filepath.Join(dir, name)
		if err := m.Unlink(p); err == unix.EISDIR {
			m.removeAll(p)
			if err := m.Rmdir(p); err != nil {
				m.t.Fatalf("rmdir %s: %v", p, err)
			}
		} else if err != nil {
			m.t.Fatalf("unlink %s: %v", p, err)
		}
	}
}
