// SPDX-License-Identifier: GPL-2.0-or-later

package check_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/image"
	"kbtrfs/btrfs/oracle"
)

// kernelImage is a file system that the kernel has worked in: snapshots, clones,
// compression, preallocation, hard links, long names, many files, deletions.
func kernelImage(t *testing.T, mkfsArgs ...string) string {
	oracle.Need(t, oracle.Kernel, oracle.Progs, oracle.Mkfs, oracle.XfsIO)
	img := filepath.Join(t.TempDir(), "img")
	f, err := os.Create(img)
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(300 << 20)
	f.Close()
	oracle.Run(t, "mkfs.btrfs", append(mkfsArgs, "-q", img)...)
	dir, umount := oracle.Mount(t, img, "compress-force=zlib")
	script := `set -e; cd "$1"
btrfs -q subvolume create sub >/dev/null
mkdir -p d/e; for i in $(seq 400); do echo "file $i" > d/f$i; done
for i in $(seq 30); do ln d/f1 d/e/$(printf '%0200d' $i); done
seq 200000 > text; head -c 3000000 /dev/urandom > sub/random
ln -s target link; ln -s $(printf '%0900d' 1) longlink; mkfifo fifo; mknod dev c 1 3
xfs_io -f -c "falloc 0 1m" -c "pwrite 100k 8k" -c "falloc -k 1m 1m" prealloc >/dev/null
xfs_io -f -c "pwrite 0 300k" -c "fpunch 64k 64k" -c "truncate 5m" sparse >/dev/null
setfattr -n user.one -v value text; setfattr -n user.two -v $(printf '%02000d' 1) text
sync -f .
btrfs subvolume snapshot . snap >/dev/null; btrfs subvolume snapshot -r sub snap/ro >/dev/null
cp --reflink=always text clone; xfs_io -c "reflink text 64k 128k 64k" clone >/dev/null
for i in $(seq 3 3 400); do rm d/f$i; done; for i in $(seq 1 3 400); do mv d/f$i d/e/g$i; done
xfs_io -c "pwrite 10k 50k" text >/dev/null; sync -f .; echo more >> snap/text
btrfs -q subvolume create wanders >/dev/null; btrfs subvolume snapshot . snap2 >/dev/null; mv wanders snap2/moved
touch nocow; chattr +C nocow; head -c 500000 /dev/urandom > nocow
sync -f .`
	if out, err := exec.Command("bash", "-c", script, "x", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	umount()
	oracle.Check(t, img)
	return img
}

func problems(t *testing.T, img string, o check.Options) (all []check.Problem) {
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, _ := f.Stat()
	i, err := image.OpenReaderAt(f, uint64(st.Size()))
	if err != nil {
		t.Fatal(err)
	}
	for p := range check.Check(i, o) {
		all = append(all, p)
	}
	return all
}

// TestKernelImages: what the kernel writes is clean.
func TestKernelImages(t *testing.T) {
	for _, args := range [][]string{{}, {"-n", "4096"}, {"-m", "single", "-O", "^no-holes"}, {"-d", "dup", "-n", "65536"}} {
		img := kernelImage(t, args...)
		for _, p := range problems(t, img, check.Options{DataCsum: true}) {
			t.Errorf("mkfs %v: %s", args, p)
		}
	}
}
