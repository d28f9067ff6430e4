// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/oracle"
)

// TestMountHungDevice: a device that does not answer makes errors of what waits for it, and the mount goes.
// Mutation: without the watch of its progress the fsync below never returns.
func TestMountHungDevice(t *testing.T) {
	needTools(t)
	below := t.TempDir()
	makeImage(t, below)
	stopped, server := mountLoopback(t, below)
	m := mountImage(t, filepath.Join(stopped, "good.img"), "--timeout", "300ms")
	f, err := os.Create(filepath.Join(m.dir, "new"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	server.Signal(unix.SIGSTOP)
	if err := f.Sync(); err == nil {
		t.Error("fsync on a device that does not answer")
	}
	f.Close()
	if _, err := os.Stat(filepath.Join(m.dir, "new")); err == nil { // "not connected", and then not there
		t.Error("the mount has not gone")
	}
	server.Signal(unix.SIGCONT) // for the host does not end a process that waits for it
	m.gone = true
	if err := m.cmd.Wait(); err == nil || !strings.Contains(m.stderr.String(), "does not answer") || strings.Count(m.stderr.String(), "\n") != 1 {
		t.Errorf("%v: %s", err, m.stderr.String())
	}
}

// TestMountFailingDevice: when the host has no room for a sparse image any more its file system is forced read-only, programs get errors,
// and what had been synced is there.
func TestMountFailingDevice(t *testing.T) {
	needTools(t, "btrfs", "mount")
	small := oracle.Tmpfs(t, "size=24m")
	img := makeImage(t, small)
	m := mountImage(t, img)
	data := bytes.Repeat([]byte("synced"), 1<<16)
	name := filepath.Join(m.dir, "synced")
	f, err := os.Create(name)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	failed := false
	for i := 0; i < 8 && !failed; i++ {
		f, err := os.Create(name + strings.Repeat("x", i+1))
		if err == nil {
			_, err = f.Write(make([]byte, 8<<20))
		}
		if err == nil {
			err = f.Sync()
		}
		failed = err != nil
		f.Close()
	}
	if !failed {
		t.Error("64 MiB on a device of 24")
	}
	if err := unix.Unmount(m.dir, 0); err != nil {
		t.Fatal(err)
	}
	m.gone = true
	if err := m.cmd.Wait(); err == nil || !strings.Contains(m.stderr.String(), "changes are lost") || strings.Contains(m.stderr.String(), "WARN") {
		t.Errorf("%v: %s", err, m.stderr.String())
	}
	unix.Mount("", small, "", unix.MS_REMOUNT, "size=1g")
	must(t, "btrfs", "check", "--check-data-csum", img)
	m = mountImage(t, img)
	if got, err := os.ReadFile(filepath.Join(m.dir, "synced")); err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, data) {
		t.Error("what was synced has changed")
	}
	m.umount()
}

// loopDevice attaches the image to a loop device of the host.
func loopDevice(t *testing.T, img string) string {
	t.Helper()
	out, err := exec.Command("losetup", "-f", "--show", img).Output()
	if err != nil {
		t.Fatal(err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { exec.Command("losetup", "-d", dev).Run() })
	return dev
}

// TestMountLoopDevice: a block device is opened exclusively, by us and by the kernel.
func TestMountLoopDevice(t *testing.T) {
	needTools(t, "btrfs", "losetup", "mount")
	img := makeImage(t, t.TempDir())
	dev := loopDevice(t, img)
	m := mountImage(t, dev, "-o", "compress")
	if line := mountsAt(t, m.dir); !strings.HasPrefix(line, dev+" ") {
		t.Error(line)
	}
	must(t, "cp", "-r", "../../btrfs", m.dir)
	if _, errs, status := ktest("mount", dev, t.TempDir()); status != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("a second mount: %d %s", status, errs)
	}
	if out, err := exec.Command("mount", dev, t.TempDir()).CombinedOutput(); err == nil {
		t.Errorf("Linux mounts it, too: %s", out)
	}
	m.umount()
	must(t, "btrfs", "check", "--check-data-csum", dev)
	dir := t.TempDir()
	must(t, "mount", dev, dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, "diff", "-r", "../../btrfs", filepath.Join(dir, "btrfs"))
	if _, errs, status := ktest("mount", dev, t.TempDir()); status != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("a mount of what Linux has mounted: %d %s", status, errs)
	}
	must(t, "umount", dir)
}

// TestMountAsUser: without root fusermount3 mounts, for the user alone. Where /dev/fuse is root's only, a node that is everybody's stands
// in for it, in a namespace of its own.
func TestMountAsUser(t *testing.T) {
	needTools(t, "fusermount3", "unshare", "setpriv", "btrfs")
	work := t.TempDir()
	img, dir := makeImage(t, work), filepath.Join(work, "mnt")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, errs, status := ktest("sh", img, "-c", "chown 65534:65534 $SCRATCH_MNT"); status != 0 {
		t.Fatal(errs)
	}
	os.Mkdir(dir, 0o755)
	os.Chmod(work, 0o755)
	os.Chmod(filepath.Dir(work), 0o755)
	for _, path := range []string{work, img, dir} {
		os.Chown(path, 65534, 65534)
	}
	ktestBinary := filepath.Join(work, "ktest")
	must(t, "cp", self, ktestBinary)
	script := `set -e
		mknod fuse c 10 229; chmod 666 fuse; mount --bind fuse /dev/fuse
		cat > user <<-'END'
			set -e
			./ktest mount --background -o compress good.img mnt
			grep -q " $PWD/mnt fuse.ktest rw" /proc/mounts
			cp -r ktest mnt/copy; cmp ktest mnt/copy; test $(stat -c %u mnt/copy) = 65534
			fusermount3 -u mnt
			flock good.img true
			./ktest mount good.img mnt & until test -f mnt/copy; do sleep 0.01; done
			kill -INT $!; wait $!; test ! -e mnt/copy
		END
		setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all bash user`
	cmd := exec.Command("unshare", "-m", "--propagation", "private", "bash", "-c", script)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "KTEST_BE_KTEST=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	must(t, "btrfs", "check", "--check-data-csum", img)
	kernelMount(t, img, func(dir string) { must(t, "cmp", ktestBinary, filepath.Join(dir, "copy")) })
}

// TestUmountHelperFreesDevice: when umount(8) returns, fsck and mkfs may claim the block device. It fails in some of the rounds if the
// helper waits for the server's lock alone.
func TestUmountHelperFreesDevice(t *testing.T) {
	needTools(t, "btrfs", "losetup")
	img, dir := makeImage(t, t.TempDir()), t.TempDir()
	dev := loopDevice(t, img)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	mount, umount := helper(t, "mount.fuse.ktest"), helper(t, "umount.fuse.ktest")
	data := make([]byte, 16<<20)
	for round := range 8 {
		if out, err := mount(dev, dir); err != nil {
			t.Fatal(out, err)
		}
		rand.NewChaCha8([32]byte{byte(round)}).Read(data)
		if err := os.WriteFile(filepath.Join(dir, "data"), data, 0o644); err != nil {
			t.Error(err)
		}
		if out, err := umount(dev); err != nil {
			t.Fatal(out, err)
		}
		fd, err := unix.Open(dev, unix.O_RDWR|unix.O_EXCL, 0)
		if err != nil {
			t.Errorf("round %d: %v", round, err)
		}
		unix.Close(fd)
	}
	must(t, "btrfs", "check", "--check-data-csum", dev)
}
