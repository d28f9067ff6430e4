// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kbtrfs/xfstests-lite/bash"
)

// miscCommands are small programs that cases call often, and those that call others.
var miscCommands = map[string]command{
	"basename": cmdBasename, "dirname": cmdDirname, "sleep": cmdSleep, "date": cmdDate, "expr": cmdExpr, "env": cmdEnv, "xargs": cmdXargs,
	"timeout": cmdTimeout, "yes": cmdYes, "id": cmdID, "whoami": cmdID, "uname": cmdUname, "hostname": cmdHostname, "nproc": cmdNproc, "getconf": cmdGetconf,
	"bash": cmdShell, "sh": cmdShell, "nice": cmdNice, "ionice": cmdNice, "nohup": cmdNice, "which": cmdWhich, "true": cmdTrue, "false": func(*call) int { return 1 },
	"logger": cmdTrue, "echo": cmdEcho, "printf": cmdEcho, "killall": cmdTrue, "pkill": func(*call) int { return 1 }, "kill": cmdEcho, "pwd": cmdEcho, "[": cmdEcho, "test": cmdEcho,
}

func cmdTrue(*call) int { return 0 }

// cmdEcho runs the shell's builtin of the same name.
func cmdEcho(c *call) int { return c.sh.Builtin(append([]string{c.name}, c.args...)) }

func cmdBasename(c *call) int {
	opts, names, ok := c.getopt("as:z", map[string]byte{"multiple": 'a', "suffix=": 's'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing operand")
	}
	suffix, multi := last(opts, 's')
	if !multi && !has(opts, 'a') && len(names) == 2 {
		suffix = names[1]
		names = names[:1]
	}
	for _, n := range names {
		b := path.Base(n)
		if b != suffix {
			b = strings.TrimSuffix(b, suffix)
		}
		c.printf("%s\n", b)
	}
	return 0
}

func cmdDirname(c *call) int {
	for _, n := range c.args {
		n = strings.TrimRight(n, "/")
		i := strings.LastIndexByte(n, '/')
		switch {
		case i < 0 && n == "":
			c.printf("/\n")
		case i < 0:
			c.printf(".\n")
		default:
			d := strings.TrimRight(n[:i], "/")
			if d == "" {
				d = "/"
			}
			c.printf("%s\n", d)
		}
	}
	return 0
}

func cmdSleep(c *call) int {
	var total time.Duration
	for _, a := range c.args {
		unit := time.Second
		switch {
		case strings.HasSuffix(a, "m"):
			unit = time.Minute
		case strings.HasSuffix(a, "h"):
			unit = time.Hour
		case strings.HasSuffix(a, "d"):
			unit = 24 * time.Hour
		}
		if a == "infinity" {
			total += 1 << 50
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimRight(a, "smhd"), 64)
		if err != nil || f < 0 {
			return c.fail("invalid time interval '%s'", a)
		}
		total += time.Duration(f * float64(unit))
	}
	c.p.Sleep(c.ctx, total)
	if c.ctx.Err() != nil {
		return 130
	}
	return 0
}

func cmdDate(c *call) int {
	opts, args, ok := c.getopt("d:uRr:I:s:", map[string]byte{"date=": 'd', "utc": 'u', "rfc-3339=": '3', "iso-8601=": 'I', "iso-8601": '8', "reference=": 'r', "set=": 's'})
	if !ok {
		return usageStatus
	}
	if has(opts, 's') {
		return c.fail("cannot set date: Operation not permitted")
	}
	now := c.p.Now()
	if s, ok := last(opts, 'd'); ok {
		t, good := parseTime(s, now)
		if !good {
			return c.host()
		}
		now = t
	}
	if s, ok := last(opts, 'r'); ok {
		fs, abs := c.at(s)
		st, err := fs.Stat(abs, true)
		if err != nil {
			return c.fail("%s: %s", s, errText(err))
		}
		now = st.Mtime
	}
	if has(opts, 'u') {
		now = now.UTC()
	}
	format := "%a %b %e %H:%M:%S %Z %Y"
	if len(args) > 0 && strings.HasPrefix(args[0], "+") {
		format = args[0][1:]
	} else if has(opts, '8') || has(opts, 'I') {
		format = "%F"
	}
	c.printf("%s\n", bash.Strftime(format, now))
	return 0
}

// cmdExpr evaluates by precedence: | & comparisons + - * / % :
func cmdExpr(c *call) int {
	e := &expr{args: c.args}
	v := e.or()
	if e.err == nil && len(e.args) > 0 {
		e.err = fmt.Errorf("syntax error: unexpected argument '%s'", e.args[0])
	}
	if e.err != nil {
		c.errorf("%v", e.err)
		return 2
	}
	c.printf("%s\n", v)
	if v == "" || v == "0" {
		return 1
	}
	return 0
}

type expr struct {
	args []string
	err  error
}

func (e *expr) is(ops ...string) string {
	if len(e.args) > 0 {
		for _, o := range ops {
			if e.args[0] == o {
				e.args = e.args[1:]
				return o
			}
		}
	}
	return ""
}

func isNull(s string) bool { return s == "" || s == "0" }

func (e *expr) or() string {
	v := e.and()
	for e.err == nil && e.is("|") != "" {
		if w := e.and(); isNull(v) {
			v = w
		}
	}
	return v
}

func (e *expr) and() string {
	v := e.compare()
	for e.err == nil && e.is("&") != "" {
		if w := e.compare(); isNull(v) || isNull(w) {
			v = "0"
		}
	}
	return v
}

func (e *expr) compare() string {
	v := e.sum()
	for e.err == nil {
		op := e.is("<", "<=", "=", "==", "!=", ">=", ">")
		if op == "" {
			break
		}
		w := e.sum()
		n := strings.Compare(v, w)
		a, err1 := strconv.ParseInt(v, 10, 64)
		b, err2 := strconv.ParseInt(w, 10, 64)
		if err1 == nil && err2 == nil {
			n = 0
			if a < b {
				n = -1
			} else if a > b {
				n = 1
			}
		}
		ok := map[string]bool{"<": n < 0, "<=": n <= 0, "=": n == 0, "==": n == 0, "!=": n != 0, ">=": n >= 0, ">": n > 0}[op]
		v = strconv.Itoa(b2i(ok))
	}
	return v
}

func (e *expr) number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("non-integer argument")
	}
	return n
}

