// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/vfs"
	"kbtrfs/vfs/memfs"
)

// machine is a machine with memfs as its root, and a process of root's. At the end everything must unmount without a warning.
func machine(t testing.TB, data string) (*vfs.VFS, *vfs.Process) {
	t.Helper()
	v, p := quietMachine(t, data)
	k := v.K
	t.Cleanup(func() {
		p.Exit()
		if err := v.Shutdown(); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		for _, w := range k.Warnings() {
			t.Errorf("warning: %s", w)
		}
	})
	return v, p
}

// quietMachine is machine without the end.
func quietMachine(t testing.TB, data ...string) (*vfs.VFS, *vfs.Process) {
	k := kernel.New(kernel.Options{})
	v := vfs.New(k, mm.Options{})
	must(t, v.RegisterFilesystem(memfs.Type))
	must(t, v.MountRoot("memfs", vfs.Source{Name: "root"}, 0, strings.Join(data, ",")))
	return v, v.NewProcess(vfs.Cred{})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func want(t testing.TB, err, want error) {
	t.Helper()
	if err != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

func open(t testing.TB, p *vfs.Process, name string, flags int) int {
	t.Helper()
	fd, err := p.Open(name, flags, 0o644)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	return fd
}

func TestBasics(t *testing.T) {
	_, p := machine(t, "")
	must(t, p.Mkdir("/d", 0o755))
	fd := open(t, p, "/d/f", unix.O_CREAT|unix.O_RDWR)
	n, err := p.Write(fd, []byte("hello"))
	if n != 5 || err != nil {
		t.Fatal(n, err)
	}
	must(t, p.Ftruncate(fd, 1<<20))
	_, err = p.Pwrite(fd, []byte("world"), 512<<10)
	must(t, err)
	pos, err := p.Lseek(fd, 4096, unix.SEEK_DATA)
	if pos != 512<<10 || err != nil {
		t.Errorf("SEEK_DATA: %d %v", pos, err)
	}
	pos, err = p.Lseek(fd, 0, unix.SEEK_HOLE)
	if pos != 4096 || err != nil {
		t.Errorf("SEEK_HOLE: %d %v", pos, err)
	}
	buf := make([]byte, 10)
	n, err = p.Pread(fd, buf, 512<<10)
	if n != 10 || err != nil || string(buf[:5]) != "world" || buf[5] != 0 {
		t.Errorf("pread: %d %v %q", n, err, buf)
	}
	must(t, p.Link("/d/f", "/d/g"))
	must(t, p.Symlink("g", "/d/s"))
	must(t, p.Rename("/d/s", "/s"))
	must(t, p.Rename("/s", "/d/s"))
	st, err := p.Stat("/d/s")
	must(t, err)
	if st.Size != 1<<20 || st.Nlink != 2 || st.Blocks != 16 || st.Ino != 258 {
		t.Errorf("stat: %+v", st)
	}
	st, err = p.Stat("/d")
	must(t, err)
	if st.Size != 6 {
		t.Errorf("directory size %d, want 6", st.Size)
	}
	dfd := open(t, p, "/d", unix.O_RDONLY|unix.O_DIRECTORY)
	ents, err := p.ReadDir(dfd)
	must(t, err)
	names := ""
	for _, e := range ents {
		names += e.Name + " "
	}
	if names != ". .. f g s " {
		t.Errorf("readdir: %q", names)
	}
	must(t, p.Unlink("/d/f"))
	must(t, p.Unlink("/d/g"))
	want(t, p.Rmdir("/d"), unix.ENOTEMPTY)
	must(t, p.Unlink("/d/s"))
	must(t, p.Rmdir("/d"))
	_, err = p.Stat("/d")
	want(t, err, unix.ENOENT)
	n, err = p.Pread(fd, buf, 0)
	if n != 10 || err != nil || string(buf[:5]) != "hello" {
		t.Errorf("read of an unlinked file: %d %v %q", n, err, buf)
	}
	must(t, p.Close(fd))
	want(t, p.Close(fd), unix.EBADF)
	if cwd, err := p.Getcwd(); cwd != "/" || err != nil {
		t.Errorf("getcwd: %q %v", cwd, err)
	}
}

func TestMounts(t *testing.T) {
	v, p := machine(t, "")
	must(t, p.Mkdir("/mnt", 0o755))
	must(t, p.Mount("a", "/mnt", "memfs", 0, ""))
	fd := open(t, p, "/mnt/f", unix.O_CREAT|unix.O_WRONLY)
	want(t, p.Umount("/mnt", 0), unix.EBUSY)
	want(t, p.Rmdir("/mnt"), unix.EBUSY)
	want(t, p.Rename("/mnt", "/other"), unix.EBUSY)
	want(t, p.Link("/mnt/f", "/f"), unix.EXDEV)
	want(t, p.Mount("a", "/mnt", "memfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""), unix.EBUSY)
	must(t, p.Close(fd))
	must(t, p.Mount("a", "/mnt", "memfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	want(t, p.Mkdir("/mnt/d", 0o755), unix.EROFS)
	want(t, p.Unlink("/mnt/f"), unix.EROFS)
	_, err := p.Open("/mnt/f", unix.O_WRONLY, 0)
	want(t, err, unix.EROFS)
	_, err = p.Open("/mnt/f", unix.O_RDONLY|unix.O_TRUNC, 0)
	want(t, err, unix.EROFS)
	_, err = p.Open("/mnt/new", unix.O_CREAT, 0)
	want(t, err, unix.EROFS)
	want(t, p.Mkdir("/mnt/f", 0o755), unix.EEXIST)
	must(t, p.Mount("a", "/mnt", "memfs", unix.MS_REMOUNT, ""))

	// Unlinked and open keeps it from going read-only.
	fd = open(t, p, "/mnt/u", unix.O_CREAT|unix.O_RDONLY)
	must(t, p.Unlink("/mnt/u"))
	want(t, p.Mount("a", "/mnt", "memfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""), unix.EBUSY)
	must(t, p.Close(fd))

	// Stacked, bound, from inside.
	must(t, p.Mkdir("/mnt/sub", 0o755))
	must(t, p.Mount("b", "/mnt", "memfs", 0, ""))
	_, err = p.Stat("/mnt/f")
	want(t, err, unix.ENOENT)
	must(t, p.Umount("/mnt", 0))
	must(t, p.Mkdir("/bind", 0o755))
	must(t, p.Mount("/mnt/sub", "/bind", "", unix.MS_BIND, ""))
	must(t, p.Mkdir("/bind/x", 0o755))
	_, err = p.Stat("/mnt/sub/x")
	must(t, err)
	must(t, p.Chdir("/bind/x"))
	if cwd, _ := p.Getcwd(); cwd != "/bind/x" {
		t.Errorf("getcwd %q", cwd)
	}
	must(t, p.Chdir("../.."))
	if cwd, _ := p.Getcwd(); cwd != "/" {
		t.Errorf("getcwd %q", cwd)
	}
	must(t, p.Umount("/bind", 0))

	// A child mount keeps its parent busy; a lazy umount takes both and the file stays usable.
	must(t, p.Mount("c", "/mnt/sub", "memfs", 0, ""))
	want(t, p.Umount("/mnt", 0), unix.EBUSY)
	fd = open(t, p, "/mnt/sub/file", unix.O_CREAT|unix.O_RDWR)
	must(t, p.Umount("/mnt", unix.MNT_DETACH))
	_, err = p.Stat("/mnt/sub")
	want(t, err, unix.ENOENT)
	_, err = p.Write(fd, []byte("x"))
	must(t, err)
	must(t, p.Close(fd))
	want(t, p.Umount("/mnt", 0), unix.EINVAL)
	want(t, p.Mount("c", "/mnt", "nofs", 0, ""), unix.ENODEV)
	want(t, p.Mount("c", "/nowhere", "memfs", 0, ""), unix.ENOENT)
	if got := len(p.Mounts()); got != 1 {
		t.Errorf("%d mounts, want 1", got)
	}
	user := v.NewProcess(vfs.Cred{Uid: 1, Gid: 1})
	defer user.Exit()
	want(t, user.Mount("c", "/mnt", "memfs", 0, ""), unix.EPERM)
}

// TestObtainRoot: a directory that is known without a name gets its name when somebody looks it up, and keeps its dentry.
func TestObtainRoot(t *testing.T) {
	v, p := machine(t, "")
	must(t, p.Mkdir("/d", 0o755))
	must(t, p.Mkdir("/d/e", 0o755))
	fd := open(t, p, "/d", unix.O_RDONLY)
	file := p.File(fd)
	inode, sb := file.Inode, file.Inode.Sb
	inode.Ihold()
	file.Put()
	must(t, p.Close(fd))
	sb.Root.ShrinkDcacheParent()
	if alias := inode.DFindAlias(); alias != nil {
		t.Fatalf("%q is still cached", alias.DName())
	}
	root := inode.DObtainRoot()
	if !root.IsRoot() || root.DInode() != inode {
		t.Fatal("not a root")
	}
	_, err := p.Stat("/d/e")
	must(t, err)
	if root.IsRoot() || root.DName() != "d" || root.DParent() != sb.Root {
		t.Errorf("the dentry is %q below %q", root.DName(), root.DParent().DName())
	}
	for _, bad := range v.CheckDcache() {
		t.Error(bad)
	}
	root.Dput()
	must(t, p.Rmdir("/d/e"))
	must(t, p.Rmdir("/d"))
}
