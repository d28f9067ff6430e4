// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// umountPrefix: linked under a name like umount.fuse.ktest in /sbin, ktest is what umount(8) runs for a mount of that type.
const umountPrefix = "umount."

// umountHelper unmounts as umount(8) wants it: DIR|SOURCE [-flnrv] [-N NAMESPACE] [-t TYPE]. Unlike umount(2) it returns when the server has
// written everything and let go of its device.
func umountHelper(name string, args []string) int {
	c := &command{name: "umount", usage: "DIR|SOURCE [-flnrv]", short: "helper of umount(8)"}
	f := c.flags()
	force, lazy := f.Bool("f", false, "abort what is going on"), f.Bool("l", false, "take the mount out of sight, and do not wait")
	for _, flag := range []string{"n", "r", "v"} {
		f.Bool(flag, false, "ignored")
	}
	for _, flag := range []string{"N", "t"} {
		f.String(flag, "", "ignored")
	}
	operands, err := c.parse(f, args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var what string
	if err == nil {
		what, err = one(operands, "a DIR or SOURCE")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	flags := unix.UMOUNT_NOFOLLOW
	if *force {
		flags |= unix.MNT_FORCE
	}
	if *lazy {
		flags |= unix.MNT_DETACH
	}
	m, err := findMount(what)
	if err == nil {
		err = unix.Unmount(m.dir, flags)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s: %v\n", name, what, err)
		return mountFailed
	}
	if !*lazy && !m.alive() {
		awaitServer(m.source)
	}
	return 0
}

// awaitServer returns when no mount has the device any more: a server keeps it locked until it has flushed it. What cannot be opened, such
// as an fsname that was made up, is not waited for. Of a block device the lock goes first and the claim (O_EXCL) last: what the host's
// cache has of it is written in between, and mkfs or fsck would find it busy.
func awaitServer(source string) {
	fd, err := openUninterrupted(source, 0)
	if err != nil {
		return
	}
	for unix.Flock(fd, unix.LOCK_SH) == unix.EINTR {
	}
	unix.Close(fd)
	if !isBlock(source) {
		return
	}
	for waited := time.Duration(0); waited < claimPatience; waited += claimPause {
		if fd, err = openUninterrupted(source, unix.O_EXCL); err != unix.EBUSY {
			unix.Close(fd)
			return
		}
		time.Sleep(claimPause)
	}
}

func openUninterrupted(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// hostMount is a line of the host's table of mounts.
type hostMount struct{ source, dir, device string }

// hostMounts reads the table: 36 35 0:98 / DIR OPTIONS... - TYPE SOURCE OPTIONS
func hostMounts() ([]hostMount, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var mounts []hostMount
	for line := range strings.Lines(string(table)) {
		here, fs, _ := strings.Cut(line, " - ")
		h, f := strings.Fields(here), strings.Fields(fs)
		if len(h) >= 5 && len(f) >= 2 {
			mounts = append(mounts, hostMount{source: unescapeMount(f[1]), dir: unescapeMount(h[4]), device: h[2]})
		}
	}
	return mounts, nil
}

// findMount finds the mount on a directory, or of a source, that is on top.
func findMount(what string) (found hostMount, err error) {
	mounts, err := hostMounts()
	if err != nil {
		return found, err
	}
	abs := what
	if err := absolute(&abs); err != nil {
		return found, err
	}
	err = errors.New("not mounted")
	for _, m := range mounts {
		if m.dir == abs || m.source == what {
			found, err = m, nil
		}
	}
	return found, err
}

// alive tells whether the file system of a mount that was unmounted still is mounted elsewhere: as a bind mount, or in another namespace,
// as far as the host tells.
func (m hostMount) alive() bool {
	mounts, err := hostMounts()
	if err != nil {
		return true
	}
	_, minor, _ := strings.Cut(m.device, ":")
	if _, err := os.Stat("/sys/fs/fuse/connections/" + minor); err == nil {
		return true
	}
	return slices.ContainsFunc(mounts, func(other hostMount) bool { return other.device == m.device })
}

// unescapeMount undoes the octal escapes of the host's table.
func unescapeMount(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if len(rest) >= 3 {
			if n, err := strconv.ParseUint(rest[:3], 8, 8); err == nil {
				b.WriteByte(byte(n))
				s = rest[3:]
				continue
			}
		}
		b.WriteByte('\\')
		s = rest
	}
}
