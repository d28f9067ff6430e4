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

// fsxMutants are mistakes in the data path that TestFsx must find.
var fsxMutants = []struct{ name, file, old, new string }{
	{"a hole within a block is not zeroed", "inode.go", "\t\tpage.Zero(offset, offset+int(min(length, pageSize-uint64(offset))))\n", ""},
	{"the rest of the last page is not zeroed", "inode.go", "\t\tpage.Zero(offset, pageSize)\n", ""},
}

// Each mistake is found by the operations that find nothing in the source as it is.
// The places are looked for always; KTEST_MUTANTS=all, or the name of one, builds
// and runs them.
func TestFsxMutants(t *testing.T) {
	which := os.Getenv("KTEST_MUTANTS")
	for _, m := range fsxMutants {
		text, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %d such places in %s", m.name, n, m.file)
			continue
		}
		if which == "" || which != "all" && which != m.name {
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
			mutated := strings.Replace(string(text), m.old, m.new, 1)
			for name, data := range map[string][]byte{file: []byte(mutated), overlay: list} {
				if err := os.WriteFile(name, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			run := exec.Command("go", "test", "-overlay", overlay, "-run", "TestFsx$", ".")
			run.Env = append(os.Environ(), "KTEST_FSX=6,1500")
			out, err := run.CombinedOutput()
			found := err != nil && strings.Contains(string(out), "--- FAIL: TestFsx")
			for line := range strings.Lines(string(out)) {
				if strings.Contains(line, "fsx_test.go") {
					t.Log(strings.TrimSpace(line))
				}
			}
			if !found {
				t.Errorf("not found: %v\n%s", err, out)
			}
		})
	}
}
