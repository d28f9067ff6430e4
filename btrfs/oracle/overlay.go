// SPDX-License-Identifier: GPL-2.0-or-later

package oracle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Overlay returns the file to give to `go build -overlay`, or `go test -overlay`,
// for a build in which the source file at path, an absolute one, reads text. It
// lives as long as the test.
func Overlay(t testing.TB, path, text string) string {
	t.Helper()
	dir := t.TempDir()
	file, overlay := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: file}})
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o666)
	}
	if err == nil {
		err = os.WriteFile(overlay, list, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	return overlay
}
