// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

// finder is one find: its expression is a tree of closures.
type finder struct {
	c                  *call
	args               []string
	mindepth, maxdepth int
	depthFirst, acts   bool
	follow             bool
	status             int
	batches            []*findBatch
	prune, quit        bool
}

type findFile struct {
	name, abs string
	depth     int
	fs        FS
	st        Stat
}

type findTest func(f *findFile) bool

// findBatch collects names for -exec ... {} +.
type findBatch struct {
	cmd, names []string
}

func cmdFind(c *call) int {
	f := &finder{c: c, maxdepth: 1 << 30}
	args := c.args
	for len(args) > 0 && (args[0] == "-L" || args[0] == "-P" || args[0] == "-H") {
		f.follow = args[0] == "-L"
		args = args[1:]
	}
	var roots []string
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && args[0] != "(" && args[0] != "!" {
		roots = append(roots, args[0])
		args = args[1:]
	}
	if len(roots) == 0 {
		roots = []string{"."}
	}
	f.args = args
	test := findTest(func(*findFile) bool { return true })
	if len(args) > 0 {
		var err error
		if test, err = f.or(); err == nil && len(f.args) > 0 {
			err = fmt.Errorf("paths must precede expression: `%s'", f.args[0])
		}
		if err != nil {
			return c.fail("%v", err)
		}
	}
	if !f.acts {
		inner := test
		test = func(x *findFile) bool {
			if inner(x) {
				c.printf("%s\n", x.name)
			}
			return true
		}
	}
	for _, root := range roots {
		fs, abs := c.at(root)
		st, err := fs.Stat(abs, f.follow)
		if err != nil {
			c.errorf("'%s': %s", root, errText(err))
			f.status = 1
			continue
		}
		f.walk(&findFile{name: root, abs: abs, fs: fs, st: st}, test)
	}
	for _, b := range f.batches {
		if len(b.names) > 0 {
			c.flush()
			if c.sh.Command(append(append([]string{}, b.cmd...), b.names...)) != 0 {
				f.status = 1
			}
		}
	}
	return f.status
}

func (f *finder) walk(x *findFile, test findTest) {
	if f.quit || f.c.ctx.Err() != nil {
		return
	}
	f.prune = false
	inRange := x.depth >= f.mindepth && x.depth <= f.maxdepth
	if inRange && !f.depthFirst {
		test(x)
	}
	if x.st.IsDir() && x.depth < f.maxdepth && !f.prune && !f.quit {
		list, err := readDir(x.fs, x.abs)
		if err != nil {
			f.c.errorf("'%s': %s", x.name, errText(err))
			f.status = 1
		}
		for _, e := range list {
			sub := &findFile{name: strings.TrimSuffix(x.name, "/") + "/" + e.Name, abs: x.abs + "/" + e.Name, depth: x.depth + 1}
			sub.fs = f.c.p.fs(sub.abs)
			if sub.st, err = sub.fs.Stat(sub.abs, f.follow); err != nil {
				if err != unix.ENOENT {
					f.c.errorf("'%s': %s", sub.name, errText(err))
					f.status = 1
				}
				continue
			}
			f.walk(sub, test)
		}
	}
	if inRange && f.depthFirst && !f.quit {
		test(x)
	}
}

func (f *finder) peek() string {
	if len(f.args) == 0 {
		return ""
	}
	return f.args[0]
}

func (f *finder) next() string {
	s := f.peek()
	if len(f.args) > 0 {
		f.args = f.args[1:]
	}
	return s
}

func (f *finder) or() (findTest, error) {
	a, err := f.and()
	for err == nil && (f.peek() == "-o" || f.peek() == "-or") {
		f.next()
		var b findTest
		left := a
		if b, err = f.and(); err == nil {
			a = func(x *findFile) bool { return left(x) || b(x) }
		}
	}
	return a, err
}

func (f *finder) and() (findTest, error) {
	a, err := f.primary()
	for err == nil && len(f.args) > 0 && f.peek() != "-o" && f.peek() != "-or" && f.peek() != ")" {
		if f.peek() == "-a" || f.peek() == "-and" {
			f.next()
		}
		var b findTest
		left := a
		if b, err = f.primary(); err == nil {
			a = func(x *findFile) bool { return left(x) && b(x) }
		}
	}
	return a, err
}

// number reads find's +n, -n, n.
func findNumber(s string) (func(int64) bool, error) {
	n, err := strconv.ParseInt(strings.TrimLeft(s, "+-"), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("non-numeric argument `%s'", s)
	}
	switch s[0] {
	case '+':
		return func(v int64) bool { return v > n }, nil
	case '-':
		return func(v int64) bool { return v < n }, nil
	}
	return func(v int64) bool { return v == n }, nil
}

