// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// builtins are the commands that the shell runs itself. The table is filled by init because some of them look
// into it.
var builtins map[string]func(sh *Shell, args []string) int

func init() {
	builtins = map[string]func(sh *Shell, args []string) int{
		":": builtinTrue, "true": builtinTrue, "false": func(*Shell, []string) int { return 1 },
		".": builtinSource, "source": builtinSource,
		"echo": builtinEcho, "printf": builtinPrintf, "read": builtinRead, "mapfile": builtinMapfile, "readarray": builtinMapfile,
		"cd": builtinCd, "pwd": builtinPwd, "pushd": builtinPushd, "popd": builtinPopd, "dirs": builtinDirs,
		"exit": builtinExit, "return": builtinReturn, "break": builtinBreak, "continue": builtinBreak, "shift": builtinShift,
		"set": builtinSet, "shopt": builtinShopt, "unset": builtinUnset,
		"declare": builtinDeclare, "typeset": builtinDeclare, "local": builtinDeclare, "export": builtinDeclare, "readonly": builtinDeclare,
		"eval": builtinEval, "trap": builtinTrap, "wait": builtinWait, "kill": builtinKill, "jobs": builtinJobs, "disown": builtinTrue,
		"test": builtinTest, "[": builtinTest, "let": builtinLet,
		"type": builtinType, "command": builtinCommand, "builtin": builtinBuiltin, "hash": builtinTrue,
		"umask": builtinUmask, "ulimit": builtinUlimit, "getopts": builtinGetopts, "times": builtinTimes,
		"alias": builtinTrue, "unalias": builtinTrue, "caller": builtinCaller, "fg": builtinTrue, "bg": builtinTrue, "enable": builtinTrue,
	}
}

// IsBuiltin tells whether the shell itself runs a command.
func IsBuiltin(name string) bool { return builtins[name] != nil }

func builtinTrue(*Shell, []string) int { return 0 }

func builtinSource(sh *Shell, args []string) int {
	if len(args) < 2 {
		sh.Errorf("%s: filename argument required", args[0])
		return 2
	}
	path := args[1]
	if !strings.Contains(path, "/") {
		for _, dir := range strings.Split(sh.Get("PATH"), ":") {
			if dir == "" || dir == "." {
				continue
			}
			if fi, err := sh.World.Stat(sh.Abs(dir)+"/"+path, true); err == nil && fi.Mode&unix.S_IFMT == unix.S_IFREG {
				path = dir + "/" + path
				break
			}
		}
	}
	return sh.source(path, args[2:])
}

func builtinCd(sh *Shell, args []string) int {
	args = args[1:]
	physical := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") && len(args[0]) > 1 {
		physical = args[0] == "-P"
		args = args[1:]
	}
	to := sh.Get("HOME")
	if len(args) > 0 {
		to = args[0]
	}
	show := to == "-"
	if show {
		to = sh.Get("OLDPWD")
	}
	if to == "" {
		return 0
	}
	_ = physical // names of links are resolved by the world when it walks them
	if err := sh.chdir(to); err != nil {
		sh.Errorf("cd: %s: %s", to, errText(err))
		return 1
	}
	if show {
		fmt.Fprintln(sh.Stdout(), sh.Dir)
	}
	return 0
}

func builtinPwd(sh *Shell, _ []string) int {
	fmt.Fprintln(sh.Stdout(), sh.Dir)
	return 0
}

func builtinPushd(sh *Shell, args []string) int {
	old := sh.Dir
	switch {
	case len(args) < 2:
		if len(sh.dirStack) == 0 {
			sh.Errorf("pushd: no other directory")
			return 1
		}
		if err := sh.chdir(sh.dirStack[0]); err != nil {
			sh.Errorf("pushd: %s: %s", sh.dirStack[0], errText(err))
			return 1
		}
		sh.dirStack[0] = old
	default:
		if err := sh.chdir(args[1]); err != nil {
			sh.Errorf("pushd: %s: %s", args[1], errText(err))
			return 1
		}
		sh.dirStack = slices.Insert(sh.dirStack, 0, old)
	}
	return builtinDirs(sh, nil)
}

