// SPDX-License-Identifier: GPL-2.0-or-later

package vfstest

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes up calls on a few names, so that they meet often.
type generator struct {
	rng *rand.Rand
}

func (g *generator) pick(words ...string) string { return words[g.rng.IntN(len(words))] }

// path is a name of up to three components, sometimes an odd one.
func (g *generator) path() string {
	n := 1 + g.rng.IntN(3)
	parts := make([]string, n)
	for i := range parts {
		parts[i] = g.pick("a", "b", "c", "d", "l")
		if g.rng.IntN(40) == 0 {
			parts[i] = g.pick(".", "..", "{255}", "{256}")
		}
	}
	p := strings.Join(parts, "/")
	switch g.rng.IntN(30) {
	case 0:
		return "/" + p
	case 1:
		return p + "/"
	}
	return p
}

func (g *generator) fd() string { return g.pick("f", "g", "h") }

// offset is near the borders of blocks.
func (g *generator) offset() int {
	return max(0, g.rng.IntN(12)*4096+g.rng.IntN(5)-2)
}

// Random makes up a script of n calls. Data says whether files get contents, too.
func Random(rng *rand.Rand, n int, data bool) string {
	g := &generator{rng}
	var b strings.Builder
	for range n {
		fmt.Fprintln(&b, g.line(data))
	}
	// What all of it came to.
	for _, dir := range []string{".", "a", "b", "c", "d", "a/a", "a/b", "b/a", "b/b", "c/a", "c/c", "d/d"} {
		fmt.Fprintf(&b, "readdir %s\nlstat %s\nlistxattr %s\n", dir, dir, dir)
	}
	return b.String()
}

func (g *generator) line(data bool) string {
	p, q := g.path(), g.path()
	kinds := 17
	if data {
		kinds = 30
	}
	switch g.rng.IntN(kinds) {
	case 0, 1:
		return fmt.Sprintf("mkdir %s %#o", p, 0o700|g.rng.IntN(0o100))
	case 2:
		return "rmdir " + p
	case 3:
		return "unlink " + p
	case 4, 5:
		return fmt.Sprintf("open %s %s %s 0644", g.fd(), p, g.pick("O_CREAT|O_RDWR", "O_CREAT|O_RDWR", "O_CREAT|O_EXCL|O_RDWR", "O_RDWR", "O_CREAT|O_RDWR|O_APPEND", "O_RDONLY", "O_RDONLY|O_DIRECTORY", "O_RDWR|O_TRUNC"))
	case 6:
		return "close " + g.fd()
	case 7:
		return fmt.Sprintf("link %s %s", p, q)
	case 8:
		return fmt.Sprintf("symlink %s %s", p, q)
	case 9, 10:
		return fmt.Sprintf("rename %s %s", p, q)
	case 11:
		return fmt.Sprintf("rename2 %s %s %s", p, q, g.pick("NOREPLACE", "EXCHANGE", "EXCHANGE"))
	case 12:
		return g.pick("stat ", "lstat ", "readlink ") + p
	case 13:
		return "readdir " + p
	case 14:
		return fmt.Sprintf("chmod %s %#o", p, g.rng.IntN(0o10000))
	case 15:
		return g.pick(
			fmt.Sprintf("setxattr %s user.%s %s %s", p, g.pick("x", "y"), g.pick("one", "two", "''"), g.pick("0", "CREATE", "REPLACE")),
			fmt.Sprintf("removexattr %s user.%s", p, g.pick("x", "y")), "listxattr "+p)
	case 16:
		return g.pick("chdir "+p, "chdir /", "getcwd", "mknod "+p+" SOCK|0644 0", "openat h f x O_CREAT|O_RDWR 0600", "mkdirat f a 0755")
	case 17, 18, 19:
		return fmt.Sprintf("fill %s %s %d %d", g.fd(), g.pick("x", "y", "z"), g.rng.IntN(3*4096), g.offset())
	case 20, 21:
		return fmt.Sprintf("pread %s %d %d", g.fd(), g.rng.IntN(5*4096), g.offset())
	case 22:
		return fmt.Sprintf("write %s hello", g.fd())
	case 23:
		return fmt.Sprintf("read %s %d", g.fd(), g.rng.IntN(9000))
	case 24:
		return fmt.Sprintf("ftruncate %s %d", g.fd(), g.offset())
	case 25:
		return fmt.Sprintf("truncate %s %d", p, g.offset())
	case 26:
		return fmt.Sprintf("fallocate %s %s %d %d", g.fd(), g.pick("0", "KEEP", "PUNCH|KEEP", "PUNCH|KEEP", "ZERO", "ZERO|KEEP"), g.offset(), g.offset())
	case 27:
		return fmt.Sprintf("lseek %s %d %s", g.fd(), g.offset(), g.pick("SET", "CUR", "END", "DATA", "HOLE", "HOLE"))
	case 28:
		return fmt.Sprintf("copy %s %d %s %d %d", g.fd(), g.offset(), g.fd(), g.offset(), g.offset())
	default:
		return "fstat " + g.fd()
	}
}

// Shrink deletes lines from a script as long as it still fails.
func Shrink(script string, fails func(string) bool) string {
	lines := strings.Split(strings.TrimSpace(script), "\n")
	for size := len(lines) / 2; size > 0; {
		shrunk := false
		for i := 0; i+size <= len(lines); {
			rest := append(append([]string(nil), lines[:i]...), lines[i+size:]...)
			if fails(strings.Join(rest, "\n")) {
				lines, shrunk = rest, true
			} else {
				i += size
			}
		}
		if !shrunk || size > len(lines) {
			size /= 2
		}
	}
	return strings.Join(lines, "\n")
}