func always(*findFile) bool { return true }

func (f *finder) primary() (findTest, error) {
	c := f.c
	switch op := f.next(); op {
	case "(":
		t, err := f.or()
		if err == nil && f.next() != ")" {
			err = fmt.Errorf("invalid expression; I was expecting to find a ')' somewhere but did not see one.")
		}
		return t, err
	case "!", "-not":
		t, err := f.primary()
		return func(x *findFile) bool { return !t(x) }, err
	case "-name", "-iname":
		pat := f.next()
		if op == "-iname" {
			pat = strings.ToLower(pat)
		}
		return func(x *findFile) bool {
			base := path.Base(x.name)
			if op == "-iname" {
				base = strings.ToLower(base)
			}
			return bash.Match(pat, base)
		}, nil
	case "-path", "-wholename":
		pat := f.next()
		return func(x *findFile) bool { return bash.Match(pat, x.name) }, nil
	case "-regex":
		re, err := regexp.Compile("^(?:" + f.next() + ")$")
		if err != nil {
			return nil, err
		}
		return func(x *findFile) bool { return re.MatchString(x.name) }, nil
	case "-type", "-xtype":
		kinds := f.next()
		return func(x *findFile) bool {
			k := map[uint32]string{unix.S_IFREG: "f", unix.S_IFDIR: "d", unix.S_IFLNK: "l", unix.S_IFBLK: "b", unix.S_IFCHR: "c", unix.S_IFIFO: "p", unix.S_IFSOCK: "s"}[x.st.Mode&unix.S_IFMT]
			return strings.Contains(kinds, k)
		}, nil
	case "-size":
		s := f.next()
		unit := int64(512)
		if s != "" {
			switch s[len(s)-1] {
			case 'c':
				unit = 1
			case 'w':
				unit = 2
			case 'k':
				unit = 1 << 10
			case 'M':
				unit = 1 << 20
			case 'G':
				unit = 1 << 30
			}
		}
		n, err := findNumber(strings.TrimRight(s, "bcwkMG"))
		return func(x *findFile) bool { return n((x.st.Size + unit - 1) / unit) }, err
	case "-links", "-inum", "-uid", "-gid":
		n, err := findNumber(f.next())
		return func(x *findFile) bool {
			return n(map[string]int64{"-links": int64(x.st.Nlink), "-inum": int64(x.st.Ino), "-uid": int64(x.st.Uid), "-gid": int64(x.st.Gid)}[op])
		}, err
	case "-user":
		id, ok := lookupID("/etc/passwd", f.next())
		if !ok {
			return nil, fmt.Errorf("is not the name of a known user")
		}
		return func(x *findFile) bool { return int(x.st.Uid) == id }, nil
	case "-perm":
		s := f.next()
		mode, ok := parseMode(strings.TrimLeft(s, "-/"), 0, 0, false)
		if !ok {
			return nil, fmt.Errorf("invalid mode '%s'", s)
		}
		return func(x *findFile) bool {
			m := x.st.Mode & 0o7777
			switch s[0] {
			case '-':
				return m&mode == mode
			case '/':
				return m&mode != 0 || mode == 0
			}
			return m == mode
		}, nil
	case "-empty":
		return func(x *findFile) bool {
			if x.st.IsDir() {
				list, err := readDir(x.fs, x.abs)
				return err == nil && len(list) == 0
			}
			return x.st.IsReg() && x.st.Size == 0
		}, nil
	case "-newer":
		fs, abs := c.at(f.next())
		st, err := fs.Stat(abs, true)
		return func(x *findFile) bool { return x.st.Mtime.After(st.Mtime) }, err
	case "-samefile":
		fs, abs := c.at(f.next())
		st, err := fs.Stat(abs, true)
		return func(x *findFile) bool { return x.st.Ino == st.Ino && x.st.Dev == st.Dev }, err
	case "-mtime", "-mmin":
		n, err := findNumber(f.next())
		unit := 24 * time.Hour
		if op == "-mmin" {
			unit = time.Minute
		}
		return func(x *findFile) bool { return n(int64(c.p.Now().Sub(x.st.Mtime) / unit)) }, err
	case "-maxdepth", "-mindepth":
		n, err := strconv.Atoi(f.next())
		if op == "-maxdepth" {
			f.maxdepth = n
		} else {
			f.mindepth = n
		}
		return always, err
	case "-depth":
		f.depthFirst = true
		return always, nil
	case "-xdev", "-mount", "-noleaf", "-true":
		return always, nil
	case "-false":
		return func(*findFile) bool { return false }, nil
	case "-prune":
		return func(*findFile) bool { f.prune = true; return true }, nil
	case "-quit":
		f.acts = true
		return func(*findFile) bool { f.quit = true; return true }, nil
	case "-print", "-print0":
		f.acts = true
		end := "\n"
		if op == "-print0" {
			end = "\x00"
		}
		return func(x *findFile) bool { c.printf("%s%s", x.name, end); return true }, nil
	case "-printf":
		f.acts = true
		format, _ := c.sh.Sprintf("%b", []string{f.next()})
		return func(x *findFile) bool { c.printf("%s", findFormat(c, format, x)); return true }, nil
	case "-ls":
		f.acts = true
		return func(x *findFile) bool {
			c.printf("%9d %6d %s %3d %-8s %-8s %8d %s %s\n", x.st.Ino, x.st.Blocks/2, modeString(x.st.Mode), x.st.Nlink,
				nameOfID("/etc/passwd", x.st.Uid), nameOfID("/etc/group", x.st.Gid), x.st.Size, x.st.Mtime.Format("Jan _2 15:04"), x.name)
			return true
		}, nil
	case "-delete":
		f.acts, f.depthFirst = true, true
		return func(x *findFile) bool {
			remove := x.fs.Unlink
			if x.st.IsDir() {
				remove = x.fs.Rmdir
			}
			if err := remove(x.abs); err != nil {
				c.errorf("cannot delete '%s': %s", x.name, errText(err))
				f.status = 1
				return false
			}
			return true
		}, nil
	case "-exec", "-execdir", "-ok":
		return f.exec()
	default:
		return nil, fmt.Errorf("unknown predicate `%s'", op)
	}
}

