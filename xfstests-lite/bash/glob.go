// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"sort"
	"strings"
)

// Match tells whether a shell pattern, extended ones included, matches the whole of s. Bytes are characters: the
// cases run in the C locale.
func Match(pat, s string) bool {
	for len(pat) > 0 {
		if op := extOp(pat); op != 0 {
			return matchExt(op, pat, s)
		}
		switch pat[0] {
		case '*':
			for len(pat) > 0 && pat[0] == '*' && extOp(pat) == 0 {
				pat = pat[1:]
			}
			if pat == "" {
				return true
			}
			for i := 0; i <= len(s); i++ {
				if Match(pat, s[i:]) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
			pat, s = pat[1:], s[1:]
		case '[':
			rest, ok, valid := matchClass(pat, s)
			if !valid {
				if s == "" || s[0] != '[' {
					return false
				}
				pat, s = pat[1:], s[1:]
				continue
			}
			if !ok {
				return false
			}
			pat, s = rest, s[1:]
		case '\\':
			if len(pat) > 1 {
				pat = pat[1:]
			}
			fallthrough
		default:
			if s == "" || s[0] != pat[0] {
				return false
			}
			pat, s = pat[1:], s[1:]
		}
	}
	return s == ""
}

// extOp returns the operator when pat begins with an extended pattern such as @(a|b).
func extOp(pat string) byte {
	if len(pat) > 2 && pat[1] == '(' && strings.IndexByte("?*+@!", pat[0]) >= 0 {
		return pat[0]
	}
	return 0
}

// splitExt cuts "@(a|b)rest" into its alternatives and the rest; ok is false when ) is missing.
func splitExt(pat string) (alts []string, rest string, ok bool) {
	depth, from := 0, 2
	for i := 1; i < len(pat); i++ {
		switch pat[i] {
		case '\\':
			i++
		case '(':
			depth++
		case '|':
			if depth == 1 {
				alts = append(alts, pat[from:i])
				from = i + 1
			}
		case ')':
			if depth--; depth == 0 {
				return append(alts, pat[from:i]), pat[i+1:], true
			}
		}
	}
	return nil, "", false
}

func matchExt(op byte, pat, s string) bool {
	alts, rest, ok := splitExt(pat)
	if !ok {
		return s != "" && s[0] == pat[0] && Match(pat[1:], s[1:])
	}
	any := func(s string) bool {
		for _, a := range alts {
			if Match(a, s) {
				return true
			}
		}
		return false
	}
	switch op {
	case '!':
		for i := 0; i <= len(s); i++ {
			if !any(s[:i]) && Match(rest, s[i:]) {
				return true
			}
		}
		return false
	case '?', '*':
		if Match(rest, s) {
			return true
		}
	}
	for i := 0; i <= len(s); i++ {
		if !any(s[:i]) {
			continue
		}
		if Match(rest, s[i:]) {
			return true
		}
		if (op == '*' || op == '+') && i > 0 && matchExt('*', "*"+pat[1:], s[i:]) {
			return true
		}
	}
	return false
}

// matchClass matches s against the bracket expression that pat begins with.
func matchClass(pat, s string) (rest string, ok, valid bool) {
	i, not := 1, false
	if i < len(pat) && (pat[i] == '!' || pat[i] == '^') {
		not = true
		i++
	}
	var c byte
	if s != "" {
		c = s[0]
	}
	hit := false
	for first := true; i < len(pat); first = false {
		if pat[i] == ']' && !first {
			return pat[i+1:], s != "" && hit != not, true
		}
		if strings.HasPrefix(pat[i:], "[:") {
			if end := strings.Index(pat[i:], ":]"); end > 0 {
				hit = hit || inClass(pat[i+2:i+end], c)
				i += end + 2
				continue
			}
		}
		lo := pat[i]
		if lo == '\\' && i+1 < len(pat) {
			i++
			lo = pat[i]
		}
		i++
		hi := lo
		if i+1 < len(pat) && pat[i] == '-' && pat[i+1] != ']' {
			i++
			if hi = pat[i]; hi == '\\' && i+1 < len(pat) {
				i++
				hi = pat[i]
			}
			i++
		}
		hit = hit || lo <= c && c <= hi
	}
	return "", false, false
}

func inClass(name string, c byte) bool {
	upper, lower, digit := c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9'
	switch name {
	case "alpha":
		return upper || lower
	case "digit":
		return digit
	case "alnum":
		return upper || lower || digit
	case "upper":
		return upper
	case "lower":
		return lower
	case "space":
		return c == ' ' || c >= 9 && c <= 13
	case "blank":
		return c == ' ' || c == '\t'
	case "punct":
		return c > ' ' && c < 127 && !upper && !lower && !digit
	case "print":
		return c >= ' ' && c < 127
	case "graph":
		return c > ' ' && c < 127
	case "cntrl":
		return c < ' ' || c == 127
	case "xdigit":
		return digit || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
	}
	return false
}

// hasGlob tells whether a pattern is more than literal text.
func hasGlob(pat string, ext bool) bool {
	for i := 0; i < len(pat); i++ {
		switch pat[i] {
		case '\\':
			i++
		case '*', '?':
			return true
		case '[':
			if strings.IndexByte(pat[i:], ']') > 0 {
				return true
			}
		case '(':
			if ext && i > 0 && extOp(pat[i-1:]) != 0 {
				return true
			}
		}
	}
	return false
}

// plainText removes the escapes of a pattern without wild cards.
func plainText(pat string) string {
	if !strings.Contains(pat, "\\") {
		return pat
	}
	var b strings.Builder
	for i := 0; i < len(pat); i++ {
		if pat[i] == '\\' && i+1 < len(pat) {
			i++
		}
		b.WriteByte(pat[i])
	}
	return b.String()
}

// glob returns the sorted paths that match a pattern.
func (sh *Shell) glob(pat string) []string {
	ext := sh.shopt("extglob")
	if !hasGlob(pat, ext) {
		return nil
	}
	prefix := ""
	for strings.HasPrefix(pat, "/") {
		prefix, pat = "/", pat[1:]
	}
	found := []string{prefix}
	parts := splitPath(pat)
	for i, part := range parts {
		last := i == len(parts)-1
		var next []string
		for _, dir := range found {
			if part == "" { // a trailing slash: only directories
				if fi, err := sh.World.Stat(sh.Abs(dir), true); err == nil && fi.Mode&0xf000 == 0x4000 {
					next = append(next, dir)
				}
				continue
			}
			if !hasGlob(part, ext) {
				name := dir + plainText(part)
				if !last {
					next = append(next, name+"/")
				} else if _, err := sh.World.Stat(sh.Abs(name), false); err == nil {
					next = append(next, name)
				}
				continue
			}
			if part == "**" && sh.shopt("globstar") {
				next = append(next, sh.deep(dir, last)...)
				continue
			}
			next = append(next, sh.globDir(dir, part, last)...)
		}
		found = next
	}
	sort.Strings(found)
	return found
}

// splitPath splits a pattern at slashes.
func splitPath(pat string) []string {
	parts := strings.Split(pat, "/")
	out := parts[:0]
	for i, p := range parts {
		if p != "" || i == len(parts)-1 {
			out = append(out, p)
		}
	}
	return out
}

func (sh *Shell) globDir(dir, part string, last bool) []string {
	entries, err := sh.World.ReadDir(sh.Abs(dir))
	if err != nil {
		return nil
	}
	var out []string
	hidden := strings.HasPrefix(part, ".") || strings.HasPrefix(part, "\\.")
	for _, e := range entries {
		if e.Name[0] == '.' && !hidden && !sh.shopt("dotglob") {
			continue
		}
		if e.Name == "." || e.Name == ".." || !Match(part, e.Name) {
			continue
		}
		name := dir + e.Name
		if !last {
			if !e.Dir {
				if fi, err := sh.World.Stat(sh.Abs(name), true); err != nil || fi.Mode&0xf000 != 0x4000 {
					continue
				}
			}
			name += "/"
		}
		out = append(out, name)
	}
	return out
}

// deep is ** below dir.
func (sh *Shell) deep(dir string, last bool) []string {
	var out []string
	if !last {
		out = append(out, dir)
	}
	entries, err := sh.World.ReadDir(sh.Abs(dir))
	if err != nil {
		return out
	}
	for _, e := range entries {
		if e.Name[0] == '.' {
			continue
		}
		if last {
			out = append(out, dir+e.Name)
		}
		if e.Dir {
			out = append(out, sh.deep(dir+e.Name+"/", last)...)
		}
	}
	return out
}

// trimPrefix removes the shortest or longest prefix that matches.
func trimPrefix(s, pat string, longest bool) string {
	if !hasGlob(pat, true) {
		return strings.TrimPrefix(s, plainText(pat))
	}
	if longest {
		for i := len(s); i >= 0; i-- {
			if Match(pat, s[:i]) {
				return s[i:]
			}
		}
		return s
	}
	for i := 0; i <= len(s); i++ {
		if Match(pat, s[:i]) {
			return s[i:]
		}
	}
	return s
}

func trimSuffix(s, pat string, longest bool) string {
	if !hasGlob(pat, true) {
		return strings.TrimSuffix(s, plainText(pat))
	}
	if longest {
		for i := 0; i <= len(s); i++ {
			if Match(pat, s[i:]) {
				return s[:i]
			}
		}
		return s
	}
	for i := len(s); i >= 0; i-- {
		if Match(pat, s[i:]) {
			return s[:i]
		}
	}
	return s
}

// replace is ${s/pat/with}; where is '#' or '%' for a match at the start or the end.
func replace(s, pat, with string, all bool, where byte) string {
	if pat == "" {
		switch where {
		case '#':
			return with + s
		case '%':
			return s + with
		}
		return s
	}
	switch where {
	case '#':
		for i := len(s); i >= 0; i-- {
			if Match(pat, s[:i]) {
				return with + s[i:]
			}
		}
		return s
	case '%':
		for i := 0; i <= len(s); i++ {
			if Match(pat, s[i:]) {
				return s[:i] + with
			}
		}
		return s
	}
	if !hasGlob(pat, true) {
		n := 1
		if all {
			n = -1
		}
		return strings.Replace(s, plainText(pat), with, n)
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		end := -1
		for j := len(s); j > i; j-- {
			if Match(pat, s[i:j]) {
				end = j
				break
			}
		}
		if end < 0 {
			b.WriteByte(s[i])
			i++
			continue
		}
		b.WriteString(with)
		i = end
		if !all {
			b.WriteString(s[i:])
			return b.String()
		}
	}
	return b.String()
}
