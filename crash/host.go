// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/linearizability"
)

// KernelMissing says what the host lacks to judge images, "" if nothing.
func KernelMissing() string {
	if os.Geteuid() != 0 {
		return "root"
	}
	if _, err := exec.LookPath("btrfs"); err != nil {
		return "btrfs-progs"
	}
	if list, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(list), "btrfs") {
		return "btrfs in the kernel"
	}
	return ""
}

// Host judges images by btrfs check and by the kernel, in a directory of its own.
type Host struct{ dir string }

// NewHost makes the directory.
func NewHost() (*Host, error) {
	dir, err := os.MkdirTemp("", "ktest-crash-")
	if err != nil {
		return nil, err
	}
	return &Host{dir}, os.Mkdir(filepath.Join(dir, "mnt"), 0o700)
}

// Close removes it.
func (h *Host) Close() error { return os.RemoveAll(h.dir) }

// Judge lets btrfs check look at an image, the kernel mount it, and compares what
// is there with the model.
func (h *Host) Judge(i Image) error {
	img, mnt := filepath.Join(h.dir, "img"), filepath.Join(h.dir, "mnt")
	file, err := os.Create(img)
	if err != nil {
		return err
	}
	err = i.Save(file)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if out, err := exec.Command("btrfs", "check", "--check-data-csum", img).CombinedOutput(); err != nil {
		return fmt.Errorf("btrfs check: %w\n%s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop,noatime", img, mnt).CombinedOutput(); err != nil {
		return fmt.Errorf("the kernel's mount: %w\n%s", err, out)
	}
	var r linearizability.Recovered
	err = listHost(mnt, "/", &r)
	if uerr := unix.Unmount(mnt, 0); err == nil && uerr != nil {
		err = fmt.Errorf("umount: %w", uerr)
	}
	if err == nil {
		err = i.Judge(&r)
	}
	if err != nil {
		return fmt.Errorf("by the kernel: %w", err)
	}
	return nil
}

// listHost reads everything below a directory of the host.
func listHost(root, dir string, r *linearizability.Recovered) error {
	list, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return err
	}
	for _, d := range list {
		name := filepath.Join(root, dir, d.Name())
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return fmt.Errorf("stat %s: %w", name, err)
		}
		e := linearizability.RecoveredEntry{Path: filepath.Join(dir, d.Name()), Ino: st.Ino, Size: st.Size, Dir: d.IsDir(), Reg: d.Type().IsRegular()}
		if e.Reg && e.Size <= maxRead {
			if e.Data, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		r.Entries = append(r.Entries, e)
		if e.Dir {
			if err := listHost(root, e.Path, r); err != nil {
				return err
			}
		}
	}
	return nil
}