func (f *finder) exec() (findTest, error) {
	f.acts = true
	var cmd []string
	for {
		if len(f.args) == 0 {
			return nil, fmt.Errorf("missing argument to `-exec'")
		}
		a := f.next()
		if a == ";" {
			break
		}
		if a == "+" && len(cmd) > 0 && cmd[len(cmd)-1] == "{}" {
			b := &findBatch{cmd: cmd[:len(cmd)-1]}
			f.batches = append(f.batches, b)
			return func(x *findFile) bool {
				b.names = append(b.names, x.name)
				return true
			}, nil
		}
		cmd = append(cmd, a)
	}
	return func(x *findFile) bool {
		args := make([]string, len(cmd))
		for i, a := range cmd {
			args[i] = strings.ReplaceAll(a, "{}", x.name)
		}
		f.c.flush()
		return f.c.sh.Command(args) == 0
	}, nil
}

// findFormat is -printf.
func findFormat(c *call, format string, x *findFile) string {
	return expandFormat(format, func(spec string, verb, _ byte) string {
		switch verb {
		case 'p':
			return fmt.Sprintf(spec+"s", x.name)
		case 'f':
			return fmt.Sprintf(spec+"s", path.Base(x.name))
		case 'h':
			return fmt.Sprintf(spec+"s", path.Dir(x.name))
		case 'P':
			_, rest, _ := strings.Cut(x.name, "/")
			return fmt.Sprintf(spec+"s", rest)
		case 's':
			return fmt.Sprintf(spec+"d", x.st.Size)
		case 'i':
			return fmt.Sprintf(spec+"d", x.st.Ino)
		case 'n':
			return fmt.Sprintf(spec+"d", x.st.Nlink)
		case 'm':
			return fmt.Sprintf(spec+"o", x.st.Mode&0o7777)
		case 'M':
			return modeString(x.st.Mode)
		case 'U':
			return fmt.Sprintf(spec+"d", x.st.Uid)
		case 'G':
			return fmt.Sprintf(spec+"d", x.st.Gid)
		case 'd':
			return fmt.Sprintf(spec+"d", x.depth)
		case 'b':
			return fmt.Sprintf(spec+"d", x.st.Blocks)
		case 'k':
			return fmt.Sprintf(spec+"d", (x.st.Blocks+1)/2)
		case 'y':
			return strings.Replace(modeString(x.st.Mode)[:1], "-", "f", 1)
		case 'l':
			target, _ := x.fs.Readlink(x.abs)
			return fmt.Sprintf(spec+"s", target)
		case 'T':
			return strconv.FormatInt(x.st.Mtime.Unix(), 10)
		}
		return "%" + string(verb)
	})
}
