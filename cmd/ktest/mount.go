// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/vfs/fuse"
	xfstests "kbtrfs/xfstests-lite"
)

var mountCommand = &command{
	name:  "mount",
	usage: "[-o OPTIONS] [--dmesg] [--cache SIZE] [--revert SLUG] IMAGE|DEVICE DIR",
	short: "mount an image for all programs (FUSE), in the foreground until it is unmounted",
	run:   runMount,
}

func runMount(ctx context.Context, c *command, args []string) (err error) {
	f := c.flags()
	options := f.String("o", "", "mount `OPTIONS`, such as ro,noatime,compress=zstd")
	dmesg := f.Bool("dmesg", false, "print the log of the file system on stderr as it goes")
	cache := f.String("cache", "", "let the page cache grow to `SIZE` (default 256m)")
	revert := f.String("revert", "", "take back the historical commits `SLUG[=VARIANT],...`")
	operands, err := c.parse(f, args)
	if err != nil {
		return err
	}
	if len(operands) != 2 {
		return usagef("an IMAGE or DEVICE and a DIR, please")
	}
	source, dir := operands[0], operands[1]
	var limit uint64
	if *cache != "" {
		if limit, err = parseBytes(*cache); err != nil {
			return usageError{err}
		}
	}
	flags, _, data := xfstests.MountFlags([]string{*options})

	var console io.Writer
	if *dmesg {
		console = os.Stderr
	}
	k := kernel.New(kernel.Options{Console: console, Params: map[string]string{"btrfs.revert": *revert}})
	dev, err := openDevice(k, source, blockdev.LoopOptions{ReadOnly: flags&unix.MS_RDONLY != 0, Exclusive: true})
	if err != nil {
		return err
	}
	v := vfs.New(k, mm.Options{LimitBytes: int64(limit)})
	if err := v.RegisterFilesystem(btrfs.Type); err != nil {
		dev.Close()
		return err
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: source, Dev: dev}, flags, data); err != nil {
		dev.Close()
		return xfstests.MountError(k, "btrfs", source, err)
	}
	server, err := fuse.Mount(v, dir, fuse.Options{Source: source, ReadOnly: flags&unix.MS_RDONLY != 0,
		Flags: uintptr(flags & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_DIRSYNC | unix.MS_SYNCHRONOUS))})
	if err != nil {
		return errors.Join(err, v.Shutdown())
	}
	fmt.Printf("%s mounted on %s\n", source, dir)
	served := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
			leave(server, dir)
		case <-served:
		}
	}()
	server.Serve()
	close(served)
	if err := v.Shutdown(); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	if lost := xfstests.LostWrites(k); lost != "" {
		return fmt.Errorf("%s: the last changes are lost: %s", source, lost)
	}
	for _, w := range k.Warnings() {
		first, _, _ := strings.Cut(w, "\n")
		fmt.Fprintf(os.Stderr, "ktest mount: WARNING: %s\n", first)
		err = errFound
	}
	return err
}

// leave unmounts, and where somebody still is in the mount takes it out of sight until he has left.
func leave(server *fuse.Server, dir string) {
	err := server.Unmount()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "ktest mount: %s: %v; it ends when the last program has left it\n", dir, err)
	if err := server.Detach(); err != nil {
		fmt.Fprintf(os.Stderr, "ktest mount: %s: %v\n", dir, err)
	}
}
