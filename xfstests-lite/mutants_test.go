// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/btrfs/oracle"
)

// mutant takes one line out of a function: a lock, an unlock, a wait, a
// wake-up, a reference.
type mutant struct {
	file, fn, line string
	nth            int // of the lines in fn that read so, from 0
	// by is the package whose own tests find it, where no case of btrfs comes:
	// btrfs writes pages by a loop of its own.
	by string
	// missed says why nothing finds it.
	missed string
}

// mutants are what exploration must find, each in one of the race cases, the
// seeds' cases or the pairs of calls.
var mutants = []mutant{
	{"workqueue/workers.go", "kick", "wake.task.WakeUp()", 0, "", ""},
	{"workqueue/loop.go", "putItem", "w.empty.WakeUp()", 0, "", ""}, // btrfs/013: fsync waits for fixup work
	{"workqueue/loop.go", "leave", "w.ended.WakeUp()", 0, "", ""},
	{"btrfs/ordered-data.go", "RemoveOrderedExtent", "entry.wait.WakeUp()", 0, "", ""},
	{"btrfs/ordered-data.go", "PutOrderedExtent", "inode.AddDelayedIput()", 0, "", ""},
	{"btrfs/extent-io-tree.go", "ClearExtentBit", "tree.waitq.WakeUp()", 0, "", ""},
	{"btrfs/extent-io-tree.go", "waitExtentBit", "tree.waitq.WaitEventFor(func() bool { return !tree.bitsAt(start, bits) }, func() []kernel.Waitee { return tree.ownersAt(start) })", 0, "", ""},
	{"btrfs/transaction.go", "endTransaction", "curTrans.writerWait.WakeUp()", 0, "", ""},
	{"btrfs/transaction.go", "Commit", "fsInfo.transactionWait.WakeUp()", 0, "", ""},
	{"btrfs/transaction.go", "Commit", "curTrans.commitWait.WakeUp()", 0, "", ""},
	{"btrfs/transaction.go", "Commit", "fsInfo.relocMutex.Unlock()", 2, "", ""},
	{"btrfs/transaction.go", "Commit", "fsInfo.treeLogMutex.Unlock()", 1, "", ""},
	{"btrfs/inode.go", "RunDelayedIputs", "fsInfo.delayedIputWait.WakeUp()", 0, "", ""},
	{"btrfs/inode.go", "endIput", "fsInfo.iputsBegunWait.WakeUp()", 0, "", ""},
	{"btrfs/space-info.go", "flushSpace", "fsInfo.waitOnIputsBegun()", 0, "", ""},
	{"btrfs/inode.go", "RunDelayedIputs", "inode.Iput()", 0, "", ""},
	{"btrfs/delalloc-space.go", "delallocReserveMetadata", "inode.delallocMutex.Unlock()", 1, "", ""},
	{"btrfs/file.go", "WriteIter", "inode.IMutex.Unlock()", 3, "", ""},
	{"btrfs/file.go", "dropPages", "page.Unlock()", 0, "", ""},
	{"btrfs/file.go", "dropPages", "page.Put()", 0, "", ""},
	{"btrfs/file.go", "PageMkwrite", "inode.ioTree.UnlockExtentCached(start, end, &cached)", 0, "", ""},
	{"btrfs/extent_io.go", "finishRead", "page.Unlock()", 0, "", ""},
	{"btrfs/extent_io.go", "finishRead", "dbio.put()", 0, "", ""},
	{"btrfs/extent_io.go", "endBioExtentWritepage", "page.EndWriteback()", 0, "", ""},
	{"btrfs/direct-io.go", "lockExtentDirect", "tree.UnlockExtentCached(lockStart, lockEnd, cached)", 0, "", ""},
	{"btrfs/direct-io.go", "directIO", "inode.IMutex.Unlock()", 0, "", ""},
	{"btrfs/direct-io.go", "directIO", "inode.IMutex.Lock()", 0, "", ""},
	{"kernel/mm/page-writeback.go", "EndWriteback", "page.Flags.WakeUpBit(PG_writeback)", 0, "", ""},
	{"kernel/mm/page-writeback.go", "SetWriteback", "mapping.TreeLock.Unlock()", 0, "", ""},
	{"kernel/mm/filemap.go", "makeUptodate", "page.Unlock()", 1, "", ""},
	{"kernel/mm/truncate.go", "InvalidateInodePages2Range", "page.Unlock()", 0, "", ""},
	{"kernel/mm/filemap.go", "AddToPageCacheLocked", "page.Get()", 0, "", ""},
	{"kernel/mm/page-writeback.go", "WriteCachePages", "page.Unlock()", 0, "kernel/mm", ""},
	{"kernel/mm/page-writeback.go", "readyToWrite", "page.WaitOnWriteback()", 0, "kernel/mm", ""},
}

