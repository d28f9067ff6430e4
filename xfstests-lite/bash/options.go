// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
)

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

func (sh *Shell) shopt(name string) bool { return slices.Contains(sh.shopts, name) }

// setShopt leaves the list alone that forks of the shell share.
func (sh *Shell) setShopt(name string, on bool) {
	list := slices.DeleteFunc(slices.Clone(sh.shopts), func(s string) bool { return s == name })
	if on {
		list = append(list, name)
	}
	sh.shopts = list
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
			sh.setShopt(name, true)
		case 'u':
			sh.setShopt(name, false)
		default:
			if !sh.shopt(name) {
				status = 1
			}
			if mode == 0 || mode == 'p' {
				state := map[bool]string{true: "on", false: "off"}[sh.shopt(name)]
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
