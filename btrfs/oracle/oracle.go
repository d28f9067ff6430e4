// SPDX-License-Identifier: GPL-2.0-or-later

package oracle

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
)

// What an oracle needs of the machine.
const (
	Progs  = "btrfs" // the command of btrfs-progs
	Mkfs   = "mkfs.btrfs"
	Kernel = "kernel" // root and a kernel with btrfs and loop devices
	XfsIO  = "xfs_io"
)

// Need skips the test, or fails it under KTEST_ORACLE=require, unless all of
// the named oracles are there.
func Need(t testing.TB, oracles ...string) {
	t.Helper()
	for _, o := range oracles {
		if why := missing(o); why != "" {
			Lack(t, why)
		}
	}
}

// Lack skips the test, or fails it under KTEST_ORACLE=require.
func Lack(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("KTEST_ORACLE") == "require" {
		t.Fatalf("oracle missing: %s", why)
	}
	t.Skipf("oracle missing: %s", why)
}

// Tmpfs mounts a small disk of the host, with options like "size=8m", for the
// time of the test: the host whose disk is full.
func Tmpfs(t testing.TB, options string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		Lack(t, fmt.Sprintf("mounting a tmpfs: %v", err))
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func missing(oracle string) string {
	if oracle != Kernel {
		if _, err := exec.LookPath(oracle); err != nil {
			return oracle + " is not installed"
		}
		return ""
	}
	if os.Geteuid() != 0 {
		return "mounting needs root"
	}
	fs, _ := os.ReadFile("/proc/filesystems")
	if !bytes.Contains(fs, []byte("\tbtrfs\n")) {
		return "this kernel has no btrfs"
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "no loop devices"
	}
	return ""
}

// Run runs a command and returns what it printed; failure fails the test.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Check runs `btrfs check` on an image that is not mounted and fails the test
// unless it is clean. Extra arguments go before the image.
func Check(t testing.TB, image string, args ...string) {
	t.Helper()
	if err := CheckErr(image, args...); err != nil {
		t.Fatal(err)
	}
}

// CheckErr is Check for callers that go on after a complaint.
func CheckErr(image string, args ...string) error {
	out, err := exec.Command("btrfs", append(append([]string{"check"}, args...), image)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("btrfs check: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		l := strings.ToLower(line)
		if strings.Contains(l, "error") && !strings.Contains(l, "no error found") || strings.Contains(l, "warning") || strings.Contains(l, "mismatch") || strings.Contains(l, "cache and super generation") {
			return fmt.Errorf("btrfs check is not clean:\n%s", out)
		}
	}
	return nil
}

// Mount mounts an image with the kernel's btrfs and returns the directory and
// a function that unmounts it (which the end of the test calls too).
func Mount(t testing.TB, image, options string) (dir string, umount func()) {
	t.Helper()
	dir = t.TempDir()
	loop, err := attach(image)
	if err != nil {
		t.Fatalf("no loop device for %s: %v", image, err)
	}
	// Without discards: they come late, and the image may be ours again by then.
	err = unix.Mount(loop.Name(), dir, "btrfs", 0, strings.TrimPrefix(options+",nodiscard", ","))
	loop.Close()
	if err != nil {
		t.Fatalf("the kernel does not mount %s: %v\n%s", image, err, dmesg())
	}
	done := false
	umount = func() {
		if done {
			return
		}
		done = true
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("umount %s: %v", dir, err)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
		waitUnmounted(t, image)
	}
	t.Cleanup(umount)
	return dir, umount
}

// waitUnmounted waits until the kernel has really left the image: another test
// that has made itself a mount namespace meanwhile holds a copy of the mount.
func waitUnmounted(t testing.TB, image string) {
	fsid := make([]byte, 16)
	f, err := os.Open(image)
	if err != nil {
		return // the image is gone
	}
	defer f.Close()
	if _, err := f.ReadAt(fsid, 64<<10+32); err != nil {
		return
	}
	sys := fmt.Sprintf("/sys/fs/btrfs/%x-%x-%x-%x-%x", fsid[:4], fsid[4:6], fsid[6:8], fsid[8:10], fsid[10:])
	for start := time.Now(); time.Since(start) < 2*time.Minute; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(sys); err != nil {
			return
		}
	}
	t.Errorf("%s is still mounted somewhere", image)
}

// attach gives an image a loop device.
func attach(image string) (*os.File, error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return blockdev.AttachLoop(f)
}

// dmesg is the end of the kernel log, for failure messages.
func dmesg() string {
	out, _ := exec.Command("dmesg").Output()
	lines := strings.Split(string(out), "\n")
	if len(lines) > 15 {
		lines = lines[len(lines)-15:]
	}
	return strings.Join(lines, "\n")
}