func builtinPopd(sh *Shell, _ []string) int {
	if len(sh.dirStack) == 0 {
		sh.Errorf("popd: directory stack empty")
		return 1
	}
	if err := sh.chdir(sh.dirStack[0]); err != nil {
		sh.Errorf("popd: %s: %s", sh.dirStack[0], errText(err))
		return 1
	}
	sh.dirStack = sh.dirStack[1:]
	return builtinDirs(sh, nil)
}

func builtinDirs(sh *Shell, _ []string) int {
	fmt.Fprintln(sh.Stdout(), strings.Join(append([]string{sh.Dir}, sh.dirStack...), " "))
	return 0
}

// statusArg reads the argument of exit and return.
func statusArg(sh *Shell, args []string) int {
	if len(args) < 2 {
		return sh.status
	}
	n, err := strconv.ParseInt(strings.TrimSpace(args[1]), 10, 64)
	if err != nil {
		sh.Errorf("%s: %s: numeric argument required", args[0], args[1])
		return 2
	}
	return int(n & 255)
}

func builtinExit(sh *Shell, args []string) int {
	sh.status = statusArg(sh, args)
	sh.flow = flowExit
	return sh.status
}

func builtinReturn(sh *Shell, args []string) int {
	if len(sh.frames) == 0 {
		sh.Errorf("return: can only `return' from a function or sourced script")
		return 2
	}
	status := statusArg(sh, args)
	sh.flow = flowReturn
	return status
}

func builtinBreak(sh *Shell, args []string) int {
	if sh.loops == 0 {
		sh.Errorf("%s: only meaningful in a `for', `while', or `until' loop", args[0])
		return 0
	}
	n := 1
	if len(args) > 1 {
		var err error
		if n, err = strconv.Atoi(args[1]); err != nil || n < 1 {
			sh.Errorf("%s: %s: loop count out of range", args[0], args[1])
			return 1
		}
	}
	sh.flowCount = min(n, sh.loops)
	sh.flow = flowBreak
	if args[0] == "continue" {
		sh.flow = flowContinue
	}
	return 0
}

func builtinShift(sh *Shell, args []string) int {
	n := 1
	if len(args) > 1 {
		n64, err := sh.arithString(args[1])
		if err != nil || n64 < 0 {
			sh.Errorf("shift: %s: shift count out of range", args[1])
			return 1
		}
		n = int(n64)
	}
	if n > len(sh.Args) {
		return 1
	}
	sh.Args = sh.Args[n:]
	return 0
}

func builtinEval(sh *Shell, args []string) int {
	text := strings.Join(args[1:], " ")
	if strings.TrimSpace(text) == "" {
		return 0
	}
	f, err := sh.shared.cache.parse("eval", text)
	if err != nil {
		sh.Errorf("eval: %v", err)
		return 2
	}
	line := sh.line
	sh.stmts(f.Stmts)
	sh.line = line
	return sh.status
}

func builtinLet(sh *Shell, args []string) int {
	var n int64
	for _, a := range args[1:] {
		var err error
		if n, err = sh.arithString(a); err != nil {
			sh.Errorf("let: %v", err)
			return 1
		}
	}
	if n == 0 {
		return 1
	}
	return 0
}

func builtinTimes(sh *Shell, _ []string) int {
	fmt.Fprintf(sh.Stdout(), "0m0.000s 0m0.000s\n0m0.000s 0m0.000s\n")
	return 0
}

func builtinCaller(sh *Shell, args []string) int {
	n := 0
	if len(args) > 1 {
		n, _ = strconv.Atoi(args[1])
	}
	i := len(sh.frames) - 1 - n
	if i < 0 {
		return 1
	}
	source, name := sh.Name, "main"
	if i > 0 {
		source, name = sh.frames[i-1].source, sh.frames[i-1].name
	}
	if len(args) > 1 {
		fmt.Fprintf(sh.Stdout(), "%d %s %s\n", sh.frames[i].line, name, source)
	} else {
		fmt.Fprintf(sh.Stdout(), "%d %s\n", sh.frames[i].line, source)
	}
	return 0
}

var keywords = []string{"if", "then", "else", "elif", "fi", "case", "esac", "for", "select", "while", "until", "do", "done", "in", "function", "time", "{", "}", "!", "[[", "]]", "coproc"}

