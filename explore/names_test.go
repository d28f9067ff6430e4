// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write names.txt anew")

// TestNames: the table is what the directives of the source say, but for a few.
func TestNames(t *testing.T) {
	var lines []string
	for _, dir := range []string{"btrfs", "vfs", "workqueue", "kernel/mm"} {
		files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			lines = append(lines, directives(t, dir, file)...)
		}
	}
	slices.Sort(lines)
	want := strings.Join(slices.Compact(lines), "\n") + "\n"
	if *update {
		if err := os.WriteFile("names.txt", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have := strings.Split(strings.TrimSpace(kernelNames), "\n")
	now := slices.Compact(lines)
	drift := 0
	for _, pair := range []struct {
		what    string
		of, not []string
	}{{"lacks", now, have}, {"is wrong about", have, now}} {
		for _, l := range pair.of {
			if _, ok := slices.BinarySearch(pair.not, l); !ok {
				t.Logf("names.txt %s %q", pair.what, l)
				drift++
			}
		}
	}
	// A function that is younger than the table is printed by its caller's name,
	// so the table may lag behind a little.
	if drift > len(now)/20 {
		t.Errorf("names.txt differs from the source in %d of %d lines: go test ./explore -run TestNames -update", drift, len(now))
	}
}

// directives returns the lines of one file.
func directives(t *testing.T, dir, file string) (lines []string) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Doc == nil {
			continue
		}
		for _, c := range fn.Doc.List {
			text, ok := strings.CutPrefix(c.Text, "//kernel:")
			words := strings.Fields(text)
			if !ok || len(words) < 2 || words[0] == "none" || words[1] == "struct" {
				continue
			}
			lines = append(lines, dir+"."+receiver(fn)+fn.Name.Name+" "+words[1])
			break
		}
	}
	return lines
}

// receiver is how the runtime writes a method's type: "(*Inode)." or "Path.".
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	star := ""
	x := fn.Recv.List[0].Type
	if s, ok := x.(*ast.StarExpr); ok {
		star, x = "*", s.X
	}
	generic := ""
	switch i := x.(type) {
	case *ast.IndexExpr:
		x, generic = i.X, "[...]"
	case *ast.IndexListExpr:
		x, generic = i.X, "[...]"
	}
	name := x.(*ast.Ident).Name + generic
	if star != "" {
		return "(*" + name + ")."
	}
	return name + "."
}

func TestKernelName(t *testing.T) {
	for goName, want := range map[string]string{
		"btrfs.(*Inode).LockExtentDirectNope": "",
		"btrfs.(*Root).SearchSlot":            "btrfs_search_slot",
		"btrfs.(*Root).SearchSlot.func1":      "btrfs_search_slot",
		"btrfs.(*Root).SearchSlot.func2.1":    "btrfs_search_slot",
		"vfs.(*Process).Pwrite":               KernelName("vfs.(*Process).Pwrite"),
		"no.such":                             "",
	} {
		if got := KernelName(goName); got != want {
			t.Errorf("%s: %q, want %q", goName, got, want)
		}
	}
}
