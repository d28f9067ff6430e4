// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/kernel/index"
)

// The rules of the house, held by tests: which package may import which, what
// code under the deterministic scheduler must not use, that doc comments name
// the kernel function they mirror, and that every package explains itself.
//
// Each rule is a function from parsed source to complaints, so that
// TestRulesCatch can show that a violation of each is found.

// layers lists for each package the project's packages that it may import.
// Imports point downwards only.
var layers = map[string][]string{
	"kernel":             {},
	"kernel/index":       {},
	"kernel/sched":       {"kernel"},
	"kernel/mm":          {"kernel"},
	"blockdev":           {"kernel"},
	"workqueue":          {"kernel"},
	"vfs":                {"kernel", "kernel/mm", "blockdev"},
	"vfs/memfs":          {"kernel", "kernel/mm", "vfs"},
	"vfs/fuse":           {"kernel", "vfs"},
	"vfs/vfstest":        {"kernel", "kernel/mm", "vfs", "vfs/memfs"}, // for tests
	"btrfs/oracle":       {"vfs", "blockdev"},                         // for tests
	"btrfs/disk":         {},
	"btrfs/image":        {"kernel", "blockdev", "btrfs/disk"},
	"btrfs/mkfs":         {"kernel", "blockdev", "btrfs/disk"},
	"btrfs/printtree":    {"kernel", "blockdev", "btrfs/disk", "btrfs/image"},
	"btrfs/check":        {"kernel", "blockdev", "btrfs/disk", "btrfs/image"},
	"btrfs":              {"kernel", "kernel/mm", "blockdev", "workqueue", "vfs", "btrfs/disk"},
	"linearizability":    {"kernel", "kernel/mm", "vfs", "btrfs"},
	"explore":            {"kernel", "kernel/sched"},
	"crash":              {"kernel", "kernel/mm", "blockdev", "vfs", "btrfs", "btrfs/disk", "btrfs/image", "btrfs/mkfs", "btrfs/check", "linearizability"},
	"xfstests-lite":      nil, // anything but cmd/ktest
	"xfstests-lite/bash": {},
	"cmd/ktest":          nil,
}

// steered are the packages whose code runs under the deterministic scheduler.
var steered = []string{"kernel/mm", "blockdev", "workqueue", "vfs", "vfs/memfs", "btrfs"}

// mirrored are the packages whose functions and types name their kernel twin.
var mirrored = []string{"kernel/mm", "workqueue", "vfs", "btrfs"}

var forbiddenImports = map[string]bool{"sync": true, "sync/atomic": true, "time": true, "math/rand": true, "math/rand/v2": true}

const module = "kbtrfs/"

// house is the parsed source of the project, by package folder.
type house struct {
	fset *token.FileSet
	pkgs map[string]map[string]*ast.File // folder → file → syntax
}

