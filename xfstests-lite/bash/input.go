// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"strconv"
	"strings"
)

// builtinRead reads a byte at a time: what follows the line belongs to whoever reads next.
func builtinRead(sh *Shell, args []string) int {
	args = args[1:]
	raw, array, delim, most, exact, fd := false, "", byte('\n'), -1, false, 0
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		opt := args[0]
		args = args[1:]
		if opt == "--" {
			break
		}
		for i := 1; i < len(opt); i++ {
			c := opt[i]
			if c == 'r' {
				raw = true
				continue
			}
			if strings.IndexByte("adnNpitu", c) < 0 {
				continue // -s, -e
			}
			value := opt[i+1:]
			if value == "" && len(args) > 0 {
				value, args = args[0], args[1:]
			}
			switch c {
			case 'a':
				array = value
			case 'd':
				delim = 0
				if value != "" {
					delim = value[0]
				}
			case 'n', 'N':
				n, err := strconv.Atoi(value)
				if err != nil {
					sh.Errorf("read: %s: invalid number", value)
					return 2
				}
				most, exact = n, c == 'N'
			case 'u':
				n, err := strconv.Atoi(value)
				if err != nil {
					sh.Errorf("read: %s: invalid file descriptor specification", value)
					return 2
				}
				fd = n
			}
			break
		}
	}
	if sh.fd(fd) == nil {
		sh.Errorf("read: %d: invalid file descriptor: Bad file descriptor", fd)
		return 1
	}
	line, escaped, status := sh.readLine(sh.Fd(fd), delim, raw, most, exact)
	if err := sh.assignRead(line, escaped, args, array, exact); err != nil {
		sh.Errorf("read: %v", err)
		return 1
	}
	return status
}

// readLine reads up to delim. escaped marks the bytes that a backslash protected from splitting.
func (sh *Shell) readLine(f File, delim byte, raw bool, most int, exact bool) (line []byte, escaped []bool, status int) {
	var one [1]byte
	for most < 0 || len(line) < most {
		n, err := f.Read(one[:])
		if n == 0 {
			if err == nil {
				continue
			}
			return line, escaped, 1
		}
		c := one[0]
		if c == delim && !exact {
			return line, escaped, 0
		}
		if c == '\\' && !raw {
			n, _ := f.Read(one[:])
			if n == 0 {
				return line, escaped, 1
			}
			if one[0] == '\n' {
				continue
			}
			line, escaped = append(line, one[0]), append(escaped, true)
			continue
		}
		if c == 0 {
			continue
		}
		line, escaped = append(line, c), append(escaped, false)
	}
	return line, escaped, 0
}

func (sh *Shell) assignRead(line []byte, escaped []bool, names []string, array string, whole bool) error {
	ifs, set := sh.get("IFS")
	if !set {
		ifs = " \t\n"
	}
	if array == "" && len(names) == 0 {
		return sh.Set("REPLY", string(line))
	}
	if whole {
		if err := sh.setRef(names[0], string(line)); err != nil {
			return err
		}
		names = names[1:]
		line, escaped = nil, nil
		for _, n := range names {
			if err := sh.setRef(n, ""); err != nil {
				return err
			}
		}
		return nil
	}
	isSep := func(i int) bool { return !escaped[i] && strings.IndexByte(ifs, line[i]) >= 0 }
	isSpace := func(i int) bool { return isSep(i) && isBlank(line[i]) }
	limit := -1
	if array == "" {
		limit = len(names)
	}
	var out []string
	i, end := 0, len(line)
	for i < end && isSpace(i) {
		i++
	}
	for i < end {
		if limit > 0 && len(out) == limit-1 {
			// The last name takes the rest, without blanks at its end and without a single separator there.
			j := end
			for j > i && isSpace(j-1) {
				j--
			}
			if j > i && isSep(j-1) && !isBlank(line[j-1]) {
				only := true
				for k := i; k < j-1; k++ {
					if isSep(k) {
						only = false
						break
					}
				}
				if only {
					j--
				}
			}
			out = append(out, string(line[i:j]))
			i = end
			break
		}
		j := i
		for j < end && !isSep(j) {
			j++
		}
		out = append(out, string(line[i:j]))
		i = j
		for i < end && isSpace(i) {
			i++
		}
		if i < end && isSep(i) && !isBlank(line[i]) {
			i++
			for i < end && isSpace(i) {
				i++
			}
		}
	}
	if array != "" {
		v := sh.own(sh.resolve(array))
		*v = Var{kind: indexed, set: true, owner: v.owner, exported: v.exported}
		for i, s := range out {
			v.setAt(i, s)
		}
		return nil
	}
	for i, n := range names {
		s := ""
		if i < len(out) {
			s = out[i]
		}
		if err := sh.setRef(n, s); err != nil {
			return err
		}
	}
	return nil
}

func builtinMapfile(sh *Shell, args []string) int {
	args = args[1:]
	trim, delim, most, skip, fd := false, byte('\n'), -1, 0, 0
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		opt := args[0]
		args = args[1:]
		if opt == "-t" {
			trim = true
			continue
		}
		value := opt[2:]
		if value == "" && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		n, _ := strconv.Atoi(value)
		switch opt[1] {
		case 'd':
			delim = 0
			if value != "" {
				delim = value[0]
			}
		case 'n':
			most = n
		case 's':
			skip = n
		case 'u':
			fd = n
		}
	}
	name := "MAPFILE"
	if len(args) > 0 {
		name = args[0]
	}
	v := sh.own(sh.resolve(name))
	*v = Var{kind: indexed, set: true, owner: v.owner}
	for i := 0; most < 0 || most == 0 || i < most+skip; i++ {
		line, _, status := sh.readLine(sh.Fd(fd), delim, true, -1, false)
		if status != 0 && len(line) == 0 {
			break
		}
		if !trim && status == 0 {
			line = append(line, delim)
		}
		if i >= skip {
			v.setAt(i-skip, string(line))
		}
		if status != 0 {
			break
		}
	}
	return 0
}
