// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"kbtrfs/vfs/fuse"
	xfstests "kbtrfs/xfstests-lite"
)

// mountPrefix: linked under a name like mount.fuse.ktest in /sbin, ktest is what mount(8) runs for -t fuse.ktest.
const mountPrefix = "mount."

// mountFailed is the exit status of mount(8) when a mount fails.
const mountFailed = 32

// mountHelper mounts as mount(8) wants it: SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]; it returns when the mount is there.
func mountHelper(name string, args []string) int {
	c := &command{name: "mount", usage: "SOURCE DIR [-sfnv] [-o OPTIONS]", short: "helper of mount(8)"}
	f := c.flags()
	options := f.String("o", "", "mount `OPTIONS`")
	fake := f.Bool("f", false, "do everything but the mount")
	for _, flag := range []string{"s", "n", "v"} {
		f.Bool(flag, false, "ignored")
	}
	for _, flag := range []string{"N", "t"} {
		f.String(flag, "", "ignored")
	}
	operands, err := c.parse(f, args)
	if err == nil && len(operands) != 2 {
		err = usagef("a SOURCE and a DIR, please")
	}
	remounting := false
	for o := range strings.SplitSeq(*options, ",") {
		remounting = remounting || o == "remount"
	}
	switch {
	case err != nil || *fake:
	case remounting:
		err = remount(operands[1], *options)
	default:
		// A mount shows the type that it was asked for; an option in the list goes before.
		if subtype, ok := strings.CutPrefix(name, mountPrefix+"fuse."); ok {
			*options = "subtype=" + subtype + "," + *options
		}
		err = inBackground("-o", *options, "--", operands[0], operands[1])
	}
	var bad usageError
	var status exitStatus
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &status): // it has told why
		return mountFailed
	case errors.As(err, &bad):
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return mountFailed
}

// remount changes the options of a mount, on both of its sides. What the host still has of mapped files is written before that may be
// forbidden.
func remount(dir, options string) error {
	_, own := splitHostOptions(options)
	flags, _, _ := xfstests.MountFlags([]string{own})
	if flags&unix.MS_RDONLY != 0 {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Syncfs(fd)
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	err := fuse.Remount(dir, own)
	if err == nil {
		err = unix.Mount("", dir, "", uintptr(flags&(hostFlags|unix.MS_RDONLY))|unix.MS_REMOUNT, "")
	}
	if err != nil {
		return fmt.Errorf("%s: cannot be remounted: %w", dir, err)
	}
	return nil
}

// hostOptions are options of a mount that speak of its host's side, as FUSE file systems have them.
type hostOptions struct {
	fsname, subtype string
	allowOther      bool
}

// splitHostOptions takes them out of a list, and with them what mount(8) passes on from its tables but is for nobody here.
func splitHostOptions(options string) (h hostOptions, own string) {
	var rest []string
	for o := range strings.SplitSeq(options, ",") {
		switch name, value, _ := strings.Cut(o, "="); name {
		case "fsname":
			h.fsname = value
		case "subtype":
			h.subtype = value
		case "allow_other":
			h.allowOther = true
		case "default_permissions", "user_id", "group_id", "rootmode", "fd", "max_read", "blksize", "user", "users", "owner", "group", "_netdev", "helper", "uhelper":
		default:
			rest = append(rest, o)
		}
	}
	return h, strings.Join(rest, ",")
}

// readyVariable names the descriptor on which a mount in the background tells that it is there.
const readyVariable = "KTEST_MOUNT_READY"

// inBackground runs `ktest mount ARGS` as a process of its own, and returns when it has mounted or failed.
func inBackground(args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	cmd := exec.Command(self, append([]string{"mount"}, args...)...)
	cmd.Args[0] = "ktest"
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.ExtraFiles = []*os.File{tell}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return err
	}
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return cmd.Process.Release()
	}
	if err := cmd.Wait(); cmd.ProcessState == nil {
		return err
	}
	return exitStatus(max(cmd.ProcessState.ExitCode(), 1))
}

// background is the process that inBackground has started; nil is one in the foreground.
type background struct{ tell *os.File }

func newBackground() *background {
	if os.Getenv(readyVariable) == "" {
		return nil
	}
	os.Unsetenv(readyVariable)
	unix.CloseOnExec(3)
	return &background{tell: os.NewFile(3, "ready")}
}

// mounted lets the caller of inBackground go, and with him his terminal and his directory. From now on what there is to say goes where
// a file system of the kernel says it.
func (b *background) mounted() error {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	log, err := unix.Open("/dev/kmsg", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		log = null // a user's mount, or a container
	}
	for fd, to := range []int{null, null, log} {
		if err := unix.Dup3(to, fd, 0); err != nil {
			return err
		}
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if _, err := b.tell.Write([]byte{'\n'}); err != nil {
		return err
	}
	return b.tell.Close()
}

// console prints the machine's log on stderr, line by line, from when it is switched on.
type console struct{ on atomic.Bool }

var _ io.Writer = (*console)(nil)

func (c *console) Write(text []byte) (int, error) {
	if c.on.Load() {
		for line := range bytes.Lines(text) {
			os.Stderr.Write(line) // one record each in /dev/kmsg
		}
	}
	return len(text), nil
}

// absolute makes paths independent of the working directory.
func absolute(paths ...*string) error {
	for _, p := range paths {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}