func loadHouse(t *testing.T) *house {
	h := &house{token.NewFileSet(), map[string]map[string]*ast.File{}}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(h.fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, _ := filepath.Rel(root, filepath.Dir(path))
		if h.pkgs[dir] == nil {
			h.pkgs[dir] = map[string]*ast.File{}
		}
		h.pkgs[dir][path] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func isTest(path string) bool { return strings.HasSuffix(path, "_test.go") }

func TestLayers(t *testing.T) {
	h := loadHouse(t)
	for dir, files := range h.pkgs {
		if _, ok := layers[dir]; !ok {
			t.Errorf("%s is not in the table of layers", dir)
		}
		for path, f := range files {
			if !isTest(path) {
				report(t, checkLayer(h.fset, dir, f))
			}
		}
	}
}

func checkLayer(fset *token.FileSet, dir string, f *ast.File) (bad []string) {
	allowed := layers[dir]
	for _, imp := range f.Imports {
		dep, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module)
		if !ours || dir == "cmd/ktest" || dir == "xfstests-lite" && dep != "cmd/ktest" {
			continue
		}
		ok := false
		for _, a := range allowed {
			ok = ok || a == dep
		}
		if !ok {
			bad = append(bad, fmt.Sprintf("%s: %s must not import %s", fset.Position(imp.Pos()), dir, dep))
		}
	}
	return bad
}

// TestSteered: code that the deterministic scheduler runs may not start
// goroutines, use channels or read a clock, because no one could replay it.
func TestSteered(t *testing.T) {
	h := loadHouse(t)
	for _, dir := range steered {
		for path, f := range h.pkgs[dir] {
			if !isTest(path) {
				report(t, checkSteered(h.fset, f))
			}
		}
	}
}

func checkSteered(fset *token.FileSet, f *ast.File) (bad []string) {
	say := func(p token.Pos, what string) { bad = append(bad, fmt.Sprintf("%s: %s", fset.Position(p), what)) }
	for _, imp := range f.Imports {
		if p := strings.Trim(imp.Path.Value, `"`); forbiddenImports[p] {
			say(imp.Pos(), "import of "+p)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n.Pos(), "go statement")
		case *ast.SelectStmt:
			say(n.Pos(), "select")
		case *ast.ChanType:
			say(n.Pos(), "channel")
		case *ast.SendStmt:
			say(n.Pos(), "channel send")
		}
		return true
	})
	return bad
}

// TestMapOrder: ranging over a map is allowed in steered code only where a
// comment on the line says why the order does not matter ("order: ...").
func TestMapOrder(t *testing.T) {
	h := loadHouse(t)
	exports := map[string]string{}
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if path, file, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok {
			exports[path] = file
		}
	}
	imp := importer.ForCompiler(h.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, dir := range steered {
		var files []*ast.File
		for path, f := range h.pkgs[dir] {
			if !isTest(path) {
				files = append(files, f)
			}
		}
		report(t, checkMapOrder(h.fset, dir, files, imp))
	}
}

func checkMapOrder(fset *token.FileSet, dir string, files []*ast.File, imp types.Importer) (bad []string) {
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	conf := types.Config{Importer: imp, Error: func(error) {}}
	conf.Check(module+dir, fset, files, info)
	for _, f := range files {
		excused := map[int]bool{}
		for _, g := range f.Comments {
			for _, c := range g.List {
				if strings.HasPrefix(c.Text, "// order: ") {
					excused[fset.Position(c.Pos()).Line] = true
				}
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if r, ok := n.(*ast.RangeStmt); ok {
				if tv := info.Types[r.X]; tv.Type != nil {
					if _, isMap := tv.Type.Underlying().(*types.Map); isMap && !excused[fset.Position(r.Pos()).Line] {
						bad = append(bad, fmt.Sprintf("%s: range over a map: say why its order cannot leak (// order: ...)", fset.Position(r.Pos())))
					}
				}
			}
			return true
		})
	}
	return bad
}

// TestDirectives: every function and type of the mirrored packages says which
// kernel definition it mirrors, and that definition exists.
func TestDirectives(t *testing.T) {
	h := loadHouse(t)
	for _, dir := range mirrored {
		for path, f := range h.pkgs[dir] {
			if !isTest(path) {
				report(t, checkDirectives(h.fset, f))
			}
		}
	}
}

func checkDirectives(fset *token.FileSet, f *ast.File) (bad []string) {
	check := func(pos token.Pos, name string, docs ...*ast.CommentGroup) {
		where := fset.Position(pos)
		found := false
		for _, doc := range docs {
			if doc == nil {
				continue
			}
			for _, c := range doc.List {
				text, ok := strings.CutPrefix(c.Text, "//kernel:")
				if !ok {
					continue
				}
				found = true
				d, ok := index.Parse(text)
				if !ok {
					bad = append(bad, fmt.Sprintf("%s: %s: malformed directive %q", where, name, c.Text))
				} else if d.None == "" {
					if _, _, ok := index.Find(d.Version, d.Symbol); !ok {
						bad = append(bad, fmt.Sprintf("%s: %s: no %s in %s %s", where, name, d.Name, d.Path, d.Version))
					}
				}
			}
		}
		if !found {
			bad = append(bad, fmt.Sprintf("%s: %s has no //kernel: directive", where, name))
		}
	}
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			check(d.Pos(), d.Name.Name, d.Doc)
		case *ast.GenDecl:
			if d.Tok != token.TYPE {
				continue
			}
			for _, s := range d.Specs {
				ts := s.(*ast.TypeSpec)
				if len(d.Specs) == 1 {
					check(ts.Pos(), ts.Name.Name, d.Doc, ts.Doc)
				} else {
					check(ts.Pos(), ts.Name.Name, ts.Doc)
				}
			}
		}
	}
	return bad
}

