// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"kbtrfs/vfs/vfstest"
)

// TestRandomBtrfs makes up scripts and runs them here and on the kernel's btrfs: names, and files with contents and holes. VFS_RANDOM
// is how many, VFS_SEED where to begin.
func TestRandomBtrfs(t *testing.T) {
	dir := btrfsMount(t, 512<<20)
	count, seed := 60, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("VFS_RANDOM")); err == nil {
		count = n
	}
	if n, err := strconv.ParseUint(os.Getenv("VFS_SEED"), 10, 64); err == nil {
		seed = n
	}
	for i := range count {
		data := i%2 == 1
		script := vfstest.Random(rand.New(rand.NewPCG(seed+uint64(i), 0)), 150, data)
		o := vfstest.Options{DirNlink: true, DirSize: true, DirOrder: true}
		differ := func(script string) string {
			_, p := quietMachine(t)
			ours := vfstest.Run(vfstest.Process(p), script, o)
			p.Exit()
			for line := range vfstest.Differences(ours, onHost(t, dir, script, o)) {
				return line
			}
			return ""
		}
		if line := differ(script); line != "" {
			script = vfstest.Shrink(script, func(s string) bool { return differ(s) != "" })
			t.Fatalf("seed %d: %s\n%s", seed+uint64(i), differ(script), script)
		}
	}
}
