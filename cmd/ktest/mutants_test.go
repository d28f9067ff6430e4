// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is a mistake in one place of the source, and the command that must find
// it: it exits with 1 and says finds.
type mutant struct {
	name, file string
	old, new   string
	command    string
	finds      string
}

const (
	seq1 = "crash --seq 1 --shard 0/3"
	live = "lin --calls 400000 --clients 8"
)

// mutants are what `ktest crash` and `ktest lin` prove themselves with.
var mutants = []mutant{
	{"missing flush", "btrfs/disk-io.go", "if err := blockdev.Flush(fsInfo.k, fsInfo.dev); err != nil {", "if err := error(nil); err != nil {", seq1, "is not flushed"},
	{"super block without FUA", "btrfs/disk-io.go", "if i == 0 && !fsInfo.mountOpt.NoBarrier {", "if false {", seq1, "without FUA"},
	{"super block before its trees", "btrfs/transaction.go", "if err = trans.writeAndWaitTransaction(); err == nil {\n\t\terr = fsInfo.WriteAllSupers(true)",
		"if err = fsInfo.WriteAllSupers(true); err == nil {\n\t\terr = trans.writeAndWaitTransaction()", seq1, "super block before its trees"},
	{"free space reused before the commit is durable", "btrfs/transaction.go", "\t\terr = trans.commitCowonlyRoots()\n", "\t\ttrans.finishExtentCommit()\n\t\terr = trans.commitCowonlyRoots()\n",
		seq1, "overwrites"},
	{"live tree block overwritten", "btrfs/ctree.go", "return !(buf.Generation() == trans.Transid &&\n\t\t!buf.HeaderFlag(disk.BTRFS_HEADER_FLAG_WRITTEN) &&", "return !(buf.Generation()+1 >= trans.Transid &&", seq1, ""},
	{"discard before the super block", "btrfs/transaction.go", "\tif err = trans.writeAndWaitTransaction(); err == nil {", "\tfsInfo.mountOpt.Discard = true\n\ttrans.finishExtentCommit()\n\tif err = trans.writeAndWaitTransaction(); err == nil {",
		seq1, "overwrites"},
	{"fsync without a commit", "btrfs/file.go", "\ttrans, err := root.StartTransaction(0)\n\tif err != nil {\n\t\treturn err\n\t}\n\treturn trans.Commit()\n}\n\n// punchHole", "\ttrans, err := root.StartTransaction(0)\n\tif err != nil {\n\t\treturn err\n\t}\n\treturn trans.End()\n}\n\n// punchHole",
		seq1, ""},
	{"fsync before the data", "btrfs/file.go", "\t\tif !fsInfo.reverted(revertOrderedSyncAll) {\n\t\t\tmm.FilemapFdatawrite(inode.Mapping)\n\t\t}\n\t\tinode.IMutex.Lock()\n\t\tseq := inode.fixupSeq.Load()\n\t\terr = inode.WaitOrderedRange(0, noOffset)\n", "\t\tinode.IMutex.Lock()\n\t\tseq := inode.fixupSeq.Load()\n",
		seq1, ""},
	{"fsync of a directory does nothing", "btrfs/inode_namei.go", "\treturn fileOps.Fsync(file, start, end, datasync)", "\treturn nil", seq1, "fsynced"},
	{"sync forgets delayed data", "btrfs/super.go", "\tfsInfo.WaitOrderedRoots(-1)\n\ttrans, err := fsInfo.treeRoot.AttachTransactionBarrier()", "\ttrans, err := fsInfo.treeRoot.AttachTransactionBarrier()\n\tif err == nil {\n\t\terr = trans.End()\n\t\treturn err\n\t}",
		seq1, ""},
	{"orphan lost", "btrfs/inode_namei.go", "\terr := inode.root.InsertOrphanItem(trans, inode.location.Objectid)\n", "\terr := error(nil)\n", "crash --seq 1", "before mounting"},
	{"torn rename", "btrfs/inode_namei.go", "\t\tif err := newDir.addLink(trans, inode, newName, false, index); err != nil {\n\t\t\treturn abort(trans, err)\n\t\t}\n\t\tinode.dirIndex = index\n\t\tif isSubvol {",
		"\t\ttrans.Commit()\n\t\ttrans, _ = root.StartTransaction(15)\n\t\tif err := newDir.addLink(trans, inode, newName, false, index); err != nil {\n\t\t\treturn abort(trans, err)\n\t\t}\n\t\tinode.dirIndex = index\n\t\tif isSubvol {", seq1, ""},
	{"checksums lost", "btrfs/inode.go", "\t\terr = trans.addPendingCsums(ordered.list)\n", "\t\terr = nil\n", seq1, ""},
	{"link count not written", "btrfs/inode_namei.go", "\tinode.IncNlink()\n\tinode.IncIversion()\n\tinode.SetCtime(inode.CurrentTime())\n\terr = dir.addLink(trans, inode, dentry.DName(), true, index)",
		"\tinode.IncIversion()\n\tinode.SetCtime(inode.CurrentTime())\n\terr = dir.addLink(trans, inode, dentry.DName(), true, index)", seq1, ""},
	{"truncate keeps pages", "btrfs/inode.go", "\tinode.ISizeWrite(newsize)\n\tmm.TruncatePagecache(inode.Mapping, newsize)\n\t// Direct", "\tinode.ISizeWrite(newsize)\n\t// Direct", live, ""},
	{"stale page after O_DIRECT", "btrfs/direct-io.go", "\twritten, err = inode.directIO(iter, pos, true)\n\t// Read ahead meanwhile, or faulted in as the source of this very write.\n\tif mapping.NrPages() > 0 {", "\twritten, err = inode.directIO(iter, pos, true)\n\tif false {",
		live, "cell of"},
	{"direct read before the page cache is written", "btrfs/direct-io.go", "\tif err := mm.FilemapWriteAndWaitRange(inode.Mapping, pos, pos+int64(iter.Count())-1); err != nil {", "\tif err := error(nil); err != nil {", live, "cell of"},
	{"lost append", "btrfs/file.go", "\tinode.IMutex.Lock()\n\tn, err := iocb.GenericWriteChecks(iter)\n", "\tn, err := iocb.GenericWriteChecks(iter)\n\tfsInfo.k.CondResched()\n\tinode.IMutex.Lock()\n", live, "size of"},
	{"reordered writes of one inode", "btrfs/file.go", "\t\tpos += int64(copied)\n\t\twritten += copied\n", "\t\tpos += int64(copied)\n\t\twritten += copied\n\t\tmaxPages = 1\n\t\tinode.IMutex.Unlock()\n\t\tfsInfo.k.CondResched()\n\t\tinode.IMutex.Lock()\n", live, ""},
	{"exchange that is two moves", "vfs/namei_remove.go", "\t\tif exchange {\n\t\t\toldDentry.DExchange(newDentry)\n", "\t\tif exchange {\n\t\t\toldDentry.DDrop()\n\t\t\tnewDentry.DDrop()\n\t\t\treturn err\n", "lin --calls 100000", ""},
	{"O_EXCL opens what exists", "vfs/open.go", "if op.flags&unix.O_EXCL != 0 && !created {", "if false {", live, "names of"},
	{"readdir forgets the last name", "btrfs/inode_namei.go", "\t\tif key.Offset > last {", "\t\tif key.Offset >= last {", live, "readdir does not show"},
	{"punched holes keep their data", "btrfs/file.go", "\t\tmm.TruncatePagecacheRange(inode.Mapping, int64(lockStart), int64(lockEnd))\n\t\tinode.ioTree.LockExtentBits", "\t\tinode.ioTree.LockExtentBits", "lin --calls 100000 --time 20s", ""},
}

// Each mistake is found. Only the first is tried unless KTEST_MUTANTS is "all" or
// the name of one: building a mutant takes a while. Then a place that has moved
// away is a failure; otherwise it is only told.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tried := 0
	for _, m := range mutants {
		path := filepath.Join(root, m.file)
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		only := os.Getenv("KTEST_MUTANTS")
		if n := strings.Count(string(src), m.old); n != 1 {
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
			changed := filepath.Join(dir, "mutant.go")
			if err := os.WriteFile(changed, []byte(strings.Replace(string(src), m.old, m.new, 1)), 0o666); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o666); err != nil {
				t.Fatal(err)
			}
			bin := filepath.Join(dir, "ktest")
			build := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", bin, ".")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			cmd := exec.Command("timeout", append([]string{"120", bin}, strings.Fields(m.command)...)...)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 && exit.ExitCode() != 124 {
				t.Fatalf("not found: %v\n%s", err, out)
			}
			if exit.ExitCode() == 124 {
				t.Logf("it hangs")
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
