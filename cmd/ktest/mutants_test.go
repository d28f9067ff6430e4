// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/btrfs/oracle"
)

// mutant is a mistake in one place of the source, and the command that must find
// it: it exits with 1 and says finds.
type mutant struct {
	name, file string
	old, new   string
	also       [2]string // old and new of a second place: what one check misses the other finds
	command    string
	finds      string
}

const (
	seq1 = "crash --seq 1 --shard 0/3"
	live = "lin --calls 400000 --clients 8"
)

// mutants are what `ktest crash` and `ktest lin` prove themselves with.
var mutants = []mutant{
	{name: "missing flush", file: "btrfs/disk-io.go",
		old:     "if err := blockdev.Flush(fsInfo.k, fsInfo.dev); err != nil {",
		new:     "if err := error(nil); err != nil {",
		command: seq1, finds: "is not flushed"},
	{name: "super block without FUA", file: "btrfs/disk-io.go",
		old:     "if i == 0 && !fsInfo.mountOpt.NoBarrier {",
		new:     "if false {",
		command: seq1, finds: "without FUA"},
	{name: "super block before its trees", file: "btrfs/transaction.go",
		old:     "if err = trans.writeAndWaitTransaction(); err == nil {\n\t\terr = fsInfo.WriteAllSupers(true)",
		new:     "if err = fsInfo.WriteAllSupers(true); err == nil {\n\t\terr = trans.writeAndWaitTransaction()",
		command: seq1, finds: "super block before its trees"},
	{name: "free space reused before the commit is durable", file: "btrfs/block-group.go", old: "\t\ttrans.transaction.pinnedExtents.SetExtentDirty(bytenr, bytenr+numBytes-1)\n",
		new: "\t\tfsInfo.unpinExtentRange(bytenr, bytenr+numBytes-1, true)\n", command: "crash --exhaustive 2 crash/004", finds: "overwrites"},
	{name: "free space reused before the super block is written", file: "btrfs/transaction.go", old: "\tif err = trans.writeAndWaitTransaction(); err == nil {",
		new: "\ttrans.finishExtentCommit()\n\tif err = trans.writeAndWaitTransaction(); err == nil {", command: "crash --explore --schedules 60 --exhaustive 1 crash/007", finds: "overwrites"},
	{name: "live tree block overwritten", file: "btrfs/ctree.go",
		old:     "return !(buf.Generation() == trans.Transid &&\n\t\t!buf.HeaderFlag(disk.BTRFS_HEADER_FLAG_WRITTEN) &&",
		new:     "return !(buf.Generation()+1 >= trans.Transid &&",
		command: seq1, finds: ""},
	{name: "discard before the super block", file: "btrfs/transaction.go",
		old:     "\tif err = trans.writeAndWaitTransaction(); err == nil {",
		new:     "\tfsInfo.mountOpt.Discard = true\n\ttrans.finishExtentCommit()\n\tif err = trans.writeAndWaitTransaction(); err == nil {",
		command: seq1, finds: "overwrites"},
	{name: "fsync without a commit", file: "btrfs/file.go",
		old:     "\ttrans, err := root.StartTransaction(0)\n\tif err != nil {\n\t\treturn err\n\t}\n\treturn trans.Commit()\n}\n\n// punchHole",
		new:     "\ttrans, err := root.StartTransaction(0)\n\tif err != nil {\n\t\treturn err\n\t}\n\treturn trans.End()\n}\n\n// punchHole",
		command: seq1, finds: ""},
	{name: "fsync before the data", file: "btrfs/file.go",
		old:     "\t\tif !fsInfo.reverted(revertOrderedSyncAll) {\n\t\t\tmm.FilemapFdatawrite(inode.Mapping)\n\t\t}\n\t\tinode.IMutex.Lock()\n\t\tseq := inode.fixupSeq.Load()\n\t\terr = inode.WaitOrderedRange(0, noOffset)\n",
		new:     "\t\tinode.IMutex.Lock()\n\t\tseq := inode.fixupSeq.Load()\n",
		command: seq1, finds: ""},
	{name: "fsync of a directory does nothing", file: "btrfs/inode_namei.go",
		old:     "\treturn fileOps.Fsync(file, start, end, datasync)",
		new:     "\treturn nil",
		command: seq1, finds: "fsynced"},
	{name: "sync forgets delayed data", file: "btrfs/super.go",
		old:     "\tfsInfo.WaitOrderedRoots(-1)\n\ttrans, err := fsInfo.treeRoot.AttachTransactionBarrier()",
		new:     "\ttrans, err := fsInfo.treeRoot.AttachTransactionBarrier()\n\tif err == nil {\n\t\terr = trans.End()\n\t\treturn err\n\t}",
		command: seq1, finds: ""},
	{name: "orphan lost", file: "btrfs/inode_namei.go",
		old:     "\terr := inode.root.InsertOrphanItem(trans, inode.location.Objectid)\n",
		new:     "\terr := error(nil)\n",
		command: "crash --seq 1", finds: "before mounting"},
	{name: "torn rename", file: "btrfs/inode_namei.go",
		old:     "\t\tif err := newDir.addLink(trans, inode, newName, false, index); err != nil {",
		new:     "\t\ttrans.Commit()\n\t\ttrans, _ = root.StartTransaction(15)\n\t\tif err := newDir.addLink(trans, inode, newName, false, index); err != nil {",
		command: seq1, finds: ""},
	{name: "checksums lost", file: "btrfs/inode.go",
		old:     "\t\terr = trans.addPendingCsums(ordered.list)\n",
		new:     "\t\terr = nil\n",
		command: seq1, finds: ""},
	{name: "link count not written", file: "btrfs/inode_namei.go",
		old:     "\tinode.IncNlink()\n\tinode.IncIversion()\n\tinode.SetCtime(inode.CurrentTime())\n\terr = dir.addLink(trans, inode, dentry.DName(), true, index)",
		new:     "\tinode.IncIversion()\n\tinode.SetCtime(inode.CurrentTime())\n\terr = dir.addLink(trans, inode, dentry.DName(), true, index)",
		command: seq1, finds: ""},
	{name: "truncate keeps pages", file: "btrfs/inode.go",
		old:     "\tinode.ISizeWrite(newsize)\n\tmm.TruncatePagecache(inode.Mapping, newsize)\n\t// Direct",
		new:     "\tinode.ISizeWrite(newsize)\n\t// Direct",
		command: live, finds: ""},
	{name: "stale page after O_DIRECT", file: "btrfs/direct-io.go", old: "\tif mapping.NrPages() > 0 {\n\t\tif err := mm.InvalidateInodePages2Range(mapping, first, last); err != nil {\n\t\t\treturn 0, nil\n\t\t}\n\t}\n\twritten, err = inode.directIO(iter, pos, true)\n\t// Read ahead meanwhile, or faulted in as the source of this very write.\n\tif mapping.NrPages() > 0 {",
		new:     "\twritten, err = inode.directIO(iter, pos, true)\n\tif false {",
		also:    [2]string{"if ordered == nil && (!writing || !inode.rangeHasPage(lockStart, lockEnd, *cached)) {", "if ordered == nil {"},
		command: live, finds: "cell of"},
	{name: "cached pages looked for by a bit of the extent", file: "btrfs/direct-io.go",
		old:     "\treturn mm.FilemapRangeHasPage(inode.Mapping, int64(start), int64(end))\n",
		new:     "\treturn inode.ioTree.TestRangeBit(start, end, EXTENT_UPTODATE, false, cached)\n",
		command: "lin --mix testdata/direct.mix --calls 4000000", finds: "cell of"},
	{name: "direct read before the page cache is written", file: "btrfs/direct-io.go",
		old:     "\tif err := mm.FilemapWriteAndWaitRange(inode.Mapping, pos, pos+int64(iter.Count())-1); err != nil {",
		new:     "\tif err := error(nil); err != nil {",
		command: live, finds: "cell of"},
	{name: "lost append", file: "btrfs/file.go",
		old:     "\tn, err := iocb.GenericWriteChecks(iter)\n",
		new:     "\tinode.IMutex.Unlock()\n\tn, err := iocb.GenericWriteChecks(iter)\n\tfsInfo.k.CondResched()\n\tinode.IMutex.Lock()\n",
		command: live, finds: "size of"},
	{name: "size read before its lock", file: "btrfs/ordered-data.go",
		old:     "\tinode.orderedTree.lock.Lock()\n\tdefer inode.orderedTree.lock.Unlock()\n\treturn inode.orderedUpdateISizeLocked(offset, ordered, uint64(inode.ISize()))\n",
		new:     "\tsize := uint64(inode.ISize())\n\tinode.orderedTree.lock.Lock()\n\tdefer inode.orderedTree.lock.Unlock()\n\treturn inode.orderedUpdateISizeLocked(offset, ordered, size)\n",
		command: "lin --strategy dfs --schedules 3000 race/004", finds: "size of"},
	{name: "reordered writes of one inode", file: "btrfs/file.go",
		old:     "\t\tpos += int64(copied)\n\t\twritten += copied\n",
		new:     "\t\tpos += int64(copied)\n\t\twritten += copied\n\t\tinode.IMutex.Unlock()\n\t\tfsInfo.k.CondResched()\n\t\tinode.IMutex.Lock()\n",
		also:    [2]string{"\tmaxPages := bufferedWriteMax\n", "\tmaxPages := 1\n"},
		command: "lin race/007", finds: "write order"},
	{name: "exchange that the dcache does not learn of", file: "vfs/namei_remove.go",
		old:     "\t\t\toldDentry.DExchange(newDentry)\n",
		new:     "\t\t\t_ = newDentry\n",
		command: "lin --calls 100000", finds: "names of"},
	{name: "O_EXCL opens what exists", file: "vfs/open.go",
		old:     "if op.flags&unix.O_EXCL != 0 && !created {",
		new:     "if false {",
		command: live, finds: "names of"},
	{name: "readdir forgets the last name", file: "btrfs/inode_namei.go",
		old:     "\t\tif key.Offset > last ||",
		new:     "\t\tif key.Offset >= last ||",
		command: live, finds: "readdir does not show"},
	{name: "punched holes keep their first page", file: "btrfs/file.go",
		old:     "\tlockStart, lockEnd := alignUp(from, pageSize), alignDown(to, pageSize)\n\tif from>>pageShift",
		new:     "\tlockStart, lockEnd := alignUp(from, pageSize)+pageSize, alignDown(to, pageSize)\n\tif from>>pageShift",
		command: live, finds: "cell of"},
}

