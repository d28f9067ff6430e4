// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
	"kbtrfs/vfs"
)

// balanceState asks for the balance of the file system at "/", ENOTCONN if there
// is none.
func balanceState(p *vfs.Process) (b btrfs.BalanceControl, err error) {
	fd, err := p.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return b, err
	}
	defer p.Close(fd)
	return b, p.Ioctl(fd, btrfs.BTRFS_IOC_BALANCE_PROGRESS, &b)
}

// balanceEnds waits until a balance that runs has ended or is paused.
func balanceEnds(p *vfs.Process) (paused bool, err error) {
	for {
		b, err := balanceState(p)
		if err == unix.ENOTCONN {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if b.State&btrfs.BTRFS_BALANCE_STATE_RUNNING == 0 && b.Expected > 0 {
			return true, nil
		}
		time.Sleep(time.Millisecond)
	}
}

// pausedImage makes an image with a balance that has moved something and has
// more to move, and tells what its files hold.
func pausedImage(t *testing.T) (path string, want []string) {
	path, want = sharedImage(t, 300<<20)
	k := kernel.New(kernel.Options{})
	m := mustBoot(t, k, openLoop(t, k, path))
	other := m.Process.Fork()
	run := k.Go("balance", func(*kernel.Task) {
		if fd, err := other.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
			err = other.Ioctl(fd, btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE})
			if err != unix.ECANCELED {
				t.Errorf("a balance that is paused ends with %v", err)
			}
			other.Close(fd)
		}
		other.Exit()
	})
	for b, _ := balanceState(m.Process); b.Considered == 0; b, _ = balanceState(m.Process) {
		time.Sleep(time.Millisecond / 10)
	}
	must(t, m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_CTL, btrfs.BTRFS_BALANCE_CTL_PAUSE))
	run.Join()
	if b, err := balanceState(m.Process); err != nil || b.State != 0 || b.Considered == 0 {
		t.Fatalf("a paused balance is in state %d, %d considered, %v", b.State, b.Considered, err)
	}
	for _, x := range []struct {
		cmd  uint
		arg  any
		want error
	}{
		{btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE}, unix.EINPROGRESS},
		{btrfs.BTRFS_IOC_RESIZE, "max", unix.EINPROGRESS},
		{btrfs.BTRFS_IOC_BALANCE_CTL, btrfs.BTRFS_BALANCE_CTL_PAUSE, unix.ENOTCONN},
		{btrfs.BTRFS_IOC_BALANCE_CTL, 3, unix.EINVAL},
	} {
		if err := m.ioctlRoot(x.cmd, x.arg); err != x.want {
			t.Errorf("request %#x beside a paused balance: %v, want %v", x.cmd, err, x.want)
		}
	}
	m.off()
	return path, want
}

// TestBalanceResume pauses a balance and unmounts. The item that says so is read
// by the kernel, which shows the balance as paused with skip_balance and goes on
// with it without; so do we; and it can be resumed and cancelled by hand.
//
// Mutation: leave out recoverBalance, or write the filters of the item in another
// order.
func TestBalanceResume(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs)
	path, want := pausedImage(t)
	saved, err := os.ReadFile(path)
	must(t, err)
	again := func() { must(t, os.WriteFile(path, saved, 0o644)) }

	dir, umount := oracle.Mount(t, path, "skip_balance")
	out, _ := exec.Command("btrfs", "balance", "status", "-v", dir).CombinedOutput() // status 1: there is one
	if out := string(out); !strings.Contains(out, "is paused") || !strings.Contains(out, "DATA (flags 0x0): balancing") {
		t.Errorf("the kernel sees: %s", out)
	}
	umount()
	dir, umount = oracle.Mount(t, path, "")
	for {
		if out, err := exec.Command("btrfs", "balance", "status", dir).CombinedOutput(); err == nil && strings.Contains(string(out), "No balance found") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	umount()
	judgeImage(t, path, want)

	again()
	k := kernel.New(kernel.Options{})
	dev := openLoop(t, k, path)
	m := mustBoot(t, k, dev)
	if paused, err := balanceEnds(m.Process); err != nil || paused {
		t.Errorf("a resumed balance: paused %v, %v", paused, err)
	}
	if s := strings.Join(k.Dmesg(), "\n"); !strings.Contains(s, "balance: resume -d -m -s") || !strings.Contains(s, "balance: ended with status: 0") {
		t.Errorf("the log of a resumed balance: %s", s)
	}
	judge(t, k, m, path, want)

	for _, by := range []string{"resume", "cancel"} {
		again()
		k := kernel.New(kernel.Options{})
		m, err := boot(t, k, openLoop(t, k, path), "skip_balance")
		must(t, err)
		if paused, err := balanceState(m.Process); err != nil || paused.State != 0 {
			t.Errorf("with skip_balance: state %d, %v", paused.State, err)
		}
		if by == "resume" {
			err = m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: btrfs.BTRFS_BALANCE_RESUME})
		} else {
			err = m.ioctlRoot(btrfs.BTRFS_IOC_BALANCE_CTL, btrfs.BTRFS_BALANCE_CTL_CANCEL)
		}
		if err != nil {
			t.Errorf("%s: %v", by, err)
		}
		if _, err := balanceState(m.Process); err != unix.ENOTCONN {
			t.Errorf("after %s there is a balance: %v", by, err)
		}
		m.off()
		oracle.Check(t, path, "--check-data-csum")
		if out := oracle.Run(t, oracle.Progs, "inspect-internal", "dump-tree", "-t", "root", path); strings.Contains(out, "BALANCE") {
			t.Errorf("after %s its item is still there", by)
		}
	}
}

