// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"slices"
)

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