func (e *expr) sum() string {
	v := e.product()
	for e.err == nil {
		op := e.is("+", "-")
		if op == "" {
			break
		}
		a, b := e.number(v), e.number(e.product())
		if op == "-" {
			b = -b
		}
		v = strconv.FormatInt(a+b, 10)
	}
	return v
}

func (e *expr) product() string {
	v := e.match()
	for e.err == nil {
		op := e.is("*", "/", "%")
		if op == "" {
			break
		}
		a, b := e.number(v), e.number(e.match())
		switch {
		case e.err != nil:
		case op == "*":
			v = strconv.FormatInt(a*b, 10)
		case b == 0:
			e.err = fmt.Errorf("division by zero")
		case op == "/":
			v = strconv.FormatInt(a/b, 10)
		default:
			v = strconv.FormatInt(a%b, 10)
		}
	}
	return v
}

func (e *expr) match() string {
	v := e.primary()
	for e.err == nil && e.is(":") != "" {
		v = e.matchText(v, e.primary())
	}
	return v
}

func (e *expr) matchText(s, pat string) string {
	re, err := posixRegexp("^"+strings.TrimPrefix(pat, "^"), false, false)
	if err != nil {
		e.err = err
		return ""
	}
	m := re.FindStringSubmatch(s)
	switch {
	case re.NumSubexp() > 0 && m == nil:
		return ""
	case re.NumSubexp() > 0:
		return m[1]
	case m == nil:
		return "0"
	}
	return strconv.Itoa(len(m[0]))
}

