// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"context"
	"fmt"
	"slices"
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
