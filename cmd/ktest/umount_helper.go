// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

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
	source, dir, err := findMount(what)
	if err == nil {
		err = unix.Unmount(dir, flags)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s: %v\n", name, what, err)
		return mountFailed
	}
	if !*lazy {
		awaitServer(source)
	}
	return 0
}

// awaitServer returns when no mount has the device any more: a server keeps it locked until it has flushed it. What cannot be opened, such
// as an fsname that was made up, is not waited for.
func awaitServer(source string) {
	fd, err := openUninterrupted(source)
	if err != nil {
		return
	}
	for unix.Flock(fd, unix.LOCK_SH) == unix.EINTR {
	}
	unix.Close(fd)
}

func openUninterrupted(path string) (int, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// findMount finds the mount on a directory, or of a source, that is on top.
func findMount(what string) (source, dir string, err error) {
	table, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", "", err
	}
	abs := what
	if err := absolute(&abs); err != nil {
		return "", "", err
	}
	err = errors.New("not mounted")
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		from, at := unescapeMount(f[0]), unescapeMount(f[1])
		if at == abs || from == what {
			source, dir, err = from, at, nil
		}
	}
	return source, dir, err
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
