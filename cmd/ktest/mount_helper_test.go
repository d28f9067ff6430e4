// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helper returns what runs ktest under a name that mount(8) or umount(8) knows it by.
func helper(t *testing.T, name string) func(args ...string) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) (string, error) {
		cmd := exec.Command(link, args...)
		cmd.Env = append(os.Environ(), "KTEST_BE_KTEST=1")
		out, err := cmd.CombinedOutput() // ends only if nothing in the background keeps the pipe
		return string(out), err
	}
}

// mountsAt returns the line of a mount in the host's table.
func mountsAt(t *testing.T, dir string) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); f[1] == dir {
			return line
		}
	}
	return ""
}

// TestMountHelper does what mount(8) does for -t fuse.ktest: mounts in the background, remounts, and mounts again at once.
func TestMountHelper(t *testing.T) {
	needTools(t, "btrfs")
	img, dir := makeImage(t, t.TempDir()), t.TempDir()
	mount, umount := helper(t, "mount.fuse.ktest"), helper(t, "umount.fuse.ktest")
	good := func(args ...string) {
		t.Helper()
		if out, err := mount(args...); err != nil || out != "" {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	bad := func(want string, status int, args ...string) {
		t.Helper()
		out, err := mount(args...)
		if e, ok := err.(*exec.ExitError); !ok || e.ExitCode() != status || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: %v: %q, not status %d and %q", args, err, out, status, want)
		}
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	name := filepath.Join(dir, "new")

	good(img, dir, "-f", "-o", "rw")
	if mountsAt(t, dir) != "" {
		t.Error("-f mounts")
	}
	bad("please", 1, img)
	bad("not known or has a wrong value", mountFailed, img, dir, "-o", "rw,compress=bad")
	bad("no such file", mountFailed, img+".not", dir)

	good(img, dir, "-s", "-o", "rw,noatime,nosuid,fsname=name,user,allow_other")
	if line := mountsAt(t, dir); !strings.HasPrefix(line, "name "+dir+" fuse.ktest rw,nosuid") {
		t.Error(line)
	}
	bad("in use", mountFailed, img, t.TempDir())
	if err := os.WriteFile(name, []byte("1"), 0o644); err != nil {
		t.Error(err)
	}
	good(img, dir, "-o", "remount,ro")
	if err := os.WriteFile(name, []byte("2"), 0o644); err == nil || !strings.Contains(mountsAt(t, dir), " ro,") {
		t.Error("written after remount,ro")
	}
	bad("cannot be remounted", mountFailed, img, dir, "-o", "remount,rw,bogus")
	good(img, dir, "-o", "remount,rw,compress=zstd")
	if err := os.WriteFile(name, bytes.Repeat([]byte("3"), 1<<20), 0o644); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	good(img, dir) // while the server before may still be writing
	if got, err := os.ReadFile(name); len(got) != 1<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	must(t, "btrfs", "check", "--check-data-csum", img)
	good(img, dir, "-o", "subtype=")
	if line := mountsAt(t, dir); !strings.HasPrefix(line, img+" "+dir+" fuse rw") {
		t.Error(line)
	}
	if err := os.WriteFile(name, bytes.Repeat([]byte("4"), 1<<20), 0o644); err != nil {
		t.Error(err)
	}
	bound := t.TempDir() // a bind mount of it goes without waiting for the server, which stays
	if err := unix.Mount(dir, bound, "", unix.MS_BIND, ""); err != nil {
		t.Error(err)
	}
	for _, at := range []string{bound, dir} {
		if out, err := umount(at); err != nil {
			t.Error(out, err)
		}
	}
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err != nil || unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		t.Errorf("umount has not waited for the server: %v", err)
	}
	f.Close()
	if out, err := umount(dir); err == nil || !strings.Contains(out, "not mounted") {
		t.Error(out, err)
	}
	if out, err := exec.Command("btrfs", "inspect-internal", "dump-super", img).Output(); err != nil || !strings.Contains(string(out), "COMPRESS_ZSTD") {
		t.Errorf("remount,compress=zstd has compressed nothing: %v", err)
	}
}

// TestMountHoldsOff: who opens the image right after umount waits until it is whole, though umount does not.
func TestMountHoldsOff(t *testing.T) {
	needTools(t, "btrfs")
	img := makeImage(t, t.TempDir())
	m := mountImage(t, img)
	// While it is mounted anybody may read it.
	start := time.Now()
	if f, err := os.Open(img); err != nil {
		t.Error(err)
	} else {
		io.CopyN(io.Discard, f, 4096)
		f.Close()
	}
	if waited := time.Since(start); waited > 20*time.Second { // and not for the 45 s after which the host breaks a lease
		t.Errorf("a reader of a mounted image waited %v", waited)
	}
	data := make([]byte, 48<<20) // takes longer to write than the lease to be taken again
	rand.NewChaCha8([32]byte{}).Read(data)
	if err := os.WriteFile(filepath.Join(m.dir, "data"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(m.dir, 0); err != nil {
		t.Fatal(err)
	}
	kernelMount(t, img, func(dir string) { // at once
		if got, err := os.ReadFile(filepath.Join(dir, "data")); !bytes.Equal(got, data) {
			t.Errorf("Linux does not read what was written: %d bytes, %v", len(got), err)
		}
	})
	m.ended()
	must(t, "btrfs", "check", "--check-data-csum", img)
}

// TestMountSubvolumes: a file and its snapshot have the same inode number but are two files, in a mount that is one device.
func TestMountSubvolumes(t *testing.T) {
	needTools(t, "btrfs", "find", "cp")
	img := makeImage(t, t.TempDir())
	kernelMount(t, img, func(dir string) {
		must(t, "bash", "-ec", "cd "+dir+"; btrfs subvolume create sub; echo one > sub/a; ln sub/a sub/b; btrfs subvolume snapshot sub snap; echo two > snap/a")
	})
	m := mountImage(t, img)
	out := filepath.Join(t.TempDir(), "out")
	must(t, "cp", "-a", m.dir, out)
	for name, want := range map[string]string{"sub/a": "one\n", "sub/b": "one\n", "snap/a": "two\n", "snap/b": "two\n"} {
		if got, err := os.ReadFile(filepath.Join(out, name)); string(got) != want {
			t.Errorf("copy of %s: %q, %v", name, got, err)
		}
	}
	if text, err := exec.Command("find", m.dir).CombinedOutput(); err != nil || strings.Count(string(text), "\n") != 8 {
		t.Errorf("find: %v: %s", err, text)
	}
	entries, err := exec.Command("bash", "-c", "cd "+m.dir+"; ls -aif sub | sort; stat -c '%i %n' sub/a").Output()
	if a, s := strings.Fields(string(entries)), ""; err == nil {
		s = a[len(a)-2]
		if strings.Count(string(entries), s) != 3 { // a, b, and stat's
			t.Errorf("numbers in the directory and by stat: %s", entries)
		}
	}
	m.umount()
}
