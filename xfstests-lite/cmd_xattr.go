// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrCommands are those of the attr package, and lsattr and chattr of e2fsprogs.
var xattrCommands = map[string]command{
	"setfattr": cmdSetfattr, "getfattr": cmdGetfattr, "lsattr": cmdLsattr, "chattr": cmdChattr,
}

// xattrText is an error as the attr tools word it.
func xattrText(err error) string {
	if err == unix.ENODATA {
		return "No such attribute"
	}
	return errText(err)
}

// decodeValue reads setfattr's value: 0x hex, 0s base64, or text with optional quotes and backslash escapes.
func decodeValue(s string) ([]byte, bool) {
	switch {
	case strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X"):
		b, err := hex.DecodeString(strings.ReplaceAll(s[2:], " ", ""))
		return b, err == nil
	case strings.HasPrefix(s, "0s") || strings.HasPrefix(s, "0S"):
		b, err := base64.StdEncoding.DecodeString(s[2:])
		return b, err == nil
	}
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	var out []byte
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			if s[i+1] == '\\' || s[i+1] == '"' {
				i++
			} else if i+3 < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
					out = append(out, byte(n))
					i += 3
					continue
				}
			}
		}
		out = append(out, s[i])
	}
	return out, true
}

// encodeValue prints a value: as text where it is one, or as asked.
func encodeValue(v []byte, how string) string {
	if how == "" {
		how = "text"
		// A zero byte at the end is usual; other control bytes make it no text.
		t := v
		if n := len(t); n > 0 && t[n-1] == 0 {
			t = t[:n-1]
		}
		for _, b := range t {
			if b < 32 || b >= 127 {
				how = "base64"
				break
			}
		}
	}
	switch how {
	case "hex":
		return "0x" + hex.EncodeToString(v)
	case "base64":
		return "0s" + base64.StdEncoding.EncodeToString(v)
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range v {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == 0 || c == '\n' || c == '\r':
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func cmdSetfattr(c *call) int {
	opts, names, ok := c.getopt("n:x:v:h", map[string]byte{"name=": 'n', "remove=": 'x', "value=": 'v', "no-dereference": 'h', "restore=": 'R', "raw": 'r'})
	if !ok {
		return 2
	}
	follow := !has(opts, 'h')
	if file, ok := last(opts, 'R'); ok {
		return c.restoreAttrs(file, follow)
	}
	name, set := last(opts, 'n')
	remove, del := last(opts, 'x')
	if set == del || len(names) == 0 {
		fmt.Fprintln(c.err, "Usage: setfattr {-n name} [-v value] [-h] file...\n       setfattr {-x name} [-h] file...\nTry `setfattr --help' for more information.")
		return 2
	}
	value := []byte{}
	if v, ok := last(opts, 'v'); ok {
		if has(opts, 'r') {
			value = []byte(v)
		} else if value, ok = decodeValue(v); !ok {
			fmt.Fprintln(c.err, "bad input encoding")
			return 1
		}
	}
	status := 0
	for _, file := range names {
		fs, abs := c.at(file)
		var err error
		if set {
			err = fs.Setxattr(abs, name, value, 0, follow)
		} else {
			err = fs.Removexattr(abs, remove, follow)
		}
		if err != nil {
			c.errorf("%s: %s", file, xattrText(err))
			status = 1
		}
	}
	return status
}

// restoreAttrs sets what getfattr -d has written.
func (c *call) restoreAttrs(file string, follow bool) int {
	lines, status := c.readLines([]string{file})
	if status != 0 {
		return 1
	}
	current := ""
	for _, l := range lines {
		if rest, ok := strings.CutPrefix(l, "# file: "); ok {
			current = rest
			continue
		}
		name, text, hasValue := strings.Cut(l, "=")
		if l == "" || current == "" {
			continue
		}
		value := []byte{}
		if hasValue {
			if value, hasValue = decodeValue(text); !hasValue {
				status = c.fail("bad input encoding")
				continue
			}
		}
		fs, abs := c.at(current)
		if err := fs.Setxattr(abs, name, value, 0, follow); err != nil {
			status = c.fail("%s: %s", current, xattrText(err))
		}
	}
	return status
}

func cmdGetfattr(c *call) int {
	opts, names, ok := c.getopt("n:de:m:hRLP", map[string]byte{"name=": 'n', "dump": 'd', "encoding=": 'e', "match=": 'm', "only-values": 'o', "no-dereference": 'h', "absolute-names": 'a', "recursive": 'R', "logical": 'L', "physical": 'P', "one-file-system": '1'})
	if !ok || len(names) == 0 {
		fmt.Fprintln(c.err, "Usage: getfattr [-hRLP] [-n name|-d] [-e en] [-m pattern] path...\nTry `getfattr --help' for more information.")
		return 2
	}
	g := &attrGetter{c: c, opts: opts, follow: !has(opts, 'h')}
	match := "^user\\."
	if m, ok := last(opts, 'm'); ok && m != "-" {
		match = m
	} else if ok {
		match = ""
	}
	re, err := posixRegexp(match, true, false)
	if err != nil {
		return c.fail("invalid regular expression \"%s\"", match)
	}
	g.match = re
	for _, name := range names {
		g.path(name)
	}
	return g.status
}

type attrGetter struct {
	c      *call
	opts   []opt
	match  *regexp.Regexp
	follow bool
	status int
	bared  bool
}

func (g *attrGetter) path(name string) {
	g.file(name)
	if !has(g.opts, 'R') {
		return
	}
	fs, abs := g.c.at(name)
	st, err := fs.Stat(abs, has(g.opts, 'L'))
	if err != nil || !st.IsDir() {
		return
	}
	list, err := readDir(fs, abs)
	if err != nil {
		g.c.errorf("%s: %s", name, errText(err))
		g.status = 1
	}
	slices.SortFunc(list, func(a, b Dirent) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range list {
		g.path(strings.TrimSuffix(name, "/") + "/" + e.Name)
	}
}

func (g *attrGetter) file(name string) {
	c := g.c
	fs, abs := c.at(name)
	var names []string
	if n, ok := last(g.opts, 'n'); ok {
		names = []string{n}
	} else {
		list, err := fs.Listxattr(abs, g.follow)
		if err != nil {
			c.errorf("%s: %s", name, xattrText(err))
			g.status = 1
			return
		}
		for _, n := range list {
			if g.match.MatchString(n) {
				names = append(names, n)
			}
		}
		slices.Sort(names)
	}
	how, _ := last(g.opts, 'e')
	wantValues := has(g.opts, 'd') || has(g.opts, 'n') || has(g.opts, 'o')
	header := false
	for _, n := range names {
		var value []byte
		if wantValues {
			var err error
			if value, err = fs.Getxattr(abs, n, g.follow); err != nil {
				c.flush()
				fmt.Fprintf(c.err, "%s: %s: %s\n", name, n, xattrText(err))
				g.status = 1
				continue
			}
		}
		if has(g.opts, 'o') {
			c.out.Write(value)
			continue
		}
		if !header {
			show := name
			if !has(g.opts, 'a') && strings.HasPrefix(show, "/") {
				show = strings.TrimLeft(show, "/")
				if !g.bared {
					c.errorf("Removing leading '/' from absolute path names")
					g.bared = true
				}
			}
			c.printf("# file: %s\n", show)
			header = true
		}
		switch {
		case !wantValues:
			c.printf("%s\n", n)
		case len(value) == 0 && how == "":
			c.printf("%s=\"\"\n", n)
		default:
			c.printf("%s=%s\n", n, encodeValue(value, how))
		}
	}
	if header {
		c.printf("\n")
	}
}

// inodeFlags are FS_*_FL in the order of lsattr's columns.
var inodeFlags = []struct {
	flag  uint32
	c     byte
	xfsIO byte
}{
	{0x1, 's', 0}, {0x2, 'u', 0}, {0x8, 'S', 's'}, {0x10000, 'D', 0}, {0x10, 'i', 'i'}, {0x20, 'a', 'a'}, {0x40, 'd', 'd'}, {0x80, 'A', 'A'},
	{0x4, 'c', 'c'}, {0x800, 'E', 0}, {0x4000, 'j', 0}, {0x1000, 'I', 0}, {0x8000, 't', 0}, {0x20000, 'T', 0}, {0x80000, 'e', 0}, {0x800000, 'C', 'C'},
	{0x2000000, 'x', 'x'}, {0x40000000, 'F', 0}, {0x10000000, 'N', 0}, {0x20000000, 'P', 0}, {0x100000, 'V', 0}, {0x400, 'm', 0},
}

func flagString(flags uint32) string {
	var b strings.Builder
	for _, f := range inodeFlags {
		if flags&f.flag != 0 {
			b.WriteByte(f.c)
		} else {
			b.WriteByte('-')
		}
	}
	return b.String()
}

func cmdLsattr(c *call) int {
	opts, names, ok := c.getopt("RVadlpv", nil)
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	status := 0
	show := func(name string) {
		fs, abs := c.at(name)
		h, err := fs.Open(abs, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		var flags uint32
		if err == nil {
			flags, err = h.Flags()
			h.Close()
		}
		if err != nil {
			c.errorf("%s While reading flags on %s", errText(err), name)
			status = 1
			return
		}
		c.printf("%s %s\n", flagString(flags), name)
	}
	for _, name := range names {
		fs, abs := c.at(name)
		st, err := fs.Stat(abs, false)
		if err != nil {
			c.errorf("%s while trying to stat %s", errText(err), name)
			status = 1
			continue
		}
		if !st.IsDir() || has(opts, 'd') {
			show(name)
			continue
		}
		list, err := readDir(fs, abs)
		if err != nil {
			c.errorf("%s while reading %s", errText(err), name)
			status = 1
		}
		for _, e := range list {
			if e.Name[0] != '.' || has(opts, 'a') {
				show(strings.TrimSuffix(name, "/") + "/" + e.Name)
			}
		}
	}
	return status
}

func cmdChattr(c *call) int {
	var add, del, set uint32
	assign := false
	args := c.args
	for len(args) > 0 {
		a := args[0]
		if a == "-R" || a == "-V" || a == "-f" {
			args = args[1:]
			continue
		}
		if len(a) < 2 || strings.IndexByte("+-=", a[0]) < 0 {
			break
		}
		for _, letter := range []byte(a[1:]) {
			i := slices.IndexFunc(inodeFlags, func(f struct {
				flag  uint32
				c     byte
				xfsIO byte
			}) bool {
				return f.c == letter
			})
			if i < 0 {
				fmt.Fprintln(c.err, "Usage: chattr [-RVf] [-+=aAcCdDeijPsStTuFx] [-p project] [-v version] files...")
				return 1
			}
			switch a[0] {
			case '+':
				add |= inodeFlags[i].flag
			case '-':
				del |= inodeFlags[i].flag
			default:
				assign = true
				set |= inodeFlags[i].flag
			}
		}
		args = args[1:]
	}
	status := 0
	for _, name := range args {
		fs, abs := c.at(name)
		h, err := fs.Open(abs, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			c.errorf("%s while trying to stat %s", errText(err), name)
			status = 1
			continue
		}
		flags, err := h.Flags()
		if err != nil {
			c.errorf("%s while reading flags on %s", errText(err), name)
			status = 1
		} else {
			flags = flags&^del | add
			if assign {
				flags = set
			}
			if err := h.SetFlags(flags); err != nil {
				c.errorf("%s while setting flags on %s", errText(err), name)
				status = 1
			}
		}
		h.Close()
	}
	return status
}
