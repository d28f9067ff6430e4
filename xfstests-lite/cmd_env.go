// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

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
