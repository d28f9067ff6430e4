// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"errors"
	"regexp"
	"strings"
)

// errRegex: an expression that only the host's program can do (back references, equivalence classes).
var errRegex = errors.New("regular expression not handled here")

// posixRegexp compiles a POSIX basic or extended expression with GNU's additions. The longest match counts.
func posixRegexp(pat string, extended, fold bool) (*regexp.Regexp, error) {
	var b strings.Builder
	if fold {
		b.WriteString("(?i)")
	}
	b.WriteString("(?s)")
	start := true // where * is a plain character and ^ an anchor in a basic expression
	for i := 0; i < len(pat); i++ {
		c := pat[i]
		was := start
		start = false
		switch c {
		case '\\':
			i++
			if i >= len(pat) {
				return nil, errors.New("Trailing backslash")
			}
			c = pat[i]
			switch {
			case c >= '1' && c <= '9':
				return nil, errRegex
			case strings.IndexByte("(){}|+?", c) >= 0:
				if extended {
					b.WriteByte('\\')
				}
				if c == '{' && !extended {
					end := strings.Index(pat[i:], "\\}")
					if end < 0 {
						return nil, errors.New("Unmatched \\{")
					}
					b.WriteString(pat[i:i+end] + "}")
					i += end + 1
					continue
				}
				b.WriteByte(c)
				start = !extended && (c == '(' || c == '|')
			case c == '<' || c == '>' || c == 'b':
				b.WriteString(`\b`)
			case c == 'w' || c == 'W' || c == 's' || c == 'S' || c == 'B':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c == '`':
				b.WriteString(`\A`)
			case c == '\'':
				b.WriteString(`\z`)
			case c == 'n':
				b.WriteString(`\n`)
			case c == 't':
				b.WriteString(`\t`)
			default:
				b.WriteString(regexp.QuoteMeta(string(c)))
			}
		case '[':
			end, class, err := bracket(pat[i:])
			if err != nil {
				return nil, err
			}
			b.WriteString(class)
			i += end - 1
		case '*':
			if was && !extended {
				b.WriteString(`\*`)
			} else {
				b.WriteByte('*')
			}
		case '^':
			if extended || was {
				b.WriteString("^")
				start = true
			} else {
				b.WriteString(`\^`)
			}
		case '$':
			if extended || i == len(pat)-1 || strings.HasPrefix(pat[i+1:], `\)`) || strings.HasPrefix(pat[i+1:], `\|`) {
				b.WriteString("$")
			} else {
				b.WriteString(`\$`)
			}
		case '(', ')', '|', '+', '?':
			if !extended {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		case '{':
			if !extended || i+1 < len(pat) && (pat[i+1] < '0' || pat[i+1] > '9') && pat[i+1] != ',' {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		case '}':
			if !extended || !strings.Contains(pat[:i], "{") {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		case '.':
			b.WriteByte('.')
		default:
			if c >= 0x80 {
				b.WriteByte(c)
			} else {
				b.WriteString(regexp.QuoteMeta(string(c)))
			}
		}
	}
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, errRegex
	}
	re.Longest()
	return re, nil
}

// bracket translates [...]: in POSIX a backslash in it is a plain character.
func bracket(s string) (end int, class string, err error) {
	var b strings.Builder
	b.WriteByte('[')
	i := 1
	if i < len(s) && s[i] == '^' {
		b.WriteByte('^')
		i++
	}
	for first := true; ; first = false {
		if i >= len(s) {
			return 0, "", errors.New("Unmatched [, [^, [:, [., or [=")
		}
		c := s[i]
		switch {
		case c == ']' && !first:
			b.WriteByte(']')
			return i + 1, b.String(), nil
		case strings.HasPrefix(s[i:], "[:"):
			n := strings.Index(s[i:], ":]")
			if n < 0 {
				return 0, "", errors.New("Unmatched [, [^, [:, [., or [=")
			}
			b.WriteString(s[i : i+n+2])
			i += n + 2
		case strings.HasPrefix(s[i:], "[.") || strings.HasPrefix(s[i:], "[="):
			return 0, "", errRegex
		case c == '\\' && i+1 < len(s) && strings.IndexByte("nt", s[i+1]) >= 0:
			b.WriteString(s[i : i+2])
			i += 2
		case c == '-' && !first && i+1 < len(s) && s[i+1] != ']':
			b.WriteByte('-')
			i++
		default:
			if strings.IndexByte(`\[]^-&~`, c) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
			i++
		}
	}
}