func (e *expr) primary() string {
	if len(e.args) == 0 {
		if e.err == nil {
			e.err = fmt.Errorf("syntax error: missing argument")
		}
		return ""
	}
	a := e.args[0]
	e.args = e.args[1:]
	switch {
	case a == "(":
		v := e.or()
		if e.is(")") == "" && e.err == nil {
			e.err = fmt.Errorf("syntax error: expecting ')'")
		}
		return v
	case a == "length" && len(e.args) > 0:
		return strconv.Itoa(len(e.primary()))
	case a == "match" && len(e.args) > 1:
		s := e.primary()
		return e.matchText(s, e.primary())
	case a == "substr" && len(e.args) > 2:
		s := e.primary()
		from, n := int(e.number(e.primary())), int(e.number(e.primary()))
		if from < 1 || n < 1 || from > len(s) {
			return ""
		}
		return s[from-1 : min(len(s), from-1+n)]
	case a == "index" && len(e.args) > 1:
		s := e.primary()
		return strconv.Itoa(strings.IndexAny(s, e.primary()) + 1)
	case a == "+" && len(e.args) > 0:
		return e.primary()
	}
	return a
}

func cmdEnv(c *call) int {
	args := c.args
	set := map[string]string{}
	clean := false
	var unset []string
	for len(args) > 0 {
		switch {
		case args[0] == "-i" || args[0] == "-":
			clean = true
		case args[0] == "-u" && len(args) > 1:
			unset = append(unset, args[1])
			args = args[1:]
		case strings.Contains(args[0], "=") && args[0][0] != '-':
			k, v, _ := strings.Cut(args[0], "=")
			set[k] = v
		default:
			goto run
		}
		args = args[1:]
	}
run:
	restore := c.sh.Environment(set, unset, clean)
	defer restore()
	if len(args) == 0 {
		for _, kv := range c.sh.Environ() {
			c.printf("%s\n", kv)
		}
		return 0
	}
	return c.sh.Command(args)
}

func cmdXargs(c *call) int {
	opts, cmd, ok := c.getoptArgs(c.args, "0n:L:I:rP:d:ti:s:x", map[string]byte{"null": '0', "max-args=": 'n', "no-run-if-empty": 'r', "max-procs=": 'P', "delimiter=": 'd', "verbose": 't', "replace=": 'I', "max-lines=": 'L'}, false)
	if !ok {
		return usageStatus
	}
	data, err := io.ReadAll(c.in)
	if err != nil {
		return c.fail("%s", errText(err))
	}
	var items []string
	repl, byLine := last(opts, 'I')
	switch {
	case has(opts, '0'):
		items = strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
		if len(data) == 0 {
			items = nil
		}
	case has(opts, 'd'):
		d, _ := last(opts, 'd')
		d, _ = c.sh.Sprintf("%b", []string{d})
		items = strings.Split(strings.TrimSuffix(string(data), d), d)
		if len(data) == 0 {
			items = nil
		}
	case byLine:
		for line := range strings.SplitSeq(string(data), "\n") {
			if line = strings.TrimLeft(line, " \t"); line != "" {
				items = append(items, line)
			}
		}
	default:
		items = xargsWords(string(data))
	}
	if len(cmd) == 0 {
		cmd = []string{"echo"}
	}
	status := 0
	run := func(args []string) bool {
		if has(opts, 't') {
			fmt.Fprintln(c.err, strings.Join(args, " "))
		}
		c.flush()
		switch st := c.sh.Command(args); {
		case st == 255:
			status = 124
			return false
		case st == 126 || st == 127:
			status = st
			return false
		case st > 128:
			status = 125
			return false
		case st != 0:
			status = 123
		}
		return c.ctx.Err() == nil
	}
	if byLine {
		for _, item := range items {
			args := make([]string, len(cmd))
			for i, a := range cmd {
				args[i] = strings.ReplaceAll(a, repl, item)
			}
			if !run(args) {
				break
			}
		}
		return status
	}
	most := 2000
	for _, letter := range []byte{'n', 'L'} {
		if s, ok := last(opts, letter); ok {
			n, err := strconv.Atoi(s)
			if err != nil || n < 1 {
				return c.fail("invalid number \"%s\"", s)
			}
			most = n
		}
	}
	if len(items) == 0 && !has(opts, 'r') {
		run(cmd)
	}
	for len(items) > 0 {
		n := min(most, len(items))
		if !run(append(append([]string{}, cmd...), items[:n]...)) {
			break
		}
		items = items[n:]
	}
	return status
}