// TestManners: an SPDX line in every file, a doc.go in every folder, and files
// short enough to read at a sitting (btrfs/ follows the kernel's files).
func TestManners(t *testing.T) {
	h := loadHouse(t)
	for dir, files := range h.pkgs {
		if _, ok := files[filepath.Join("..", "..", dir, "doc.go")]; !ok && dir != "cmd/ktest" && dir != "kernel/index" {
			t.Errorf("%s has no doc.go", dir)
		}
		for path, f := range files {
			if len(f.Comments) == 0 || !strings.HasPrefix(f.Comments[0].List[0].Text, "// SPDX-License-Identifier: GPL-2.0-or-later") {
				t.Errorf("%s: no SPDX line", path)
			}
			if lines := h.fset.File(f.Pos()).LineCount(); lines > 700 && dir != "btrfs" && !isTest(path) {
				t.Errorf("%s: %d lines", path, lines)
			}
		}
	}
}

// TestRulesCatch breaks each rule once.
func TestRulesCatch(t *testing.T) {
	for _, c := range []struct {
		name, src string
		check     func(*token.FileSet, *ast.File) []string
	}{
		{"an upward import", `package p; import "kbtrfs/btrfs"`, func(s *token.FileSet, f *ast.File) []string { return checkLayer(s, "vfs", f) }},
		{"btrfs/check using btrfs", `package p; import "kbtrfs/btrfs"`, func(s *token.FileSet, f *ast.File) []string { return checkLayer(s, "btrfs/check", f) }},
		{"a goroutine", `package p; func f() { go f() }`, checkSteered},
		{"a select", `package p; func f() { select {} }`, checkSteered},
		{"a channel", `package p; var c chan int`, checkSteered},
		{"sync", `package p; import "sync"`, checkSteered},
		{"a clock", `package p; import "time"`, checkSteered},
		{"a map range", `package p; var m map[int]int; func f() { for range m {} }`, func(s *token.FileSet, f *ast.File) []string {
			return checkMapOrder(s, "p", []*ast.File{f}, nil)
		}},
		{"no directive", `package p; func f() {}`, checkDirectives},
		{"a misspelt function", "package p\n//kernel:fs/btrfs/ctree.c btrfs_serach_slot\nfunc f() {}", checkDirectives},
		{"the wrong version", "package p\n//kernel:fs/btrfs/ctree.c btrfs_search_slot @v1\nfunc f() {}", checkDirectives},
		{"none without a reason", "package p\n//kernel:none\nfunc f() {}", checkDirectives},
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", c.src, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if bad := c.check(fset, f); len(bad) == 0 {
			t.Errorf("%s is not found", c.name)
		}
	}
	fset := token.NewFileSet()
	f, _ := parser.ParseFile(fset, "x.go", "package p\n//kernel:fs/btrfs/ctree.c btrfs_search_slot\nfunc f() { for i := range 3 { _ = i } }", parser.ParseComments)
	if bad := append(checkDirectives(fset, f), checkSteered(fset, f)...); len(bad) != 0 {
		t.Errorf("good code is reported: %v", bad)
	}
}

func report(t *testing.T, bad []string) {
	t.Helper()
	for _, b := range bad {
		t.Error(b)
	}
}
