// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

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
	usage: "[-o OPTIONS] [--background] [--dmesg] [--cache SIZE] [--log FILE] [--timeout TIME] [--revert SLUG] IMAGE|DEVICE DIR",
	short: "mount an image for all programs (FUSE), in the foreground until it is unmounted",
	run:   runMount,
}

func runMount(ctx context.Context, c *command, args []string) (err error) {
	f := c.flags()
	options := f.String("o", "", "mount `OPTIONS`, such as ro,noatime,compress=zstd")
	dmesg := f.Bool("dmesg", false, "print the log of the file system on stderr as it goes")
	inBack := f.Bool("background", false, "return when the mount is there; it is served in the background, and its log goes to the kernel's (dmesg)")
	cache := f.String("cache", "", "let the page cache grow to `SIZE` (default 256m)")
	logFile := f.String("log", "", "keep a log of all writes in `FILE`, in the format of dm-log-writes")
	patience := f.Duration("timeout", 2*time.Minute, "give the mount up when its device has not answered for `TIME`: all programs get errors")
	var revert string
	revertFlag(f, &revert, "")
	operands, err := c.parse(f, args)
	if err != nil {
		return err
	}
	if len(operands) != 2 {
		return usagef("an IMAGE or DEVICE and a DIR, please")
	}
	if *inBack {
		return inBackground(slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--background" || a == "-background" })...)
	}
	source, dir := operands[0], operands[1]
	var limit uint64
	if *cache != "" {
		if limit, err = parseBytes(*cache); err != nil {
			return usageError{err}
		}
	}
	host, own := splitHostOptions(*options)
	flags, _, data := xfstests.MountFlags([]string{own})
	behind := newBackground()
	if err := absolute(&dir); err != nil {
		return err
	}

	var log console
	log.on.Store(*dmesg)
	k := kernel.New(kernel.Options{Console: &log, Params: map[string]string{"btrfs.revert": revert}})
	dev, err := openFree(k, source, blockdev.LoopOptions{ReadOnly: flags&unix.MS_RDONLY != 0, Exclusive: true}, behind != nil)
	if err != nil {
		return err
	}
	var below blockdev.Device = dev
	if *logFile != "" {
		log := blockdev.NewLogWrites(k, dev)
		finish, err := keepLog(log, *logFile)
		if err != nil {
			dev.Close()
			return err
		}
		below = log
		defer func() { err = cmp.Or(err, finish()) }()
	}
	v := vfs.New(k, mm.Options{LimitBytes: int64(limit)})
	if err := v.RegisterFilesystem(btrfs.Type); err != nil {
		dev.Close()
		return err
	}
	if err := v.MountRoot("btrfs", vfs.Source{Name: source, Dev: below}, flags, data); err != nil {
		dev.Close()
		return xfstests.MountError(k, "btrfs", source, err)
	}
	server, err := fuse.Mount(v, dir, fuse.Options{Source: cmp.Or(host.fsname, source), Subtype: host.subtype, AllowOther: host.allowOther,
		ReadOnly: flags&unix.MS_RDONLY != 0, Flags: uintptr(flags & hostFlags),
		Remount: func(options string) error {
			flags, _, data := xfstests.MountFlags([]string{options})
			p := v.NewProcess(*vfs.RootCred)
			defer p.Exit()
			return p.Mount("", "/", "", flags|unix.MS_REMOUNT, data)
		}})
	if err != nil {
		return errors.Join(err, v.Shutdown())
	}
	release := holdOff(dev, server)
	fmt.Printf("%s mounted on %s\n", source, dir)
	if behind != nil {
		if err := behind.mounted(); err != nil {
			fmt.Fprintf(os.Stderr, "ktest mount: %s: %v\n", dir, err)
		}
		log.on.Store(true)
	}
	err = serveMount(ctx, server, v, dev, dir, *patience)
	release()
	if err != nil {
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

// serveMount answers the host until the mount has gone and everything is written. When ctx is cancelled it unmounts.
func serveMount(ctx context.Context, server *fuse.Server, v *vfs.VFS, dev *blockdev.Loop, dir string, patience time.Duration) error {
	served, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		server.Serve()
		close(served)
		dev.Lease(true)
		ended <- v.Shutdown()
	}()
	go func() {
		select {
		case <-ctx.Done():
			leave(server, dir)
		case <-served:
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-hung(dev, patience):
		// What waits for the device can neither go on nor be ended: the programs are let go, and this process ends without it.
		server.Abort()
		return fmt.Errorf("the device does not answer for %v; what was not synced is lost", patience)
	}
}

// hostFlags are the mount flags that the host itself heeds.
const hostFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_DIRSYNC | unix.MS_SYNCHRONOUS

// hung tells when a device has had work for that long and done nothing of it. Time in which this process does not run either does not count.
func hung(dev *blockdev.Loop, patience time.Duration) <-chan struct{} {
	tell := make(chan struct{})
	go func() {
		const ticks = 16
		last := int64(-1)
		for idle := 0; idle < ticks; time.Sleep(patience / ticks) {
			if inflight, done := dev.Progress(); inflight == 0 || done != last {
				idle, last = 0, done
			} else {
				idle++
			}
		}
		close(tell)
	}()
	return tell
}

// keepLog moves what a log holds to a file, again and again, until finish is called.
func keepLog(log *blockdev.LogWrites, name string) (finish func() error, err error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	w, err := blockdev.NewDMLogWriter(file)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		var err error
		for last := false; ; {
			if entries := log.Drain(); err == nil && len(entries) > 0 {
				if err = w.Append(entries); err == nil {
					err = w.Flush()
				}
			}
			if last {
				stopped <- err
				return
			}
			select {
			case <-tick.C:
			case <-stop:
				last = true
			}
		}
	}()
	return func() error {
		close(stop)
		if err := errors.Join(<-stopped, file.Close()); err != nil {
			return fmt.Errorf("the log is not complete: %s: %w", name, err)
		}
		return nil
	}, nil
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