// apply returns the file without what the line does.
func (m mutant) apply(text string) (string, bool) {
	lines := strings.SplitAfter(text, "\n")
	inside, n := false, 0
	for i, l := range lines {
		switch {
		case strings.HasPrefix(l, "func ") && (strings.Contains(l, " "+m.fn+"(") || strings.Contains(l, ") "+m.fn+"(")):
			inside = true
		case l == "}\n":
			inside = false
		case inside && strings.TrimSpace(l) == m.line:
			if n == m.nth {
				owner, _, _ := strings.Cut(m.line, ".") // may be used nowhere else
				return strings.Join(lines[:i], "") + "_ = " + owner + "\n" + strings.Join(lines[i+1:], ""), true
			}
			n++
		}
	}
	return "", false
}

// The list fits the source.
func TestMutantsApply(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := m.apply(string(text)); !ok {
			t.Errorf("%s: %s has no line %d %q", m.file, m.fn, m.nth, m.line)
		}
	}
}

// Every mutant is found. Building one takes seconds, so this runs only when
// KTEST_MUTANTS is set: to "all", or to a part of a mutant's text.
func TestMutantsFound(t *testing.T) {
	which := os.Getenv("KTEST_MUTANTS")
	if which == "" {
		t.Skip("KTEST_MUTANTS is not set")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		name := m.file + " " + m.fn + " " + m.line
		if which != "all" && !strings.Contains(name, which) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, m.file))
			if err != nil {
				t.Fatal(err)
			}
			mutated, ok := m.apply(string(text))
			if !ok {
				t.Fatal("does not apply")
			}
			overlay, bin := oracle.Overlay(t, filepath.Join(root, m.file), mutated), filepath.Join(t.TempDir(), "ktest")
			build := exec.Command("go", "build", "-overlay", overlay, "-o", bin, "./cmd/ktest")
			build.Dir = root
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build: %v\n%s", err, out)
			}
			if m.by != "" {
				if out, err := exec.Command("go", "test", "-timeout", "60s", "-overlay", overlay, "../"+m.by).CombinedOutput(); err == nil {
					t.Errorf("not found\n%s", out)
				}
				return
			}
			for _, args := range [][]string{
				{"-g", "race", "--schedules", "60"},
				{"--pairs", "--schedules", "40"},
				{"-g", "seeds", "--schedules", "150"},
				{"--pairs", "--strategy", "dfs", "--preemptions", "0"},
				{"--schedules", "4000", "race/005"}, // what only a full file system comes to
			} {
				run := exec.Command(bin, append([]string{"explore", "--no-shrink", "--save", "", "--fail-fast", "--timeout", "30s"}, args...)...)
				out, err := run.CombinedOutput()
				if err == nil {
					continue
				}
				for line := range strings.Lines(string(out)) {
					if !strings.Contains(line, "distinct orders") && strings.TrimSpace(line) != "" {
						t.Log(strings.TrimSpace(line))
						break
					}
				}
				if m.missed != "" {
					t.Errorf("found, but named as missed: %s", m.missed)
				}
				return
			}
			if m.missed != "" {
				t.Logf("not found: %s", m.missed)
				return
			}
			t.Errorf("not found")
		})
	}
}