// xargsWords splits at blanks, with quotes and backslashes.
func xargsWords(s string) []string {
	var out []string
	var cur strings.Builder
	open := false
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				cur.WriteByte(c)
			}
		case c == '\'' || c == '"':
			quote, open = c, true
		case c == '\\' && i+1 < len(s):
			i++
			cur.WriteByte(s[i])
			open = true
		case c == ' ' || c == '\t' || c == '\n':
			if open {
				out = append(out, cur.String())
				cur.Reset()
				open = false
			}
		default:
			cur.WriteByte(c)
			open = true
		}
	}
	if open {
		out = append(out, cur.String())
	}
	return out
}

func cmdTimeout(c *call) int {
	opts, args, ok := c.getoptArgs(c.args, "s:k:v", map[string]byte{"signal=": 's', "kill-after=": 'k', "foreground": 'f', "preserve-status": 'p'}, false)
	_ = opts // every signal ends a job here
	if !ok || len(args) < 2 {
		c.errorf("missing operand")
		return 125
	}
	unit := time.Second
	switch args[0][len(args[0])-1] {
	case 'm':
		unit = time.Minute
	case 'h':
		unit = time.Hour
	}
	f, err := strconv.ParseFloat(strings.TrimRight(args[0], "smhd"), 64)
	if err != nil {
		c.errorf("invalid time interval '%s'", args[0])
		return 125
	}
	if !c.p.Concurrent() { // virtual time: nothing is late
		return c.sh.Command(args[1:])
	}
	ctx, cancel := context.WithTimeout(c.ctx, time.Duration(f*float64(unit)))
	defer cancel()
	status := c.sh.CommandContext(ctx, args[1:])
	if ctx.Err() == context.DeadlineExceeded {
		return 124
	}
	return status
}

func cmdYes(c *call) int {
	s := "y"
	if len(c.args) > 0 {
		s = strings.Join(c.args, " ")
	}
	block := []byte(strings.Repeat(s+"\n", 1+4096/(len(s)+1)))
	for c.ctx.Err() == nil {
		if _, err := c.out.Write(block); err != nil {
			return 141
		}
	}
	return 130
}

func cmdID(c *call) int {
	if c.name == "whoami" {
		c.printf("%s\n", nameOfID("/etc/passwd", uint32(os.Geteuid())))
		return 0
	}
	opts, names, ok := c.getopt("ugnrG", map[string]byte{"user": 'u', "group": 'g', "name": 'n', "real": 'r', "groups": 'G'})
	if !ok {
		return usageStatus
	}
	uid, gid := os.Geteuid(), os.Getegid()
	if len(names) > 0 {
		if uid, ok = lookupID("/etc/passwd", names[0]); !ok || nameOfID("/etc/passwd", uint32(uid)) == "UNKNOWN" {
			return c.fail("'%s': no such user", names[0])
		}
		return c.host()
	}
	switch {
	case has(opts, 'u') && has(opts, 'n'):
		c.printf("%s\n", nameOfID("/etc/passwd", uint32(uid)))
	case has(opts, 'u'):
		c.printf("%d\n", uid)
	case has(opts, 'g') && has(opts, 'n'):
		c.printf("%s\n", nameOfID("/etc/group", uint32(gid)))
	case has(opts, 'g'):
		c.printf("%d\n", gid)
	default:
		return c.host()
	}
	return 0
}

