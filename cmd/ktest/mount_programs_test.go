// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A program is something that people run on a file system: a script for bash, which runs in $D, an empty directory of a mount, with $SRC
// as the source tree of this project, $TMP as a directory of the host and, from $1 on, how much it is to do.
type program struct {
	name    string
	needs   []string
	options string // of the mount
	size    string // of the file system, as for mkfs
	amount  string // how much a default run does, and a long one; empty leaves it out
	long    string
	remount bool   // the script runs a second time, with PHASE=2, after unmounting and mounting again
	as      uint32 // user
	script  string
}

// Programs of the host, and what each checks by itself: fio the checksum in every block, git all objects, PostgreSQL the checksum of each
// page, its indexes, and the sums that a transfer leaves as they are.
var programs = []program{
	{name: "fio-buffered", needs: []string{"fio"}, options: "noatime", size: "4G", amount: "12m", long: "400m", script: fioScript + "--rw=randrw --bs=5k --fallocate=none"},
	{name: "fio-direct", needs: []string{"fio"}, options: "noatime", size: "4G", amount: "12m", long: "400m", script: fioScript + "--rw=randrw --bs=4k --direct=1 --ioengine=libaio --iodepth=8"},
	{name: "fio-mmap", needs: []string{"fio"}, options: "compress", size: "4G", amount: "8m", long: "200m", script: fioScript + "--rw=randrw --bs=4k --ioengine=mmap"},
	{name: "fio-fsync", needs: []string{"fio"}, options: "compress=zstd", size: "4G", amount: "4m", long: "32m", script: fioScript + "--rw=randwrite --bs=16k --fsync=4"},
	{name: "sysbench", needs: []string{"sysbench"}, options: "compress", size: "12G", amount: "64M 2000", long: "8G 30000", remount: true, script: sysbenchScript},
	{name: "sysbench-300000", needs: []string{"sysbench"}, options: "compress", size: "12G", long: "8G 300000", remount: true, script: sysbenchScript},
	{name: "sysbench-plain", needs: []string{"sysbench"}, options: "noatime", size: "12G", long: "8G 30000", remount: true, script: sysbenchScript},
	{name: "git", needs: []string{"git"}, options: "compress", size: "1G", amount: "btrfs", long: ".", script: `
		export HOME=$TMP GIT_CONFIG_NOSYSTEM=1
		git config --global user.email a@b.c; git config --global user.name a; git config --global --add safe.directory '*'
		if git -C $SRC rev-parse -q --verify HEAD >/dev/null 2>&1 && [ "$1" = . ]; then
			git clone -q --no-local --bare $SRC first
		else
			git init -q first; cp -r $SRC/$1 first/; git -C first add -A; git -C first commit -qm one
			echo >> first/$1/doc.go; git -C first commit -qam two
		fi
		git clone -q --no-local first second; git -C second fsck --full --strict 2>&1 | tail -3
		git -C second repack -qadf; git -C second gc -q; git -C second fsck --full
		test -z "$(git -C second status --porcelain)"`},
	{name: "go-build", needs: []string{"go"}, options: "compress=zstd", size: "4G", long: "./cmd/ktest", script: `
		export GOCACHE=$D/cache GOTMPDIR=$D/tmp; mkdir tmp; cp -r $SRC src; cd src
		go build -o ../ktest $1; go vet $1; ../ktest mkfs -b 128M ../fs.img >/dev/null; ../ktest check ../fs.img >/dev/null`},
	{name: "sqlite", needs: []string{"sqlite3"}, options: "noatime", size: "1G", amount: "60", long: "2000", script: `
		for mode in delete wal; do
			{ echo "pragma journal_mode=$mode; pragma synchronous=full; create table t(a integer primary key, b text); create index i on t(b);"
			for i in $(seq $1); do echo "insert into t(b) values(hex(randomblob(100)));"; done
			echo "begin;"; for i in $(seq $1); do echo "update t set b=hex(randomblob(50)) where a=$i;"; done; echo "rollback;"
			echo "delete from t where a%3=0; vacuum;"; } | sqlite3 $mode.db >/dev/null
			test "$(sqlite3 $mode.db 'pragma integrity_check; select count(*) from t where length(b)=200;' | tr '\n' ' ')" = "ok $(($1 - $1/3)) "
		done`},
	{name: "postgresql", needs: []string{"pgbench"}, options: "noatime", size: "4G", amount: "1 20", long: "10 500", as: 65534, script: `
		PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH; export HOME=$TMP PGHOST=$TMP PGPORT=5477 PGDATABASE=postgres LC_ALL=C
		initdb -N -D db -U me -A trust --data-checksums >/dev/null; export PGUSER=me
		pg_ctl -D db -w -l $TMP/log -o "-c listen_addresses= -c unix_socket_directories=$TMP -c fsync=on -c checkpoint_timeout=30s" start >/dev/null
		trap 'pg_ctl -D db -m immediate stop >/dev/null 2>&1 || true' EXIT
		pgbench -i -q -s $1 >/dev/null 2>&1; pgbench -c 8 -j 2 -t $2 | grep -E 'tps|number of transactions actually'
		test "$(psql -Atc 'select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history) and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers) and (select count(*) from pgbench_history) = '$((8 * $2)))" = t
		pg_amcheck --install-missing --heapallindexed postgres >/dev/null
		pg_ctl -D db -w -m fast stop >/dev/null; trap - EXIT; pg_checksums --check -D db | grep -q 'Bad checksums:  0'`},
}

