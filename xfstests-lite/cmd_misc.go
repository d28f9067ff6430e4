// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
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
	"timeout": cmdTimeout, "su": cmdSu, "yes": cmdYes, "id": cmdID, "whoami": cmdID, "uname": cmdUname, "hostname": cmdHostname, "nproc": cmdNproc, "getconf": cmdGetconf,
	"bash": cmdShell, "sh": cmdShell, "nice": cmdNice, "ionice": cmdNice, "nohup": cmdNice, "which": cmdWhich, "true": cmdTrue, "false": func(*call) int { return 1 },
	"logger": cmdTrue, "echo": cmdEcho, "printf": cmdEcho, "killall": cmdPkill, "pkill": cmdPkill, "pgrep": cmdPkill, "kill": cmdEcho, "pwd": cmdEcho, "[": cmdEcho, "test": cmdEcho,
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
	uid, gid := os.Geteuid(), os.Getegid()
	ours, onMachine := c.p.ours.(vfsFS)
	if onMachine {
		uid, gid = int(ours.p.Cred().Uid), int(ours.p.Cred().Gid)
	}
	if c.name == "whoami" {
		c.printf("%s\n", nameOfID("/etc/passwd", uint32(uid)))
		return 0
	}
	opts, names, ok := c.getopt("ugnrG", map[string]byte{"user": 'u', "group": 'g', "name": 'n', "real": 'r', "groups": 'G'})
	if !ok {
		return usageStatus
	}
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
