// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// subvolMutants are mistakes that TestRandomSubvolumes must find.
var subvolMutants = []struct{ name, file, old, new string }{
	{"a copied block does not refer to what it holds", "ctree.go", "\t\treturn false, trans.IncRef(root, cow, reloc)\n\t}\n\tif full {", "\t\treturn false, nil\n\t}\n\tif full {"},
	{"back references are not updated", "extent-tree_drop.go", "\tif !wc.updateRef || eb.", "\tif wc.updateRef || eb."},
	{"a clone does not refer to its extent", "file.go", "\treturn trans.IncExtentRef(root, fi.DiskBytenr, fi.DiskNumBytes, 0, root.Objectid(), inode.location.Objectid, refOffset)\n", "\t_ = refOffset\n\treturn nil\n"},
	{"in place over what a snapshot shares", "inode.go", "\tshared, err := root.CrossRefExist(", "\tshared, err := false, error(nil)\n\troot.CrossRefExist("},
	{"a snapshot does not wait for data", "ioctl_subvol.go", "\troot.WaitOrderedExtents(-1)\n", ""},
}

// Each mistake is found by seeds that find nothing in the source as it is. The
// places are looked for always; KTEST_MUTANTS=all, or a part of a name, builds and
// runs them.
func TestRandomSubvolumesCatches(t *testing.T) {
	which := os.Getenv("KTEST_MUTANTS")
	for _, m := range subvolMutants {
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
			source, err := filepath.Abs(m.file)
			if err != nil {
				t.Fatal(err)
			}
			file, overlay := filepath.Join(t.TempDir(), "x.go"), filepath.Join(t.TempDir(), "overlay.json")
			list, err := json.Marshal(map[string]any{"Replace": map[string]string{source: file}})
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string][]byte{file: []byte(strings.Replace(string(text), m.old, m.new, 1)), overlay: list} {
				if err := os.WriteFile(name, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			run := exec.Command("go", "test", "-overlay", overlay, "-run", "TestRandomSubvolumes$", ".")
			run.Env = append(os.Environ(), "KTEST_SEEDS=3", "KTEST_OPS=400", "KTEST_SHRINK=0")
			out, err := run.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestRandomSubvolumes") {
				t.Fatalf("not found: %v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "subvol_random_test.go") {
					t.Log(strings.TrimSpace(line))
					break
				}
			}
		})
	}
}
