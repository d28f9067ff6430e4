// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bufio"
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed common src tests
var builtin embed.FS

// Tree is a set of cases with the files that they read: tests/, common/ and src/.
type Tree struct {
	files fs.FS
	// dir is where the tree lies on the host; empty for the one that is part of this program.
	dir string
}

// Case is one script of a tree.
type Case struct {
	Name   string // "generic/001"
	Groups []string
}

// Builtin is the tree of this package.
func Builtin() *Tree { return &Tree{files: builtin} }

// Checkout is a tree on the host, such as a checkout of upstream fstests.
func Checkout(dir string) (*Tree, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"common/preamble", "tests"} {
		if _, err := os.Stat(filepath.Join(abs, sub)); err != nil {
			return nil, fmt.Errorf("%s is no checkout of fstests: %w", dir, err)
		}
	}
	return &Tree{files: os.DirFS(abs), dir: abs}, nil
}

// Dir is the tree's place on the host, empty for [Builtin].
func (t *Tree) Dir() string { return t.dir }

// Read returns a file of the tree.
func (t *Tree) Read(name string) ([]byte, error) { return fs.ReadFile(t.files, name) }

// Find returns a case by its name, "generic/001"; a path into the tree will do as well.
func (t *Tree) Find(name string) (Case, error) {
	clean := strings.TrimPrefix(path.Clean(filepath.ToSlash(name)), "tests/")
	if strings.Count(clean, "/") != 1 || !isNumber(path.Base(clean)) {
		return Case{}, fmt.Errorf("%s: not a case (GROUP/NNN)", name)
	}
	text, err := t.Read("tests/" + clean)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Case{}, fmt.Errorf("%s: no such case", name)
		}
		return Case{}, err
	}
	return Case{Name: clean, Groups: groupsOf(text)}, nil
}

// Cases returns the cases of one group, or with "all" every case. A group is a word after _begin_fstest or a
// directory of tests/.
func (t *Tree) Cases(group string) ([]Case, error) {
	names, err := fs.Glob(t.files, "tests/*/*")
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, name := range names {
		if !isNumber(path.Base(name)) {
			continue
		}
		c, err := t.Find(name)
		if err != nil {
			return nil, err
		}
		if group == "all" || path.Dir(c.Name) == group || slices.Contains(c.Groups, group) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("group %s: no cases", group)
	}
	return cases, nil
}

// Extract writes the tree below dir, for programs of the host.
func (t *Tree) Extract(dir string) error {
	return fs.WalkDir(t.files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		text, err := t.Read(name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o755)
	})
}

// groupsOf reads the words after _begin_fstest.
func groupsOf(text []byte) []string {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if words := strings.Fields(lines.Text()); len(words) > 0 && words[0] == "_begin_fstest" {
			return words[1:]
		}
	}
	return nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