// describe is what type and command -v know of a name: its kind and, for a program, its path.
func (sh *Shell) describe(name string) (kind, path string) {
	switch {
	case slices.Contains(keywords, name):
		return "keyword", name
	case sh.funcs[name] != nil:
		return "function", name
	case builtins[name] != nil:
		return "builtin", name
	}
	if run, path := sh.World.Lookup(sh, name); run != nil {
		return "file", path
	}
	return "", ""
}

func builtinType(sh *Shell, args []string) int {
	args = args[1:]
	mode := byte(0)
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		for _, c := range []byte(args[0][1:]) {
			if c == 't' || c == 'p' || c == 'P' {
				mode = c
			}
		}
		args = args[1:]
	}
	status := 0
	for _, name := range args {
		kind, path := sh.describe(name)
		if mode == 'P' {
			run, p := sh.World.Lookup(sh, name)
			if kind, path = "", ""; run != nil {
				kind, path = "file", p
			}
		}
		if kind == "" {
			if mode == 0 {
				sh.Errorf("type: %s: not found", name)
			}
			status = 1
			continue
		}
		switch mode {
		case 't':
			fmt.Fprintln(sh.Stdout(), kind)
		case 'p', 'P':
			if kind == "file" {
				fmt.Fprintln(sh.Stdout(), path)
			}
		default:
			switch kind {
			case "file":
				fmt.Fprintf(sh.Stdout(), "%s is %s\n", name, path)
			case "builtin":
				fmt.Fprintf(sh.Stdout(), "%s is a shell builtin\n", name)
			case "keyword":
				fmt.Fprintf(sh.Stdout(), "%s is a shell keyword\n", name)
			default:
				fmt.Fprintf(sh.Stdout(), "%s is a function\n", name)
			}
		}
	}
	return status
}

func builtinCommand(sh *Shell, args []string) int {
	args = args[1:]
	mode := byte(0)
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		switch args[0] {
		case "-v", "-V":
			mode = args[0][1]
		case "--":
			args = args[1:]
			goto run
		}
		args = args[1:]
	}
run:
	if len(args) == 0 {
		return 0
	}
	if mode == 0 {
		sh.callNoFunction(args)
		return sh.status
	}
	status := 1
	for _, name := range args {
		kind, path := sh.describe(name)
		if kind == "" {
			if mode == 'V' {
				sh.Errorf("command: %s: not found", name)
			}
			continue
		}
		status = 0
		if mode == 'v' {
			fmt.Fprintln(sh.Stdout(), path)
		} else {
			fmt.Fprintf(sh.Stdout(), "%s is %s\n", name, path)
		}
	}
	return status
}

func builtinBuiltin(sh *Shell, args []string) int {
	if len(args) < 2 {
		return 0
	}
	b := builtins[args[1]]
	if b == nil {
		sh.Errorf("builtin: %s: not a shell builtin", args[1])
		return 1
	}
	return b(sh, args[1:])
}

func builtinUmask(sh *Shell, args []string) int {
	args = args[1:]
	symbolic := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		symbolic = args[0] == "-S"
		args = args[1:]
	}
	sh.separate()
	old := sh.World.Umask(0)
	if len(args) == 0 {
		sh.World.Umask(old)
		if symbolic {
			perm := func(bits int) string {
				s := ""
				for i, c := range "rwx" {
					if bits&(4>>i) == 0 {
						s += string(c)
					}
				}
				return s
			}
			fmt.Fprintf(sh.Stdout(), "u=%s,g=%s,o=%s\n", perm(old>>6), perm(old>>3), perm(old))
		} else {
			fmt.Fprintf(sh.Stdout(), "%04o\n", old)
		}
		return 0
	}
	n, err := strconv.ParseUint(args[0], 8, 16)
	if err != nil {
		mode, ok := SymbolicMode(args[0], uint32(^old&0o777), 0, false)
		if !ok {
			sh.World.Umask(old)
			sh.Errorf("umask: %s: invalid symbolic mode operator", args[0])
			return 1
		}
		n = uint64(^mode & 0o777)
	}
	sh.World.Umask(int(n))
	return 0
}

