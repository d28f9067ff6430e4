// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/oracle"
)

// mountOptions are options with what /proc/mounts shows for them on a file system
// with a free space tree, "" if the mount fails. The text is the kernel's; where
// its default depends on the machine we show what was asked for.
var mountOptions = []struct{ options, shown string }{
	{"", "rw,relatime,space_cache=v2"},
	{"noatime", "rw,noatime,space_cache=v2"},
	{"relatime", "rw,relatime,space_cache=v2"},
	{"strictatime", "rw,space_cache=v2"},
	{"lazytime", "rw,lazytime,relatime,space_cache=v2"},
	{"nodiratime", "rw,nodiratime,relatime,space_cache=v2"},
	{"noatime,nodiratime", "rw,noatime,nodiratime,space_cache=v2"},
	{"sync,dirsync", "rw,sync,dirsync,relatime,space_cache=v2"},
	{"ro", "ro,relatime,space_cache=v2"},
	{"thread_pool=3", "rw,relatime,thread_pool=3,space_cache=v2"},
	{"thread_pool=0", ""},
	{"thread_pool=x", ""},
	{"thread_pool=0x10", "rw,relatime,thread_pool=16,space_cache=v2"},
	{"thread_pool=5000", "rw,relatime,thread_pool=5000,space_cache=v2"},
	{"thread_pool=1k", ""},
	{"thread_pool=4294967296", ""},
	{"commit=5,flushoncommit", "rw,relatime,flushoncommit,space_cache=v2,commit=5"},
	{"commit=30", "rw,relatime,space_cache=v2"},
	{"commit=0,flushoncommit,noflushoncommit", "rw,relatime,space_cache=v2"},
	{"commit=x", ""},
	{"commit", ""},
	{"autodefrag", "rw,relatime,space_cache=v2,autodefrag"},
	{"autodefrag,noautodefrag", "rw,relatime,space_cache=v2"},
	{"noautodefrag=1", ""},
	{"max_inline=0", "rw,relatime,max_inline=0,space_cache=v2"},
	{"max_inline=1k", "rw,relatime,max_inline=1024,space_cache=v2"},
	{"max_inline=2048", "rw,relatime,space_cache=v2"},
	{"max_inline=8192", "rw,relatime,max_inline=4096,space_cache=v2"},
	{"max_inline=x", "rw,relatime,max_inline=0,space_cache=v2"},
	{"max_inline", ""},
	{"compress", "rw,relatime,compress=zlib:3,space_cache=v2"},
	{"compress=zlib:12", "rw,relatime,compress=zlib:9,space_cache=v2"},
	{"compress=lzo:3", "rw,relatime,compress=lzo,space_cache=v2"},
	{"compress-force=zstd:20", "rw,relatime,compress-force=zstd:15,space_cache=v2"},
	{"compress-force=no", "rw,relatime,space_cache=v2"},
	{"compress=lzma", ""},
	{"nodatacow", "rw,relatime,nodatasum,nodatacow,space_cache=v2"},
	{"nodatacow,datacow", "rw,relatime,nodatasum,space_cache=v2"},
	{"nodatacow,datasum", "rw,relatime,space_cache=v2"},
	{"nodatacow,compress", "rw,relatime,compress=zlib:3,space_cache=v2"},
	{"compress,nodatacow", "rw,relatime,nodatasum,nodatacow,space_cache=v2"},
	{"compress,nodatasum", "rw,relatime,nodatasum,compress=zlib:3,space_cache=v2"},
	{"nobarrier,notreelog", "rw,relatime,nobarrier,notreelog,space_cache=v2"},
	{"discard=sync", "rw,relatime,discard,space_cache=v2"},
	{"discard=async", "rw,relatime,discard=async,space_cache=v2"},
	{"noacl", "rw,relatime,noacl,space_cache=v2"},
	{"ssd", "rw,relatime,ssd,space_cache=v2"},
	{"ssd_spread", "rw,relatime,ssd_spread,space_cache=v2"},
	{"nossd", "rw,relatime,nossd,space_cache=v2"},
	{"ssd_spread,nossd_spread", "rw,relatime,ssd,space_cache=v2"},
	{"space_cache=v1", ""},
	{"nospace_cache", ""},
	{"user_subvol_rm_allowed,enospc_debug,skip_balance", "rw,relatime,space_cache=v2,user_subvol_rm_allowed,enospc_debug,skip_balance"},
	{"rescan_uuid_tree,degraded", "rw,relatime,degraded,space_cache=v2,rescan_uuid_tree"},
	{"subvolid=7", ""},
	{"nosuch", ""},
}

