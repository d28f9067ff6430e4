// SPDX-License-Identifier: GPL-2.0-or-later

package fuse

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/vfs/memfs"
)

// needFuse skips where the host lets us mount nothing.
func needFuse(t testing.TB) {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil && os.Geteuid() == 0 {
		f.Close()
		return
	}
	oracle.Lack(t, "root and /dev/fuse")
}

// TestMain serves when the test runs its own binary for that: a program that
// waits for a mount that it serves itself may wait for ever.
func TestMain(m *testing.M) {
	if dir := os.Getenv("KTEST_FUSE_SERVE"); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serve mounts an empty file system in memory on dir until it is unmounted.
func serve(dir string) error {
	k := kernel.New(kernel.Options{})
	v := vfs.New(k, mm.Options{})
	if err := v.RegisterFilesystem(memfs.Type); err != nil {
		return err
	}
	if err := v.MountRoot("memfs", vfs.Source{Name: "root"}, 0, ""); err != nil {
		return err
	}
	s, err := Mount(v, dir, Options{Source: "test"})
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	s.Serve()
	if err := v.Shutdown(); err != nil {
		return err
	}
	if w := k.Warnings(); len(w) > 0 {
		return errors.New(strings.Join(w, "\n"))
	}
	return nil
}

// mounted returns a mount of an empty file system in memory. That it can be
// unmounted, and that nothing leaks, is part of each test.
func mounted(t testing.TB) string {
	needFuse(t)
	dir := t.TempDir()
	server := exec.Command(os.Args[0])
	server.Env = append(os.Environ(), "KTEST_FUSE_SERVE="+dir)
	var stderr strings.Builder
	server.Stderr = &stderr
	out, err := server.StdoutPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			unix.Unmount(dir, unix.MNT_DETACH|unix.MNT_FORCE)
		}
		if err := server.Wait(); err != nil {
			t.Errorf("server: %v: %s", err, stderr.String())
		}
	})
	if line != "mounted\n" {
		t.Fatalf("not mounted: %s", stderr.String())
	}
	return dir
}

// TestPosix runs go-fuse's table of what any mount must do, less one entry:
// FcntlFlockLocksFile wants two record locks of one process to conflict, which
// they do on no local file system.
func TestPosix(t *testing.T) {
	for name, fn := range posixtest.All {
		if name == "FcntlFlockLocksFile" {
			continue
		}
		t.Run(name, func(t *testing.T) { fn(t, mounted(t)) })
	}
}