// Each mistake is found. Only the first is tried unless KTEST_MUTANTS is "all" or
// the name of one: building a mutant takes a while. Then a place that has moved
// away is a failure; otherwise it is only told.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, m := range mutants {
		path := filepath.Join(root, m.file)
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		only := os.Getenv("KTEST_MUTANTS")
		n := strings.Count(string(src), m.old)
		if m.also[0] != "" {
			n *= strings.Count(string(src), m.also[0])
		}
		if n != 1 {
			say := t.Logf
			if only == "all" || only == m.name {
				say = t.Errorf
			}
			say("%s: %s has the place of this mutant %d times", m.name, m.file, n)
			continue
		}
		if only != "all" && only != m.name && (only != "" || tried == 1 || testing.Short()) {
			continue
		}
		tried++
		t.Run(m.name, func(t *testing.T) {
			overlay := oracle.Overlay(t, path, strings.NewReplacer(m.old, m.new, cmp.Or(m.also[0], m.old), cmp.Or(m.also[1], m.new)).Replace(string(src)))
			bin := filepath.Join(t.TempDir(), "ktest")
			build := exec.Command("go", "build", "-overlay", overlay, "-o", bin, ".")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			cmd := exec.Command("timeout", append([]string{"-k", "5", "240", bin}, strings.Fields(m.command)...)...)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("not found: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), m.finds) {
				t.Errorf("found, but not by %q:\n%s", m.finds, out)
			}
			line, _, _ := strings.Cut(string(out), "\n")
			t.Log(line)
		})
	}
	t.Logf("%d of %d mutants tried", tried, len(mutants))
}