// SymbolicMode applies chmod's "u+x,go=r" to old.
func SymbolicMode(spec string, old uint32, umask uint32, dir bool) (uint32, bool) {
	mode := old
	for _, clause := range strings.Split(spec, ",") {
		i := 0
		who := uint32(0)
		for ; i < len(clause); i++ {
			bits := map[byte]uint32{'u': 0o4700, 'g': 0o2070, 'o': 0o1007, 'a': 0o7777}[clause[i]]
			if bits == 0 {
				break
			}
			who |= bits
		}
		mask := uint32(0o7777)
		if who == 0 {
			who, mask = 0o7777, ^umask
		}
		if i >= len(clause) {
			return 0, false
		}
		for i < len(clause) {
			op := clause[i]
			if op != '+' && op != '-' && op != '=' {
				return 0, false
			}
			i++
			perm := uint32(0)
			for ; i < len(clause) && strings.IndexByte("+-=", clause[i]) < 0; i++ {
				switch clause[i] {
				case 'r':
					perm |= 0o444
				case 'w':
					perm |= 0o222
				case 'x':
					perm |= 0o111
				case 'X':
					if dir || mode&0o111 != 0 {
						perm |= 0o111
					}
				case 's':
					perm |= 0o6000
				case 't':
					perm |= 0o1000
				case 'u':
					perm |= mode >> 6 & 7 * 0o111
				case 'g':
					perm |= mode >> 3 & 7 * 0o111
				case 'o':
					perm |= mode & 7 * 0o111
				default:
					return 0, false
				}
			}
			bits := perm & who & mask
			if perm&0o1000 != 0 {
				bits |= 0o1000
			}
			switch op {
			case '+':
				mode |= bits
			case '-':
				mode &^= bits
			default:
				clear := who & 0o7777
				if dir {
					clear &^= 0o6000
				}
				mode = mode&^clear | bits
			}
		}
	}
	return mode, true
}

func builtinUlimit(sh *Shell, args []string) int {
	// There are no limits; what a script asks for is granted.
	for _, a := range args[1:] {
		if !strings.HasPrefix(a, "-") {
			return 0
		}
	}
	fmt.Fprintln(sh.Stdout(), "unlimited")
	return 0
}

func builtinGetopts(sh *Shell, args []string) int {
	if len(args) < 3 {
		sh.Errorf("getopts: usage: getopts optstring name [arg ...]")
		return 2
	}
	spec, name, list := args[1], args[2], args[3:]
	if len(args) == 3 {
		list = sh.Args
	}
	quiet := strings.HasPrefix(spec, ":")
	ind, err := strconv.Atoi(sh.Get("OPTIND"))
	if err != nil || ind < 1 {
		ind = 1
	}
	pos := sh.optPos
	end := func(status int, value string) int {
		sh.Set("OPTIND", strconv.Itoa(ind))
		sh.optPos = pos
		sh.Set(name, value)
		return status
	}
	if ind > len(list) {
		return end(1, "?")
	}
	arg := list[ind-1]
	if pos == 0 {
		if len(arg) < 2 || arg[0] != '-' {
			return end(1, "?")
		}
		if arg == "--" {
			ind++
			return end(1, "?")
		}
		pos = 1
	}
	c := arg[pos]
	pos++
	i := strings.IndexByte(spec, c)
	if c == ':' || i < 0 {
		if pos >= len(arg) {
			ind, pos = ind+1, 0
		}
		if quiet {
			sh.Set("OPTARG", string(c))
		} else {
			fmt.Fprintf(sh.Stderr(), "%s: illegal option -- %c\n", sh.Name, c)
			sh.unset("OPTARG")
		}
		return end(0, "?")
	}
	if i+1 < len(spec) && spec[i+1] == ':' {
		value := arg[pos:]
		ind, pos = ind+1, 0
		if value == "" {
			if ind > len(list) {
				if quiet {
					sh.Set("OPTARG", string(c))
					return end(0, ":")
				}
				fmt.Fprintf(sh.Stderr(), "%s: option requires an argument -- %c\n", sh.Name, c)
				sh.unset("OPTARG")
				return end(0, "?")
			}
			value = list[ind-1]
			ind++
		}
		sh.Set("OPTARG", value)
		return end(0, string(c))
	}
	if pos >= len(arg) {
		ind, pos = ind+1, 0
	}
	sh.unset("OPTARG")
	return end(0, string(c))
}

var optionLetters = map[string]byte{"allexport": 'a', "errexit": 'e', "noglob": 'f', "hashall": 'h', "nounset": 'u', "xtrace": 'x',
	"pipefail": 'P', "verbose": 'v', "noclobber": 'C', "monitor": 'm', "noexec": 'n', "braceexpand": 'B', "physical": 'p', "posix": 'o', "errtrace": 'E', "functrace": 'T'}

