// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// needTools skips, or fails where oracles are required, without root, /dev/fuse and the programs named.
func needTools(t testing.TB, programs ...string) {
	t.Helper()
	missing := ""
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err == nil {
		f.Close()
	} else {
		missing = "/dev/fuse"
	}
	if os.Geteuid() != 0 {
		missing = "root"
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = p
		}
	}
	if missing != "" {
		oracle.Lack(t, missing+" is missing")
	}
}

// mountedImage is an image that a process of its own serves.
type mountedImage struct {
	t        testing.TB
	img, dir string
	cmd      *exec.Cmd
	stderr   bytes.Buffer
	gone     bool
}

// mountImage runs `ktest mount` and waits until the mount is there.
func mountImage(t testing.TB, img string, args ...string) *mountedImage {
	t.Helper()
	m := &mountedImage{t: t, img: img, dir: t.TempDir()}
	m.cmd = ktestCommand(append(append([]string{"mount"}, args...), img, m.dir)...)
	m.cmd.Stderr = &m.stderr
	out, err := m.cmd.StdoutPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.kill)
	if line, _ := bufio.NewReader(out).ReadString('\n'); !strings.Contains(line, "mounted on") {
		m.cmd.Wait()
		t.Fatalf("mount: %s%s", line, m.stderr.String())
	}
	return m
}

// kill is what a power cut does to the server.
func (m *mountedImage) kill() {
	if m.gone {
		return
	}
	m.gone = true
	m.cmd.Process.Kill()
	m.cmd.Wait()
	unix.Unmount(m.dir, unix.MNT_DETACH)
}

// umount unmounts as umount(8) does and wants the server to end well.
func (m *mountedImage) umount() {
	m.t.Helper()
	if err := unix.Unmount(m.dir, 0); err != nil {
		m.t.Fatalf("umount: %v", err)
	}
	m.ended()
}

func (m *mountedImage) ended() {
	m.t.Helper()
	m.gone = true
	if err := m.cmd.Wait(); err != nil || m.stderr.Len() > 0 {
		m.t.Fatalf("ktest mount: %v: %s", err, m.stderr.String())
	}
}

// kernelMount mounts an image by the kernel's btrfs for fn.
func kernelMount(t testing.TB, img string, fn func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop", img, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer exec.Command("umount", dir).Run()
	fn(dir)
}