const fioScript = `fio --name=a --size=$1 --numjobs=2 --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal --output=/dev/null --randrepeat=0 `

// The options are those with which commit 376cc685cb3b reproduces its bug.
const sysbenchScript = `
	bench() { sysbench fileio --threads=8 --file-total-size=$1 --file-block-size=32K --file-io-mode=sync --file-test-mode=rndwr --file-fsync-freq=0 \
		--file-fsync-end=off --file-extra-flags=direct --time=0 --events=$2 $3; }
	case $PHASE in 1) bench $1 $2 prepare >/dev/null;; 2) bench $1 $2 run > $TMP/out || { cat $TMP/out; false; }; grep -E 'writes/s|total number of events|max:' $TMP/out;; esac`

// TestMountPrograms runs programs of the host in mounts. Each must be content; the server must end without a word (all counters are zero,
// no WARN), btrfs check must find nothing, and Linux must read the same bytes. KTEST_PROGRAMS=long has each do what people would: 300,000
// requests of sysbench on 8 GiB, 4,000 transactions of PostgreSQL, a build of this project.
//
//	KTEST_PROGRAMS=long go test ./cmd/ktest -v -timeout 40m -run TestMountPrograms
//
// It needs fio, sysbench, git, go, sqlite3 and PostgreSQL, and leaves out whose program is not there.
func TestMountPrograms(t *testing.T) {
	needTools(t, "btrfs", "bash")
	src, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		amount := p.amount
		if os.Getenv("KTEST_PROGRAMS") == "long" {
			amount = p.long
		}
		if amount == "" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			for _, need := range p.needs {
				if _, err := exec.LookPath(need); err != nil {
					t.Skipf("notrun: needs %s", need) // no oracle: the checks after it are
				}
			}
			runProgram(t, &p, src, strings.Fields(amount))
		})
	}
}

func runProgram(t *testing.T, p *program, src string, amount []string) {
	work := t.TempDir()
	os.Chmod(filepath.Dir(work), 0o755)
	tmp, img := filepath.Join(work, "tmp"), filepath.Join(work, "fs.img")
	if _, errs, status := ktest("mkfs", "-b", p.size, img); status != 0 {
		t.Fatal(errs)
	}
	os.Mkdir(tmp, 0o755)
	os.Chown(tmp, int(p.as), -1)
	var spent time.Duration
	phase := func(m *mountedImage, n int) {
		t.Helper()
		dir := filepath.Join(m.dir, "work")
		os.Mkdir(dir, 0o755)
		os.Chown(dir, int(p.as), -1)
		os.Chmod(filepath.Dir(m.dir), 0o755)
		cmd := exec.Command("bash", append([]string{"-euo", "pipefail", "-c", p.script, "bash"}, amount...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "D="+dir, "SRC="+src, "TMP="+tmp, fmt.Sprintf("PHASE=%d", n))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.as, Gid: p.as}}
		start := time.Now()
		out, err := cmd.CombinedOutput()
		spent = time.Since(start)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if len(out) > 0 {
			t.Logf("%s", bytes.TrimSpace(out))
		}
	}
	m := mountImage(t, img, "-o", p.options)
	phase(m, 1)
	if p.remount {
		m.umount()
		m = mountImage(t, img, "-o", p.options)
		phase(m, 2)
	}
	want := treeSum(t, m.dir)
	m.umount()
	must(t, "btrfs", "check", "--check-data-csum", img)
	kernelMount(t, img, func(dir string) {
		if got := treeSum(t, dir); got != want {
			t.Errorf("Linux reads other files than we: %s, %s", got, want)
		}
	})
	t.Logf("%s: %.1f s; %s", strings.Join(amount, " "), spent.Seconds(), want)
}

// treeSum is a sum over names, attributes and contents of all files.
func treeSum(t *testing.T, dir string) string {
	t.Helper()
	sum, files, size := sha256.New(), 0, int64(0)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		files++
		fmt.Fprintf(sum, "%s %o %d %d %d %v %d\n", strings.TrimPrefix(path, dir), st.Mode, st.Nlink, st.Uid, st.Gid, st.Mtim, st.Size)
		switch {
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			fmt.Fprintln(sum, target)
			return err
		case !d.Type().IsRegular():
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := io.CopyBuffer(sum, struct{ io.Reader }{f}, make([]byte, 1<<20))
		size += n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d files, %d MiB, %x", files, size>>20, sum.Sum(nil)[:8])
}