func cmdUname(c *call) int {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return c.fail("%s", errText(err))
	}
	field := func(b [65]byte) string { return unix.ByteSliceToString(b[:]) }
	all := map[byte]string{'s': field(u.Sysname), 'n': field(u.Nodename), 'r': field(u.Release), 'v': field(u.Version), 'm': field(u.Machine), 'p': "unknown", 'i': "unknown", 'o': "GNU/Linux"}
	opts, _, ok := c.getopt("asnrvmpio", map[string]byte{"all": 'a', "kernel-name": 's', "nodename": 'n', "kernel-release": 'r', "machine": 'm'})
	if !ok {
		return usageStatus
	}
	if len(opts) == 0 {
		opts = []opt{{c: 's'}}
	}
	var out []string
	for _, letter := range []byte("snrvmpio") {
		if has(opts, letter) || has(opts, 'a') && letter != 'p' && letter != 'i' {
			out = append(out, all[letter])
		}
	}
	c.printf("%s\n", strings.Join(out, " "))
	return 0
}

func cmdHostname(c *call) int {
	name, err := os.Hostname()
	if err != nil {
		return c.fail("%s", errText(err))
	}
	if len(c.args) > 0 && c.args[0] == "-s" {
		name, _, _ = strings.Cut(name, ".")
	}
	c.printf("%s\n", name)
	return 0
}

func cmdNproc(c *call) int {
	c.printf("%d\n", runtime.NumCPU())
	return 0
}

func cmdGetconf(c *call) int {
	if len(c.args) > 0 {
		switch c.args[0] {
		case "PAGE_SIZE", "PAGESIZE":
			c.printf("4096\n")
			return 0
		case "_NPROCESSORS_ONLN", "_NPROCESSORS_CONF":
			c.printf("%d\n", runtime.NumCPU())
			return 0
		}
	}
	return c.host()
}

// cmdShell is bash and sh: a shell of its own, in this process.
func cmdShell(c *call) int {
	args := c.args
	command := false
	var flags []string
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') {
		a := args[0]
		args = args[1:]
		if a == "--" {
			break
		}
		if a == "-o" && len(args) > 0 {
			flags = append(flags, "set -o "+args[0])
			args = args[1:]
			continue
		}
		for _, f := range a[1:] {
			switch f {
			case 'c':
				command = true
			case 'e', 'x', 'u', 'f':
				flags = append(flags, "set -"+string(f))
			}
		}
	}
	c.flush()
	prefix := ""
	if len(flags) > 0 {
		prefix = strings.Join(flags, ";") + ";"
	}
	switch {
	case command && len(args) == 0:
		c.errorf("-c: option requires an argument")
		return 2
	case command:
		name := c.name
		var rest []string
		if len(args) > 1 {
			name, rest = args[1], args[2:]
		}
		return subShellText(c.sh, prefix+args[0], name, rest)
	case len(args) == 0:
		text, err := io.ReadAll(c.in)
		if err != nil {
			return c.fail("%s", errText(err))
		}
		return subShellText(c.sh, prefix+string(text), c.name, nil)
	}
	return subShell(c.sh, args[0], args[0], args[1:])
}

// cmdNice runs its command; priorities mean nothing here.
func cmdNice(c *call) int {
	_, args, ok := c.getoptArgs(c.args, "n:c:p:t", map[string]byte{"adjustment=": 'n'}, false)
	if !ok || len(args) == 0 {
		return 0
	}
	c.flush()
	return c.sh.Command(args)
}

func cmdWhich(c *call) int {
	status := 0
	for _, name := range c.args {
		if name == "-a" {
			continue
		}
		if run, path := c.p.Lookup(c.sh, name); run != nil {
			c.printf("%s\n", path)
		} else {
			status = 1
		}
	}
	return status
}