func must(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// TestMount has programs of the host work in a mount: copies, links, renames, holes, a mapping, O_DIRECT, attributes, a file that is
// removed while it is open. Afterwards btrfs check is content, and the kernel reads the same.
func TestMount(t *testing.T) {
	needTools(t, "btrfs", "xfs_io", "setfattr", "cp", "diff")
	work := t.TempDir()
	img := filepath.Join(work, "fs.img")
	if _, errs, status := ktest("mkfs", "-b", "512M", img); status != 0 {
		t.Fatal(errs)
	}
	base, log := filepath.Join(work, "base.img"), filepath.Join(work, "log")
	must(t, "cp", "--sparse=always", img, base)
	m := mountImage(t, img, "--log", log)
	at := func(name string) string { return filepath.Join(m.dir, name) }
	for _, script := range []string{
		"cp -r ../../btrfs $D/src && diff -r ../../btrfs $D/src",
		"mkdir $D/d && ln $D/src/ctree.go $D/d/hard && ln -s ../src/ctree.go $D/d/soft && cmp $D/d/hard $D/d/soft",
		"test $(stat -c %i $D/d/hard) = $(stat -c %i $D/src/ctree.go) && test $(stat -c %h $D/d/hard) = 2",
		"mv $D/src $D/moved && cat $D/moved/ctree.go | cmp - $D/d/hard && rm $D/moved/ctree.go && test $(stat -c %h $D/d/hard) = 1",
		"xfs_io -f -c 'pwrite -S 1 0 1m' -c 'fpunch 64k 128k' -c 'falloc 2m 1m' -c 'truncate 5m' $D/holes",
		"xfs_io -f -c 'pwrite -S 2 0 256k' -c 'mmap 0 256k' -c 'mwrite -S 3 4096 10000' -c 'msync -s' -c 'fsync' $D/mapped",
		"xfs_io -f -d -c 'pwrite -S 4 -b 32k 0 1m' $D/direct && xfs_io -d -c 'pread -b 32k 0 1m' $D/direct",
		"! xfs_io -d -c 'pwrite 100 512' $D/direct 2>/dev/null | grep -q wrote || true",
		"setfattr -n user.a -v b $D/direct && getfattr -n user.a --only-values $D/direct | grep -qx b",
		"chmod 4751 $D/direct && chown 1000:1001 $D/d && touch -d 2001-02-03T04:05:06.789 $D/direct",
		"mkfifo $D/fifo && mknod $D/null c 1 3 && chattr +C $D/d && lsattr -d $D/d | grep -q C",
		"seq 1 2000 | while read i; do echo $i >> $D/append; done; test $(wc -l < $D/append) = 2000",
		"mkdir $D/many && (cd $D/many && seq 1 1500 | xargs touch) && test $(ls $D/many | wc -l) = 1500 && ls -l $D/many | tail -1",
	} {
		if out, err := exec.Command("bash", "-ec", strings.ReplaceAll(script, "$D", m.dir)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	f, err := os.Create(at("unlinked"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("still there")
	os.Remove(at("unlinked"))
	buf := make([]byte, 100)
	if n, err := f.ReadAt(buf, 0); string(buf[:n]) != "still there" {
		t.Errorf("an unlinked file: %q, %v", buf[:n], err)
	}
	f.Close()
	// Permissions are the caller's.
	os.Chmod(filepath.Dir(m.dir), 0o755)
	asNobody := func(script string) error {
		cmd := exec.Command("bash", "-ec", script)
		cmd.Dir = m.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd.Run()
	}
	os.WriteFile(at("secret"), nil, 0o600)
	os.WriteFile(at("open"), nil, 0o644)
	if asNobody("cat open") != nil || asNobody("cat secret") == nil || asNobody("echo > open") == nil || asNobody("> mine") == nil {
		t.Error("nobody may do other things than he should")
	}
	// Who writes to a setuid file makes it an ordinary one.
	os.WriteFile(at("setuid"), nil, 0o666)
	os.Chmod(at("setuid"), 0o777|os.ModeSetuid)
	if err := asNobody("echo x >> setuid"); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(at("setuid")); err != nil || st.Mode() != 0o777 {
		t.Errorf("a setuid file that nobody wrote to: %v %v", st.Mode(), err)
	}
	os.Chmod(at("setuid"), 0o777|os.ModeSetuid)
	os.WriteFile(at("setuid"), []byte("root"), 0)
	if st, err := os.Stat(at("setuid")); err != nil || st.Mode() != 0o777|os.ModeSetuid {
		t.Errorf("a setuid file that root wrote to: %v %v", st.Mode(), err)
	}
	// All flags of renameat2.
	os.WriteFile(at("moves"), []byte("moves"), 0o600)
	for _, flags := range []uint{unix.RENAME_NOREPLACE, unix.RENAME_WHITEOUT, unix.RENAME_EXCHANGE} {
		if err := unix.Renameat2(unix.AT_FDCWD, at("moves"), unix.AT_FDCWD, at("white"), flags); err != nil {
			t.Errorf("renameat2 %d: %v", flags, err)
		}
		if flags == unix.RENAME_NOREPLACE {
			os.Rename(at("white"), at("moves"))
		}
	}
	var white unix.Stat_t
	if err := unix.Lstat(at("white"), &white); err != nil || white.Mode != unix.S_IFCHR || white.Rdev != 0 {
		t.Errorf("a whiteout: %v, mode %o", err, white.Mode)
	}
	// What the kernel shall see.
	copied := filepath.Join(work, "copy")
	must(t, "cp", "-a", m.dir, copied)
	m.umount()

	must(t, "btrfs", "check", "--check-data-csum", img)
	// Its crash states are good, and the log leads from the image before to the one after.
	if out, errs, status := ktest("crash", "--log", log, base); status != 0 || !strings.Contains(out, " 0 findings") {
		t.Errorf("ktest crash --log: %d %s%s", status, out, errs)
	} else {
		t.Log(strings.TrimSpace(out))
	}
	k := kernel.New(kernel.Options{})
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := blockdev.ParseDMLog(raw)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := openDevice(k, base, blockdev.LoopOptions{})
	if err == nil {
		err = blockdev.Replay(k, dev, entries)
	}
	if err != nil {
		t.Fatal(err)
	}
	dev.Close()
	must(t, "cmp", base, img)
	kernelMount(t, img, func(dir string) {
		must(t, "diff", "-r", "--no-dereference", "--exclude=fifo", "--exclude=null", "--exclude=white", copied, dir)
		var a, b unix.Stat_t
		for _, name := range []string{"direct", "d", "fifo", "null", "white", "moves", "holes", "d/hard"} {
			if unix.Lstat(filepath.Join(copied, name), &a) != nil || unix.Lstat(filepath.Join(dir, name), &b) != nil {
				t.Errorf("%s is not there", name)
			} else if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Rdev != b.Rdev || a.Mtim != b.Mtim {
				t.Errorf("%s: %+v here, %+v there", name, a, b)
			}
		}
	})
}

// TestMountLeave: SIGINT unmounts; while somebody is in the mount it is taken out of sight and ends with him. Read-only means it.
func TestMountLeave(t *testing.T) {
	needTools(t)
	img := makeImage(t, t.TempDir())
	m := mountImage(t, img)
	if _, errs, status := ktest("mount", img, t.TempDir()); status != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("a second mount: %d %s", status, errs)
	}
	m.cmd.Process.Signal(unix.SIGINT)
	m.ended()

	m = mountImage(t, img)
	f, err := os.Create(filepath.Join(m.dir, "late"))
	if err != nil {
		t.Fatal(err)
	}
	m.cmd.Process.Signal(unix.SIGTERM)
	for i := 0; ; i++ { // until it has gone out of sight
		if entries, _ := os.ReadDir(m.dir); len(entries) == 0 {
			break
		}
		if i > 1000 {
			t.Fatal("still mounted after SIGTERM")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if _, err := f.WriteString("written after the signal"); err != nil {
		t.Error(err)
	}
	f.Close()
	m.gone = true
	if err := m.cmd.Wait(); err != nil || !strings.Contains(m.stderr.String(), "ends when the last program has left it") {
		t.Errorf("%v: %s", err, m.stderr.String())
	}

	m = mountImage(t, img, "-o", "ro")
	if got, err := os.ReadFile(filepath.Join(m.dir, "late")); string(got) != "written after the signal" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "new"), nil, 0o644); err == nil {
		t.Error("a file was made on a read-only mount")
	}
	m.umount()
}

// TestMountKilled kills the server at random moments of a run of sysbench (8 threads, 32 KiB, direct, compressed), beside which clients
// write records and fsync them. The image is clean here and in the kernel, and every record whose fsync returned is there.
// (KTEST_SEEDS: how many kills.) Mutation: Fsync that only says yes.
func TestMountKilled(t *testing.T) {
	needTools(t, "btrfs")
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("KTEST_SEEDS")); err == nil {
		rounds = n
	}
	img := filepath.Join(t.TempDir(), "fs.img")
	if _, errs, status := ktest("mkfs", "-b", "1G", img); status != 0 {
		t.Fatal(errs)
	}
	_, err := exec.LookPath("sysbench")
	bench := func(dir, what string) *exec.Cmd {
		cmd := exec.Command("sysbench", "fileio", "--threads=8", "--file-num=16", "--file-total-size=128M", "--file-block-size=32K", "--file-io-mode=sync",
			"--file-test-mode=rndwr", "--file-fsync-freq=0", "--file-fsync-end=off", "--file-extra-flags=direct", "--time=0", "--events=300000", what)
		cmd.Dir = dir
		return cmd
	}
	if err != nil {
		t.Log("no sysbench: the clients are alone")
	} else {
		m := mountImage(t, img, "-o", "compress")
		if out, err := bench(m.dir, "prepare").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		m.umount()
	}
	const clients = 4
	for round := range rounds {
		m := mountImage(t, img, "-o", "compress")
		run := bench(m.dir, "run")
		if err == nil {
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
		}
		var synced [clients]int
		done := make(chan int)
		for c := range clients {
			go func() {
				synced[c] = appendRecords(filepath.Join(m.dir, fmt.Sprintf("r%d.%d", round, c)), c%2 == 1)
				done <- c
			}()
		}
		time.Sleep(time.Duration(20+rand.IntN(1000)) * time.Millisecond)
		m.kill()
		for range clients {
			<-done
		}
		if err == nil && run.Wait() == nil {
			t.Error("sysbench has not noticed that its files are gone")
		}
		must(t, "btrfs", "check", "--check-data-csum", img)
		if out, _, status := ktest("check", "--crashed", img); status != 0 {
			t.Fatal(out)
		}
		check := func(dir string) {
			for c, n := range synced {
				data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("r%d.%d", round, c)))
				if n > 0 && err != nil {
					t.Fatalf("round %d: client %d synced %d records: %v", round, c, n, err)
				}
				for i := range n {
					if len(data) < (i+1)*recordSize || binary.LittleEndian.Uint64(data[i*recordSize:]) != uint64(i) {
						t.Fatalf("round %d: client %d: record %d of %d synced ones is not there (%d bytes)", round, c, i, n, len(data))
					}
				}
			}
		}
		m = mountImage(t, img, "-o", "compress")
		check(m.dir)
		m.umount()
		kernelMount(t, img, check)
		t.Logf("round %d: records synced: %v", round, synced)
	}
}

const recordSize = 8192

// appendRecords appends records, each made durable before the next, until that fails; it returns how many were.
func appendRecords(name string, direct bool) int {
	flags := unix.O_CREAT | unix.O_RDWR | unix.O_CLOEXEC
	if direct {
		flags |= unix.O_DIRECT
	}
	fd, err := unix.Open(name, flags, 0o644)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	buf, err := unix.Mmap(-1, 0, recordSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 0
	}
	defer unix.Munmap(buf)
	for i := 0; ; i++ {
		binary.LittleEndian.PutUint64(buf, uint64(i))
		if n, err := unix.Pwrite(fd, buf, int64(i)*recordSize); n != recordSize || err != nil {
			return i
		}
		if unix.Fsync(fd) != nil {
			return i
		}
	}
}

// A directory comes to an end for who renames each file that he reads: what is newer than the opened directory is not shown (the bug of commit
// 9b378f6ad48c). Mutation: readdir seeks to where the host goes on.
func TestMountRenameWhileReading(t *testing.T) {
	img := filepath.Join(t.TempDir(), "fs.img")
	if _, errs, status := ktest("mkfs", "-b", "256M", img); status != 0 {
		t.Fatal(errs)
	}
	m := mountImage(t, img)
	const files = 1000
	for i := range files {
		if err := os.WriteFile(filepath.Join(m.dir, fmt.Sprintf("file%d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for list, err := dir.ReadDir(7); err == nil && seen <= 2*files; list, err = dir.ReadDir(7) {
		for _, e := range list {
			name, tmp := filepath.Join(m.dir, e.Name()), filepath.Join(m.dir, "tmp")
			if os.Rename(name, tmp) != nil || os.Rename(tmp, name) != nil {
				t.Fatalf("%s cannot be renamed", e.Name())
			}
			seen++
		}
	}
	dir.Close()
	if seen != files {
		t.Errorf("%d files were read, there are %d", seen, files)
	}
	m.umount()
}
