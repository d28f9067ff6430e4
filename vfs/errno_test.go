// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/vfs/vfstest"
)

// errnoCase is a script of testdata/errno, whose transcript must be the same here and on the kernel. Those that begin with "# btrfs" are
// about what btrfs does and are compared with it only.
type errnoCase struct {
	name, script string
	btrfs        bool
}

func errnoCases(t *testing.T) (cases []errnoCase) {
	t.Helper()
	files, err := filepath.Glob("testdata/errno/*.txt")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, file := range files {
		script, err := os.ReadFile(file)
		must(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		cases = append(cases, errnoCase{name, string(script), strings.HasPrefix(string(script), "# btrfs\n")})
	}
	return cases
}

// btrfsMount makes a file system of the kernel's btrfs.
func btrfsMount(t testing.TB, size int64) string {
	t.Helper()
	oracle.Need(t, oracle.Kernel, oracle.Mkfs)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	oracle.Run(t, oracle.Mkfs, "-q", image)
	dir, _ := oracle.Mount(t, image, "")
	return dir
}

// onHost runs a script in a new directory below dir.
func onHost(t testing.TB, dir, script string, o vfstest.Options) string {
	t.Helper()
	root, err := os.MkdirTemp(dir, "case")
	must(t, err)
	must(t, os.Chmod(root, 0o755))
	out := ""
	must(t, vfstest.OnHost(root, func(sys vfstest.Sys) { out = vfstest.Run(sys, script, o) }))
	return out
}

// TestErrnos compares with a temporary directory of the host, whatever file system that is.
func TestErrnos(t *testing.T) {
	if os.Geteuid() != 0 {
		oracle.Lack(t, "chroot needs root")
	}
	dir := t.TempDir()
	for _, c := range errnoCases(t) {
		if c.btrfs {
			continue
		}
		t.Run(c.name, func(t *testing.T) { compare(t, dir, c.script, vfstest.Options{}) })
	}
}

// TestErrnosBtrfs compares with the kernel's btrfs, and what directories look like as well.
func TestErrnosBtrfs(t *testing.T) {
	dir := btrfsMount(t, 256<<20)
	for _, c := range errnoCases(t) {
		t.Run(c.name, func(t *testing.T) {
			compare(t, dir, c.script, vfstest.Options{DirNlink: true, DirSize: true, DirOrder: true, Blocks: c.btrfs})
		})
	}
}

func compare(t *testing.T, dir, script string, o vfstest.Options) {
	t.Helper()
	v, p := machine(t, "")
	// What an administrator of the host set.
	protected, _ := os.ReadFile("/proc/sys/fs/protected_hardlinks")
	v.ProtectedHardlinks = len(protected) > 0 && protected[0] == '1'
	ours := vfstest.Run(vfstest.Process(p), script, o)
	// The caches must not matter.
	v2, p2 := machine(t, "")
	v2.ProtectedHardlinks, v2.MaxDentries, v2.MaxInodes = v.ProtectedHardlinks, 0, 0
	for line := range vfstest.Differences(ours, vfstest.Run(vfstest.Process(p2), script, o)) {
		t.Errorf("with small caches: %s", line)
	}
	theirs := onHost(t, dir, script, o)
	if os.Getenv("VFS_SHOW") != "" {
		fmt.Print(ours)
	}
	for line := range vfstest.Differences(ours, theirs) {
		t.Error(line)
	}
}
