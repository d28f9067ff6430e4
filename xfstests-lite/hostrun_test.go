// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/xfstests-lite/bash"
)

// The shell and the builtins of this package on the kernel's btrfs: with the file system beyond doubt, what differs
// from a golden output is the interpreter's or a builtin's fault. The test binary runs itself in a mount namespace.

func TestMain(m *testing.M) {
	if name := os.Getenv("KTEST_HOST_CASE"); name != "" {
		os.Exit(hostCase(os.Getenv("KTEST_HOST_TREE"), name))
	}
	os.Exit(m.Run())
}

// hostCase runs inside the namespace; the devices come from the environment.
func hostCase(dir, name string) int {
	tree := Builtin()
	here := os.Getenv("KTEST_HOST_HERE")
	if dir != "" {
		var err error
		if tree, err = Checkout(dir); err != nil {
			fmt.Println(err)
			return 98
		}
		here = tree.dir
	}
	text, err := tree.Read("tests/" + name)
	if err != nil {
		fmt.Println(err)
		return 98
	}
	s := newSession(context.Background(), nil, os.Getenv("TMPDIR"))
	s.strict = true
	proc := s.newProc()
	sh := bash.New(bash.Options{World: proc, Dir: here, Env: os.Environ(), Stdout: hostFile{os.Stdout}, Stderr: hostFile{os.Stderr},
		Name: "./tests/" + name, Cache: s.cache, Ctx: s.ctx})
	status := sh.Run("./tests/"+name, string(text))
	sh.WaitJobs(context.Background(), true)
	if s.notrun != "" {
		os.WriteFile(filepath.Join(os.Getenv("RESULT_DIR"), filepath.Base(name)+".notrun"), []byte(s.notrun), 0o644)
	}
	return status
}

const hostScript = apart + `
mount -t btrfs $TEST_DEV $TEST_DIR || exit 99
timeout -k 5 ${KTEST_LIMIT:-60} "$1"
status=$?
umount $SCRATCH_MNT 2>/dev/null
umount $TEST_DIR 2>/dev/null
exit $status
`

// runOnHost runs a case of dir (empty: ours) with our shell on the kernel's file system.
func runOnHost(t *testing.T, dir, name string) Result {
	if missing := KernelMissing(); missing != "" {
		oracle.Lack(t, missing)
	}
	place := t.TempDir()
	var devs [2]string
	for i, n := range []string{"test", "scratch"} {
		dev, detach, err := loopDevice(filepath.Join(place, n+".img"), 4<<30)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(detach)
		devs[i] = dev
		for _, d := range []string{n, "results", "tmp", "tree"} {
			os.MkdirAll(filepath.Join(place, d), 0o777)
		}
	}
	if out, err := exec.Command("mkfs.btrfs", "-f", devs[0]).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v %s", err, out)
	}
	tree := Builtin()
	here := filepath.Join(place, "tree")
	if dir != "" {
		var err error
		if tree, err = Checkout(dir); err != nil {
			t.Fatal(err)
		}
		here = tree.dir
	} else if err := tree.Extract(here); err != nil {
		t.Fatal(err)
	}
	c, err := tree.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	at := func(n string) string { return filepath.Join(place, n) }
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "bash", "-c", hostScript, "bash", self)
	cmd.Dir = here
	cmd.Env = append(os.Environ(), "KTEST_HOST_CASE="+c.Name, "KTEST_HOST_TREE="+dir, "KTEST_HOST_HERE="+here, "FSTYP=btrfs", "TEST_DEV="+devs[0], "TEST_DIR="+at("test"),
		"SCRATCH_DEV="+devs[1], "SCRATCH_MNT="+at("scratch"), "RESULT_DIR="+at("results"), "RESULT_BASE="+at("results"), "TMPDIR="+at("tmp"), "LANG=C", "LC_ALL=C", "HOST_OPTIONS="+at("none"))
	start := time.Now()
	out, _ := cmd.CombinedOutput()
	res := Result{Case: c.Name, Time: time.Since(start)}
	seq := filepath.Base(c.Name)
	if full, err := os.ReadFile(filepath.Join(at("results"), seq+".full")); err == nil {
		res.Full = string(full)
	}
	if why, err := os.ReadFile(filepath.Join(at("results"), seq+".notrun")); err == nil {
		res.Status, res.Reason = Notrun, strings.TrimSpace(string(why))
		return res
	}
	res.judge(tree, c, out, cmd.ProcessState.ExitCode())
	return res
}

func TestCasesWithOurShellOnTheKernel(t *testing.T) {
	cases, err := Builtin().Cases("quick")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r := runOnHost(t, "", c.Name)
			if r.Status == Notrun {
				// What this host lacks (device-mapper, say) the real bash must miss, too.
				if real, err := RunKernel(context.Background(), Builtin(), c, KernelOptions{}); err == nil && real.Status == Notrun && real.Reason == r.Reason {
					return
				}
			}
			if r.Status != Pass {
				t.Errorf("%s: %s\n%s", r.Status, r.Reason, r.Detail)
			}
		})
	}
}

// TestUpstreamWithOurShellOnTheKernel runs cases of the checkout in $KTEST_FSTESTS that $KTEST_FSTESTS_CASES names.
func TestUpstreamWithOurShellOnTheKernel(t *testing.T) {
	dir, names := os.Getenv("KTEST_FSTESTS"), os.Getenv("KTEST_FSTESTS_CASES")
	if dir == "" || names == "" {
		t.Skip("KTEST_FSTESTS and KTEST_FSTESTS_CASES name no cases")
	}
	for _, name := range strings.Fields(names) {
		t.Run(name, func(t *testing.T) {
			r := runOnHost(t, dir, name)
			t.Logf("%s %s %.1fs %s", name, r.Status, r.Time.Seconds(), r.Reason)
			if r.Status == Fail {
				t.Errorf("%s\n%s", r.Detail, r.Full[max(0, len(r.Full)-1500):])
			}
		})
	}
}
