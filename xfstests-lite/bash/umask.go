// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"strconv"
	"strings"
)

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