func builtinSet(sh *Shell, args []string) int {
	args = args[1:]
	if len(args) == 0 {
		for _, name := range sh.names("") {
			if s, ok := sh.vars[name].scalarValue(); ok {
				fmt.Fprintf(sh.Stdout(), "%s=%s\n", name, s)
			}
		}
		return 0
	}
	for len(args) > 0 {
		a := args[0]
		if a == "--" {
			sh.Args = args[1:]
			return 0
		}
		if a == "-" {
			sh.Args = args[1:]
			return 0
		}
		if len(a) < 2 || a[0] != '-' && a[0] != '+' {
			break
		}
		args = args[1:]
		on := a[0] == '-'
		for _, c := range []byte(a[1:]) {
			if c != 'o' {
				sh.opts[c] = on
				continue
			}
			if len(args) == 0 {
				var names []string
				for name := range optionLetters {
					names = append(names, name)
				}
				sort.Strings(names)
				for _, name := range names {
					state := "off"
					if sh.opts[optionLetters[name]] {
						state = "on"
					}
					fmt.Fprintf(sh.Stdout(), "%-15s\t%s\n", name, state)
				}
				return 0
			}
			letter, ok := optionLetters[args[0]]
			if !ok {
				sh.Errorf("set: %s: invalid option name", args[0])
				return 2
			}
			sh.opts[letter] = on
			args = args[1:]
		}
	}
	if len(args) > 0 {
		sh.Args = args
	}
	return 0
}

func builtinShopt(sh *Shell, args []string) int {
	mode := byte(0)
	args = args[1:]
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		mode = args[0][1]
		args = args[1:]
	}
	status := 0
	for _, name := range args {
		switch mode {
		case 's':
			sh.shopts[name] = true
		case 'u':
			sh.shopts[name] = false
		default:
			if !sh.shopts[name] {
				status = 1
			}
			if mode == 0 || mode == 'p' {
				state := map[bool]string{true: "on", false: "off"}[sh.shopts[name]]
				fmt.Fprintf(sh.Stdout(), "%-15s\t%s\n", name, state)
			}
		}
	}
	return status
}

func builtinUnset(sh *Shell, args []string) int {
	args = args[1:]
	mode := byte(0)
	for len(args) > 0 && len(args[0]) == 2 && args[0][0] == '-' {
		mode = args[0][1]
		args = args[1:]
	}
	status := 0
	for _, name := range args {
		if mode == 'f' || mode == 0 && sh.vars[name] == nil && sh.funcs[name] != nil {
			funcs := make(map[string]*function, len(sh.funcs))
			for n, f := range sh.funcs {
				if n != name {
					funcs[n] = f
				}
			}
			sh.funcs, sh.ownFunc = funcs, true
			continue
		}
		if mode == 'n' {
			delete(sh.vars, name)
			continue
		}
		if err := sh.unset(name); err != nil {
			sh.Errorf("unset: %v", err)
			status = 1
		}
	}
	return status
}

// Builtin runs one of the shell's own commands.
func (sh *Shell) Builtin(args []string) int {
	b := builtins[args[0]]
	if b == nil {
		return 127
	}
	return b(sh, args)
}

// Environment changes exported variables until the function that it returns is called: env(1) does so.
func (sh *Shell) Environment(set map[string]string, unset []string, clean bool) (restore func()) {
	s := &scope{}
	if clean {
		for _, name := range sh.names("") {
			if sh.vars[name].exported {
				unset = append(unset, name)
			}
		}
	}
	for _, name := range unset {
		if sh.vars[name] != nil {
			sh.hide(s, name)
			delete(sh.vars, name)
		}
	}
	for name, value := range set {
		sh.hide(s, name)
		sh.vars[name] = &Var{set: true, str: value, exported: true, owner: sh.tok}
	}
	return func() { sh.leave(s) }
}

// CommandContext runs a program that ends with ctx.
func (sh *Shell) CommandContext(ctx context.Context, args []string) int {
	sub := sh.fork()
	sub.ownProcess()
	sub.proc = newProc(ctx, sub.proc.pid)
	sub.status = sub.Command(args)
	return sub.finish()
}