// shown makes the texts comparable: without the subvolume, and without the
// kernel's own choice to discard.
func shown(options, text string) string {
	text, _, _ = strings.Cut(text, ",subvolid=")
	if !strings.Contains(options, "discard") {
		text = strings.Replace(text, ",discard=async", "", 1)
	}
	return text
}

// Mount options are taken, refused and shown as the kernel does.
func TestMountOptions(t *testing.T) {
	m := NewMachine(MachineOptions{Kind: Btrfs})
	err := m.Run(func() error {
		m.AddMem(ScratchDev, 256<<20)
		if _, err := m.Mkfs(ScratchDev, []string{"-n", "4096", ScratchDev}); err != nil {
			return err
		}
		for _, o := range mountOptions {
			got := ""
			flags, _, data := MountFlags([]string{o.options})
			if err := m.Mount(m.root, ScratchDev, ScratchMnt, "btrfs", flags, data); err == nil {
				for _, one := range m.root.Mounts() {
					if one.Target == ScratchMnt {
						got = shown(o.options, one.Options)
					}
				}
				if err := m.root.Umount(ScratchMnt, 0); err != nil {
					return err
				}
			}
			if got != o.shown {
				t.Errorf("-o %s: %q, want %q", o.options, got, o.shown)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What TestMountOptions wants is what the kernel shows.
func TestMountOptionsOfTheKernel(t *testing.T) {
	oracle.Need(t, oracle.Mkfs, oracle.Kernel)
	image, dir := filepath.Join(t.TempDir(), "img"), t.TempDir()
	dev, detach, err := loopDevice(image, 256<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer detach()
	oracle.Run(t, "mkfs.btrfs", "-q", dev)
	for _, o := range mountOptions {
		got := ""
		if err := exec.Command("mount", "-t", "btrfs", "-o", "defaults,"+o.options, dev, dir).Run(); err == nil {
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(mounts)) {
				if f := strings.Fields(line); len(f) > 3 && f[1] == dir {
					got = shown(o.options, f[3])
				}
			}
			if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
				t.Fatalf("umount: %v: %s", err, out)
			}
		}
		if got != o.shown {
			t.Errorf("-o %s: %q, want %q", o.options, got, o.shown)
		}
	}
}

// A remount can change the size of the thread pool while it works; one that does not name it leaves it as it is.
func TestRemountThreadPool(t *testing.T) {
	m := NewMachine(MachineOptions{Kind: Btrfs})
	err := m.Run(func() error {
		m.AddMem(ScratchDev, 256<<20)
		if _, err := m.Mkfs(ScratchDev, []string{"-n", "4096", ScratchDev}); err != nil {
			return err
		}
		if err := m.Mount(m.root, ScratchDev, ScratchMnt, "btrfs", 0, "thread_pool=2"); err != nil {
			return err
		}
		want := func(pool string) {
			t.Helper()
			for _, one := range m.root.Mounts() {
				if one.Target == ScratchMnt && !strings.Contains(one.Options, pool) {
					t.Errorf("%s, want %s", one.Options, pool)
				}
			}
		}
		for _, c := range []struct{ options, pool string }{{"thread_pool=5", "thread_pool=5,"}, {"autodefrag", "thread_pool=5,"}, {"thread_pool=1", "thread_pool=1,"}} {
			if err := m.Mount(m.root, ScratchDev, ScratchMnt, "btrfs", unix.MS_REMOUNT, c.options); err != nil {
				return err
			}
			want(c.pool)
			fd, err := m.root.Open(ScratchMnt+"/f", unix.O_CREAT|unix.O_RDWR, 0o644)
			if err != nil {
				return err
			}
			if _, err := m.root.Write(fd, make([]byte, 1<<20)); err != nil {
				return err
			}
			if err := m.root.Fsync(fd); err != nil {
				return err
			}
			m.root.Close(fd)
		}
		if err := m.Mount(m.root, ScratchDev, ScratchMnt, "btrfs", unix.MS_REMOUNT, "thread_pool=0"); err != unix.EINVAL {
			t.Errorf("thread_pool=0: %v", err)
		}
		want("thread_pool=1,")
		if log := strings.Join(m.K.Dmesg(), "\n"); !strings.Contains(log, "resize thread pool 2 -> 5") || !strings.Contains(log, "resize thread pool 5 -> 1") {
			t.Errorf("the log does not tell of it: %s", log)
		}
		return m.root.Umount(ScratchMnt, 0)
	})
	if err != nil {
		t.Fatal(err)
	}
}
