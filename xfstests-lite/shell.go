// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
	"kbtrfs/xfstests-lite/bash"
)

// ShellOptions describe a shell inside an image.
type ShellOptions struct {
	Kind         *FSKind
	Image        string
	MountOptions string // "ro,noatime"
	Name         string // $0
	Script       string // text to run; with Interactive, commands come from Stdin
	Args         []string
	Interactive  bool
	Stdin        *os.File
	Stdout       *os.File
	Stderr       *os.File
}

// Shell mounts an image on a machine of its own at $SCRATCH_MNT and runs a shell beside it. It returns the shell's
// exit status; an error when the image could not be mounted, or not be unmounted in order.
func Shell(ctx context.Context, o ShellOptions) (status int, err error) {
	dir, err := os.MkdirTemp("", "ktest-sh-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	wd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	m := NewMachine(MachineOptions{Kind: o.Kind})
	m.prefixes = []string{ScratchMnt}
	flags, _, data := MountFlags([]string{o.MountOptions})
	s := newSession(ctx, m, dir)
	err = m.Run(func() error {
		readOnly := flags&unix.MS_RDONLY != 0
		if err := m.AddLoop(ScratchDev, o.Image, blockdev.LoopOptions{ReadOnly: readOnly, Exclusive: true}); err != nil {
			return fmt.Errorf("%s: %s", o.Image, openText(err))
		}
		if err := m.Mount(m.root, ScratchDev, ScratchMnt, m.Kind.Name, flags, data); err != nil {
			return MountError(m.K, m.Kind.Name, o.Image, err)
		}
		proc := s.newProc()
		sh := bash.New(bash.Options{World: proc, Dir: wd, Name: o.Name, Args: o.Args, Cache: s.cache, Ctx: s.ctx,
			Env:   append(os.Environ(), "SCRATCH_MNT="+ScratchMnt, "SCRATCH_DEV="+ScratchDev, "FSTYP="+m.Kind.Name),
			Stdin: keep{hostFile{o.Stdin}}, Stdout: keep{hostFile{o.Stdout}}, Stderr: keep{hostFile{o.Stderr}}})
		if o.Interactive {
			status = sh.Interactive(o.Stdin, func(more bool) {
				prompt := "ktest:" + sh.Dir + "# "
				if more {
					prompt = "> "
				}
				io.WriteString(o.Stderr, prompt)
			})
		} else {
			status = sh.Run(o.Name, o.Script)
		}
		sh.WaitJobs(context.Background(), ctx.Err() != nil)
		proc.Exit()
		return nil
	})
	if lost := LostWrites(m.K); lost != "" && err == nil {
		err = fmt.Errorf("%s: the last changes are lost: %s", o.Image, lost)
	}
	for _, w := range m.newWarnings() {
		first, _, _ := strings.Cut(w, "\n")
		err = errors.Join(err, errors.New("WARNING: "+first))
	}
	return status, err
}

// LostWrites tells from a machine's log whether the device or the file system gave up on writes; calls that do not report
// errors, such as sync(2), leave no other sign.
func LostWrites(k *kernel.Kernel) string {
	for _, l := range k.Dmesg() {
		if strings.Contains(l, "WRITE error at sector") || strings.Contains(l, "forced readonly") {
			return l
		}
	}
	return ""
}

// openText words what opening an image can say.
func openText(err error) string {
	switch err {
	case unix.EBUSY:
		return "in use by another ktest"
	case unix.ENOTBLK:
		return "neither a file nor a block device"
	}
	return errText(err)
}

// MountError words why an image cannot be mounted, with the first error that the file system has printed about it: those
// behind it follow from it, down to "open_ctree failed", which says nothing.
func MountError(k *kernel.Kernel, fstype, image string, err error) error {
	why := errText(err)
	if err == unix.EINVAL {
		why = "no " + fstype + " file system, or a bad mount option"
	}
	for _, line := range k.Dmesg() {
		if strings.Contains(line, "BTRFS error") && !strings.Contains(line, "open_ctree failed") {
			why += " (" + line + ")"
			break
		}
	}
	return fmt.Errorf("%s: cannot be mounted: %s", image, why)
}
