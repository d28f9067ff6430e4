// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
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

// Host judges images by btrfs check and by the kernel. One file in memory and one
// loop device over it serve all images, and the kernel's mounts are in no
// directory: thirty images a second become a few hundred, and whoever is killed
// leaves nothing behind.
//
// A Host judges one image at a time. Two may run side by side if their images are
// of different file systems: the kernel mounts no two with one UUID.
type Host struct {
	file *os.File
	loop *os.File
	size uint64

	base  blockdev.Image // whose pieces are known
	known []piece
}

// piece is a part of an image that is not zeros.
type piece struct {
	off  int64
	data []byte
}

// NewHost makes the device.
func NewHost() (*Host, error) {
	fd, err := unix.MemfdCreate("crash state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a file in memory: %w", err)
	}
	h := &Host{file: os.NewFile(uintptr(fd), "crash state"), size: 1 << 20}
	if err = h.file.Truncate(int64(h.size)); err == nil {
		h.loop, err = blockdev.AttachLoop(h.file)
	}
	if err != nil {
		h.file.Close()
		return nil, fmt.Errorf("a loop device: %w", err)
	}
	return h, nil
}

// Close gives the device back.
func (h *Host) Close() error { return errors.Join(h.loop.Close(), h.file.Close()) }

// Judge lets btrfs check look at an image, the kernel mount it, and compares what
// is there with the model.
func (h *Host) Judge(i Image) error {
	if err := h.put(i.s); err != nil {
		return fmt.Errorf("the image: %w", err)
	}
	if err := h.check(); err != nil {
		return err
	}
	var r linearizability.Recovered
	err := h.list(&r)
	if err == nil {
		err = i.Judge(&r)
	}
	if err != nil {
		return fmt.Errorf("by the kernel: %w", err)
	}
	return nil
}

// put makes the device hold an image.
func (h *Host) put(img blockdev.Image) error {
	if img.Size() != h.size {
		h.size = img.Size()
		if err := h.file.Truncate(int64(h.size)); err != nil {
			return err
		}
		if err := unix.IoctlSetInt(int(h.loop.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
			return fmt.Errorf("the size of %s: %w", h.loop.Name(), err)
		}
	}
	if err := unix.Fallocate(int(h.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, int64(h.size)); err != nil {
		return err
	}
	if err := h.write(img); err != nil {
		return err
	}
	// What the device's cache still has is the image before.
	return unix.IoctlSetInt(int(h.loop.Fd()), unix.BLKFLSBUF, 0)
}

// write writes what is not zeros, lower layers first.
func (h *Host) write(img blockdev.Image) error {
	blocks := func(m map[uint64]block) error {
		for n, x := range m {
			if x.data == nil {
				x.data = zeroBlock
			}
			if _, err := h.file.WriteAt(x.data, int64(n*blockSize)); err != nil {
				return err
			}
		}
		return nil
	}
	switch img := img.(type) {
	case *state:
		if err := h.write(img.durable); err != nil {
			return err
		}
		return blocks(img.over)
	case *drive:
		if err := h.write(img.base); err != nil {
			return err
		}
		return blocks(img.blocks)
	case zeroImage:
		return nil
	}
	if h.base != img {
		h.base, h.known = img, pieces(img)
	}
	for _, p := range h.known {
		if _, err := h.file.WriteAt(p.data, p.off); err != nil {
			return err
		}
	}
	return nil
}

var zeroBlock = make([]byte, blockSize)

// pieces finds what is not zeros.
func pieces(img blockdev.Image) (all []piece) {
	buf := make([]byte, 1<<16)
	for off := uint64(0); off < img.Size(); off += uint64(len(buf)) {
		p := buf[:min(uint64(len(buf)), img.Size()-off)]
		img.ReadImage(p, int64(off))
		if !isZero(p) {
			all = append(all, piece{int64(off), bytes.Clone(p)})
		}
	}
	return all
}

// check runs btrfs check. It looks at the mounts and loop devices of the whole
// host, and gives up when one of them goes away meanwhile.
func (h *Host) check() error {
	for try := 0; ; try++ {
		cmd := exec.Command("btrfs", "check", "--check-data-csum", "/proc/self/fd/3")
		cmd.ExtraFiles = []*os.File{h.file}
		out, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		if try == 20 || !bytes.Contains(out, []byte("No such ")) && !bytes.Contains(out, []byte("could not check mount status")) {
			return fmt.Errorf("btrfs check: %w\n%s", err, out)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// list mounts the device and reads everything on it.
func (h *Host) list(r *linearizability.Recovered) error {
	mnt, err := h.mount()
	if err != nil {
		return err
	}
	err = listHost(fmt.Sprintf("/proc/self/fd/%d", mnt), "/", r)
	unix.Close(mnt)
	return errors.Join(err, h.idle())
}

// mount returns a mount of the device that goes away with its descriptor.
func (h *Host) mount() (int, error) {
	fs, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen: %w", err)
	}
	context := os.NewFile(uintptr(fs), "fsopen")
	defer context.Close()
	// Discards come late, and the image may be another one by then.
	if err = unix.FsconfigSetString(fs, "source", h.loop.Name()); err == nil {
		err = unix.FsconfigSetFlag(fs, "nodiscard")
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	mnt := -1
	if err == nil {
		mnt, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOATIME)
	}
	if err != nil {
		why, _ := io.ReadAll(context) // what the kernel has to say
		return -1, fmt.Errorf("mount: %w\n%s", err, why)
	}
	return mnt, nil
}

// idle waits until the kernel has left the device.
func (h *Host) idle() error {
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		f, err := os.OpenFile(h.loop.Name(), os.O_RDONLY|unix.O_EXCL, 0)
		if err == nil {
			return f.Close()
		}
		if !errors.Is(err, unix.EBUSY) || time.Since(start) > time.Minute {
			return fmt.Errorf("umount: %w", err)
		}
	}
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
