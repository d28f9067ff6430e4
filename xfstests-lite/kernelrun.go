// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// KernelOptions say on what RunKernel works.
type KernelOptions struct {
	Size         int64 // of each of the two loop files, default 2 GiB (sparse)
	MountOptions string
	MkfsOptions  string
	Timeout      time.Duration // of one case, default 5 minutes
}

// KernelMissing names what RunKernel lacks on this machine, or is empty.
func KernelMissing() string {
	if os.Geteuid() != 0 {
		return "root"
	}
	for _, prog := range []string{"bash", "losetup", "mount", "unshare", "mkfs.btrfs", "btrfs", "xfs_io", "setfattr", "getfattr", "perl"} {
		if _, err := exec.LookPath(prog); err != nil {
			return prog
		}
	}
	if known, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(known), "btrfs") {
		return "btrfs in this kernel"
	}
	return ""
}

// apart gives up the namespace's copies of our FUSE mounts: a server ends when the last copy is gone, and who has unmounted it outside
// would wait for the case.
const apart = `umount -i -l -a -t fuse,fuse.ktest 2>/dev/null
`

// inside runs in a mount namespace of its own, so no mount outlives it however it ends. $1 is the case. Its sync is of the case's file
// systems: those of others may take long, and are no part of it.
const inside = apart + `
sync() {
	[ $# -eq 0 ] || { command sync "$@"; return; }
	for mnt in "$SCRATCH_MNT" "$TEST_DIR"; do
		! mountpoint -q "$mnt" || command sync -f "$mnt" || return
	done
}
export -f sync
mount -t btrfs $MOUNT_OPTIONS $TEST_DEV $TEST_DIR || exit 99
bash ./tests/$1
status=$?
cd /
umount $SCRATCH_MNT 2>/dev/null
umount $TEST_DIR 2>/dev/null
exit $status
`

// RunKernel runs a case with the real bash and xfs_io on the kernel's btrfs on loop devices. The golden outputs
// are right when they hold here.
func RunKernel(ctx context.Context, t *Tree, c Case, o KernelOptions) (res Result, err error) {
	if missing := KernelMissing(); missing != "" {
		return res, fmt.Errorf("ktest run --kernel needs %s", missing)
	}
	if o.Size == 0 {
		o.Size = 2 << 30
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	dir, err := os.MkdirTemp("", "ktest-kernel-")
	if err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	place := func(name string) string { return filepath.Join(dir, name) }
	for _, sub := range []string{"test", "scratch", "results", "tmp", "tree"} {
		if err := os.Mkdir(place(sub), 0o755); err != nil {
			return res, err
		}
	}
	here := t.dir
	if here == "" {
		here = place("tree")
		if err := t.Extract(here); err != nil {
			return res, err
		}
	}
	var devs [2]string
	for i, name := range []string{"test", "scratch"} {
		dev, detach, err := loopDevice(place(name+".img"), o.Size)
		if err != nil {
			return res, err
		}
		defer detach()
		devs[i] = dev
	}
	if out, err := exec.CommandContext(ctx, "mkfs.btrfs", "-f", devs[0]).CombinedOutput(); err != nil {
		return res, fmt.Errorf("mkfs.btrfs: %w: %s", err, out)
	}

	start := time.Now()
	limit, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	cmd := exec.CommandContext(limit, "unshare", "--mount", "--propagation", "private", "bash", "-c", inside, "bash", c.Name)
	cmd.Dir = here
	cmd.Env = append(os.Environ(), "FSTYP=btrfs", "TEST_DEV="+devs[0], "TEST_DIR="+place("test"), "SCRATCH_DEV="+devs[1],
		"SCRATCH_MNT="+place("scratch"), "RESULT_DIR="+place("results"), "TMPDIR="+place("tmp"),
		"MOUNT_OPTIONS="+o.MountOptions, "MKFS_OPTIONS="+o.MkfsOptions, "LANG=C", "LC_ALL=C")
	// The whole process group must go, or the loop devices stay busy.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	res = Result{Case: c.Name, Time: time.Since(start)}
	seq := filepath.Base(c.Name)
	if full, err := os.ReadFile(place("results/" + seq + ".full")); err == nil {
		res.Full = string(full)
	}
	switch {
	case ctx.Err() != nil:
		return res, ctx.Err()
	case limit.Err() != nil:
		res.fail(fmt.Sprintf("still running after %v", o.Timeout), string(out))
		return res, nil
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return res, err
	}
	if why, err := os.ReadFile(place("results/" + seq + ".notrun")); err == nil {
		res.Status, res.Reason = Notrun, strings.TrimSpace(string(why))
		return res, nil
	}
	res.judge(t, c, out, cmd.ProcessState.ExitCode())
	for i, name := range []string{"test", "scratch"} {
		if _, err := os.Stat(place("results/require_" + name)); err != nil {
			continue
		}
		if out, err := exec.CommandContext(ctx, "btrfs", "check", devs[i]).CombinedOutput(); err != nil {
			res.fail("btrfs check of the "+name+" device: "+err.Error(), string(out))
		}
	}
	return res, nil
}

// loopDevice makes a sparse file of size bytes and a loop device over it.
func loopDevice(file string, size int64) (dev string, detach func(), err error) {
	f, err := os.Create(file)
	if err != nil {
		return "", nil, err
	}
	err = f.Truncate(size)
	f.Close()
	if err != nil {
		return "", nil, err
	}
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		return "", nil, fmt.Errorf("losetup: %w: %s", err, out)
	}
	dev = strings.TrimSpace(string(out))
	return dev, func() { exec.Command("losetup", "--detach", dev).Run() }, nil
}
