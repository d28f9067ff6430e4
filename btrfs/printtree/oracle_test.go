// SPDX-License-Identifier: GPL-2.0-or-later

package printtree

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/oracle"
)

// dump is our text of an image.
func dump(t testing.TB, path string, o Options) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.OpenReaderAt(f, uint64(st.Size()))
	if err != nil {
		t.Fatal(err)
	}
	var out, complaints bytes.Buffer
	o.Errors = &complaints
	if err := Print(img, &out, o); err != nil {
		t.Fatal(err)
	}
	if complaints.Len() > 0 {
		t.Errorf("complaints: %s", complaints.String())
	}
	return out.String()
}

// theirs is the text of btrfs-progs.
func theirs(t testing.TB, path string, args ...string) string {
	t.Helper()
	args = append([]string{"inspect-internal", "dump-tree"}, args...)
	out, err := exec.Command("btrfs", append(args, path)...).Output()
	if err != nil {
		t.Fatalf("btrfs %v: %v", args, err)
	}
	return string(out)
}

// same fails with the first line that differs.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			lo := max(0, i-6)
			t.Fatalf("%s: line %d differs\nours:\n%s\ntheirs:\n%s", what, i+1,
				strings.Join(g[lo:min(len(g), i+3)], "\n"), strings.Join(w[lo:min(len(w), i+3)], "\n"))
		}
	}
	t.Fatalf("%s: ours ends after %d of %d lines", what, len(g), len(w))
}

// compare compares the whole dump and that of single trees.
func compare(t *testing.T, path string) {
	t.Helper()
	all := dump(t, path, Options{})
	same(t, "all", all, theirs(t, path))
	for _, tree := range []string{"root", "chunk", "extent", "dev", "5", "csum", "uuid", "free_space", "DATA_RELOC", "256", "quota"} {
		id, err := ParseTree(tree)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "tree "+tree, dump(t, path, Options{Tree: id}), theirs(t, path, "-t", tree))
	}
}

func makeTheirs(t testing.TB, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	oracle.Run(t, "mkfs.btrfs", append(args, "-q", path)...)
	return path
}

func TestFreshImages(t *testing.T) {
	oracle.Need(t, oracle.Progs, oracle.Mkfs)
	for _, args := range []string{"", "-n 4k", "-n 64k -m single", "-R ^free-space-tree", "-O ^skinny-metadata,^no-holes", "-R quota", "-M", "--csum sha256", "-L name -d dup"} {
		t.Run(args, func(t *testing.T) {
			compare(t, makeTheirs(t, 512<<20, strings.Fields(args)...))
		})
	}
}

// must stops the test where the kernel refuses.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// populate makes the kernel write all sorts of items.
func populate(t *testing.T, dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, n int) {
		must(t, os.WriteFile(at(name), bytes.Repeat([]byte("some text that packs well\n"), n/26+1)[:n], 0o644))
	}
	write("inline", 100)
	write("regular", 300000)
	write("page", 4096)
	for _, alg := range []string{"zlib", "lzo", "zstd"} {
		must(t, os.Mkdir(at(alg), 0o755))
		oracle.Run(t, "btrfs", "property", "set", at(alg), "compression", alg)
		write(alg+"/packed", 500000)
		write(alg+"/small", 1500)
	}
	must(t, os.Symlink("inline", at("symlink")))
	must(t, unix.Mkfifo(at("fifo"), 0o600))
	must(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	must(t, unix.Mknod(at("chr"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 1))))
	must(t, unix.Mknod(at("blk"), unix.S_IFBLK|0o4600, int(unix.Mkdev(300, 70000))))
	must(t, unix.Setxattr(at("inline"), "user.text", []byte("a value"), 0))
	must(t, unix.Setxattr(at("inline"), "user.zeros", []byte("before\x00after"), 0))
	must(t, unix.Setxattr(at("inline"), "user.empty", nil, 0))
	must(t, unix.Setxattr(at("regular"), "user.long", bytes.Repeat([]byte("x"), 3000), 0))
	must(t, unix.Setxattr(at("inline"), "user."+strings.Repeat("n", 250), []byte("y"), 0))
	must(t, os.Mkdir(at("names"), 0o755))
	must(t, os.WriteFile(at("names/"+strings.Repeat("ü", 127)), nil, 0o640))
	must(t, os.WriteFile(at("names/tab\tand\nnewline"), nil, 0o640))
	for i := range 300 {
		must(t, os.Link(at("inline"), at(fmt.Sprintf("names/%s%d", strings.Repeat("long", 20), i))))
	}
	// Holes, preallocation, a file extent into the middle of an extent.
	f, err := os.Create(at("holes"))
	must(t, err)
	for i := range 20 {
		_, err = f.WriteAt([]byte("data"), int64(i)*100000)
		must(t, err)
	}
	must(t, unix.Fallocate(int(f.Fd()), 0, 4<<20, 1<<20))
	must(t, f.Sync())
	_, err = f.WriteAt(make([]byte, 8192), 4<<20+65536)
	must(t, err)
	must(t, f.Close())
	must(t, os.Truncate(at("page"), 1<<40))
	for i, attr := range []string{"+A", "+c", "+C", "+d", "+D", "+S", "+m"} {
		name := at(fmt.Sprintf("attr%d", i))
		must(t, os.Mkdir(name, 0o755))
		oracle.Run(t, "chattr", attr, name)
		must(t, os.WriteFile(name+"/file", []byte("x"), 0o644))
	}
	must(t, os.Chtimes(at("fifo"), oldTime, oldTime))
	must(t, os.Chown(at("regular"), 1000, 70000))

	// Subvolumes, snapshots, shared extents, full back references.
	oracle.Run(t, "btrfs", "subvolume", "create", at("sub"))
	for i := range 400 {
		write(fmt.Sprintf("sub/f%d", i), 100+i*40)
	}
	oracle.Run(t, "btrfs", "subvolume", "snapshot", at("sub"), at("snap"))
	oracle.Run(t, "btrfs", "subvolume", "snapshot", "-r", at("sub"), at("readonly"))
	for i := 0; i < 400; i += 7 {
		write(fmt.Sprintf("snap/f%d", i), 5000)
	}
	oracle.Run(t, "cp", "--reflink=always", at("regular"), at("clone"))
	oracle.Run(t, "btrfs", "subvolume", "delete", "-c", at("sub"))
	oracle.Run(t, "sync", "-f", dir)
	must(t, os.Remove(at("names/"+strings.Repeat("long", 20)+"7")))
}

func TestUsedImages(t *testing.T) {
	oracle.Need(t, oracle.Progs, oracle.Mkfs, oracle.Kernel)
	for _, args := range []string{"", "-n 4k -R quota", "-n 64k -O ^no-holes -m single", "-R ^free-space-tree -O ^skinny-metadata", "--csum sha256"} {
		t.Run(args, func(t *testing.T) {
			path := makeTheirs(t, 1<<30, strings.Fields(args)...)
			options := ""
			if strings.Contains(args, "^free-space") {
				options = "space_cache=v1"
			}
			dir, umount := oracle.Mount(t, path, options)
			populate(t, dir)
			umount()
			compare(t, path)
		})
	}
}