// TestBalanceOfKernelResumes has the kernel pause a balance. We show it as paused
// with skip_balance, go on with it without, and Linux finds no trace of it.
//
// Mutation: recoverBalance reads another item.
func TestBalanceOfKernelResumes(t *testing.T) {
	oracle.Need(t, oracle.Kernel, oracle.Progs)
	path, want := sharedImage(t, 300<<20)
	paused := false
	for try := 0; !paused; try++ {
		if try == 50 {
			t.Fatal("no balance of the kernel could be paused in 50 attempts")
		}
		dir, umount := oracle.Mount(t, path, "")
		start := exec.Command("btrfs", "balance", "start", "--full-balance", dir)
		must(t, start.Start())
		for pause := 0; pause < 200 && !paused; pause++ {
			paused = exec.Command("btrfs", "balance", "pause", dir).Run() == nil
		}
		start.Wait()
		out, _ := exec.Command("btrfs", "balance", "status", dir).CombinedOutput()
		paused = strings.Contains(string(out), "is paused")
		umount()
	}

	k := kernel.New(kernel.Options{})
	m, err := boot(t, k, openLoop(t, k, path), "skip_balance")
	must(t, err)
	if b, err := balanceState(m.Process); err != nil || b.State != 0 || b.Flags&balanceAll != balanceAll {
		t.Errorf("a balance that the kernel paused: state %d, flags %#x, %v", b.State, b.Flags, err)
	}
	m.off()

	k = kernel.New(kernel.Options{})
	m = mustBoot(t, k, openLoop(t, k, path))
	if paused, err := balanceEnds(m.Process); err != nil || paused {
		t.Errorf("a resumed balance: paused %v, %v", paused, err)
	}
	if s := strings.Join(k.Dmesg(), "\n"); !strings.Contains(s, "balance: resume -d -m -s") || !strings.Contains(s, "balance: ended with status: 0") {
		t.Errorf("the log of a resumed balance: %s", s)
	}
	judge(t, k, m, path, want)
	dir, umount := oracle.Mount(t, path, "")
	if out := oracle.Run(t, "btrfs", "balance", "status", dir); !strings.Contains(out, "No balance found") {
		t.Errorf("the kernel sees: %s", out)
	}
	umount()
}

// TestBalanceControl starts, pauses, cancels, resumes and unmounts in many
// orders: nobody hangs, and whatever came of it is whole.
func TestBalanceControl(t *testing.T) {
	base := flatImage(t, 128<<20, mkfs.Options{NodeSize: 4096})
	for seed := range uint64(env("KTEST_SEEDS", 40)) {
		k := kernel.New(kernel.Options{Scheduler: sched.New(seed), Seed: seed})
		err := k.Run("balance", func(*kernel.Task) {
			dev := blockdev.NewOverlay(k, flat(base))
			for round := range 2 { // the second one may resume
				m, err := boot(t, k, dev, "")
				if err != nil {
					t.Errorf("seed %d: mount: %v", seed, err)
					return
				}
				var tasks []*kernel.Task
				for i, call := range []struct {
					cmd uint
					arg any
				}{
					{btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: balanceAll | btrfs.BTRFS_BALANCE_FORCE}},
					{btrfs.BTRFS_IOC_BALANCE_CTL, btrfs.BTRFS_BALANCE_CTL_PAUSE},
					{btrfs.BTRFS_IOC_BALANCE_V2, &btrfs.BalanceControl{Flags: btrfs.BTRFS_BALANCE_RESUME}},
					{btrfs.BTRFS_IOC_BALANCE_CTL, []int{btrfs.BTRFS_BALANCE_CTL_CANCEL, btrfs.BTRFS_BALANCE_CTL_PAUSE}[(seed+uint64(round))%2]},
				} {
					p := m.Process.Fork()
					tasks = append(tasks, k.Go(fmt.Sprint("task", i), func(*kernel.Task) {
						if fd, err := p.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
							switch err := p.Ioctl(fd, call.cmd, call.arg); err {
							case nil, unix.ECANCELED, unix.EINPROGRESS, unix.ENOTCONN, unix.EINVAL:
							default:
								t.Errorf("seed %d: request %#x: %v", seed, call.cmd, err)
							}
							p.Close(fd)
						}
						p.Exit()
					}))
				}
				for _, task := range tasks {
					task.Join()
				}
				m.off()
			}
			fsck(t, k, dev)
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
