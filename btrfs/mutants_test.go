// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/btrfs/oracle"
)

// sourceMutant is a mistake in one place of this package.
type sourceMutant struct{ name, file, old, new string }

// fsxMutants are mistakes in the data path that TestFsx must find.
var fsxMutants = []sourceMutant{
	{"a hole within a block is not zeroed", "inode.go", "\t\tpage.Zero(offset, offset+int(min(length, pageSize-uint64(offset))))\n", ""},
	{"the rest of the last page is not zeroed", "inode.go", "\t\tpage.Zero(offset, pageSize)\n", ""},
}

// subvolMutants are mistakes that TestRandomSubvolumes must find.
var subvolMutants = []sourceMutant{
	{"a copied block does not refer to what it holds", "ctree.go", "\t\treturn false, trans.IncRef(root, cow, reloc)\n\t}\n\tif full {", "\t\treturn false, nil\n\t}\n\tif full {"},
	{"back references are not updated", "extent-tree_drop.go", "\tif !wc.updateRef || eb.", "\tif wc.updateRef || eb."},
	{"a clone does not refer to its extent", "file.go", "\treturn trans.IncExtentRef(root, fi.DiskBytenr, fi.DiskNumBytes, 0, root.Objectid(), inode.location.Objectid, refOffset)\n", "\t_ = refOffset\n\treturn nil\n"},
	{"in place over what a snapshot shares", "inode.go", "\tshared, err := root.CrossRefExist(", "\tshared, err := false, error(nil)\n\troot.CrossRefExist("},
	{"a moved block is taken for unshared", "relocation.go", "\t\troot.rootItem.LastSnapshot = trans.Transid\n", ""},
	{"a snapshot does not wait for data", "ioctl_subvol.go", "\troot.WaitOrderedExtents(-1)\n", ""},
}

// withoutSpaceMutants are mistakes that TestCowWithoutSpace must find.
var withoutSpaceMutants = []sourceMutant{
	{"what is copied has no promise", "inode.go", "\tinode.promiseForCow(start, end)\n\tif inode.needCompress()", "\tif inode.needCompress()"},
}

func TestCowWithoutSpaceMutants(t *testing.T) {
	testMutants(t, withoutSpaceMutants, "TestCowWithoutSpace")
}

// orphanMutants are mistakes that TestSnapshotOfTruncation must find.
var orphanMutants = []sourceMutant{
	{"an orphan is locked like any file", "inode_namei.go", "inode.IMutex.LockNested(orphanMutex)", "inode.IMutex.LockNested(vfs.I_MUTEX_CHILD)"},
}

func TestSnapshotOfTruncationMutants(t *testing.T) {
	testMutants(t, orphanMutants, "TestSnapshotOfTruncation")
}

// emptyPropertyMutants are mistakes that TestEmptyProperty must find.
var emptyPropertyMutants = []sourceMutant{
	{"an empty property is kept", "props.go", "\tif len(value) == 0 {\n\t\tvalue = nil\n\t}\n\tif err := inode.validateProp(", "\tif err := inode.validateProp("},
	{"a property that is not there cannot be taken away", "xattr.go", "\t\t\tif flags&unix.XATTR_REPLACE != 0 {\n\t\t\t\treturn unix.ENODATA\n\t\t\t}\n\t\t\treturn nil\n", "\t\t\treturn unix.ENODATA\n"},
}

func TestEmptyPropertyMutants(t *testing.T) {
	testMutants(t, emptyPropertyMutants, "TestEmptyProperty")
}

func TestFsxMutants(t *testing.T) {
	testMutants(t, fsxMutants, "TestFsx", "KTEST_FSX=6,1500")
}

func TestRandomSubvolumesCatches(t *testing.T) {
	testMutants(t, subvolMutants, "TestRandomSubvolumes", "KTEST_SEEDS=6", "KTEST_OPS=400", "KTEST_SHRINK=0")
}

// testMutants: each mistake makes test fail, which finds nothing with the same
// environment in the source as it is. The places are looked for always;
// KTEST_MUTANTS=all, or a part of a name, builds and runs them.
func testMutants(t *testing.T, mutants []sourceMutant, test string, env ...string) {
	which := os.Getenv("KTEST_MUTANTS")
	for _, m := range mutants {
		text, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %d such places in %s", m.name, n, m.file)
			continue
		}
		if which == "" || which != "all" && !strings.Contains(m.name, which) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			path, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			overlay := oracle.Overlay(t, path, strings.Replace(string(text), m.old, m.new, 1))
			run := exec.Command("go", "test", "-overlay", overlay, "-run", test+"$", ".")
			run.Env = append(os.Environ(), env...)
			out, err := run.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: "+test) {
				t.Fatalf("not found: %v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "_test.go") {
					t.Log(strings.TrimSpace(line))
					break
				}
			}
		})
	}
}
