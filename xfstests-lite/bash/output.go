// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// write sends a builtin's output to descriptor 1. A pipe whose reader is gone ends the shell, as SIGPIPE would.
func (sh *Shell) write(name, s string) int {
	if s == "" {
		return 0
	}
	_, err := io.WriteString(sh.Stdout(), s)
	switch {
	case err == nil:
		return 0
	case IsBrokenPipe(err):
		if sh.sub > 0 {
			sh.Exit(sigPipeStatus)
		}
		return sigPipeStatus
	}
	sh.Errorf("%s: write error: %s", name, errText(err))
	return 1
}

// IsBrokenPipe tells an EPIPE from other errors.
func IsBrokenPipe(err error) bool {
	return errors.Is(err, unix.EPIPE) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

func builtinEcho(sh *Shell, args []string) int {
	args = args[1:]
	newline, escapes := true, false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		for _, c := range args[0][1:] {
			switch c {
			case 'n':
				newline = false
			case 'e':
				escapes = true
			case 'E':
				escapes = false
			}
		}
		args = args[1:]
	}
	s := strings.Join(args, " ")
	if escapes {
		var err error
		if s, err = unescapeStop(s, escEcho); err != nil {
			newline = false
		}
	}
	if newline {
		s += "\n"
	}
	return sh.write("echo", s)
}

func builtinPrintf(sh *Shell, args []string) int {
	args = args[1:]
	variable := ""
	if len(args) > 1 && args[0] == "-v" {
		variable, args = args[1], args[2:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		sh.Errorf("printf: usage: printf [-v var] format [arguments]")
		return 2
	}
	s, err := sh.Sprintf(args[0], args[1:])
	status := 0
	if err != nil {
		sh.Errorf("printf: %v", err)
		status = 1
	}
	if variable != "" {
		if err := sh.setRef(variable, s); err != nil {
			sh.Errorf("printf: %v", err)
			return 1
		}
		return status
	}
	return max(status, sh.write("printf", s))
}

// Sprintf is printf(1): the format is used again as long as there are arguments.
func (sh *Shell) Sprintf(format string, args []string) (string, error) {
	var b strings.Builder
	p := &printfer{sh: sh, b: &b, args: args}
	for {
		before := len(p.args)
		if stop := p.once(format); stop {
			break
		}
		if len(p.args) == 0 || len(p.args) == before {
			break
		}
	}
	return b.String(), p.err
}

type printfer struct {
	sh   *Shell
	b    *strings.Builder
	args []string
	err  error
}

func (p *printfer) next() string {
	if len(p.args) == 0 {
		return ""
	}
	s := p.args[0]
	p.args = p.args[1:]
	return s
}

// number reads a numeric argument; 'c is the code of c.
func (p *printfer) number() int64 {
	s := strings.TrimSpace(p.next())
	if s == "" {
		return 0
	}
	if s[0] == '\'' || s[0] == '"' {
		if len(s) > 1 {
			return int64(s[1])
		}
		return 0
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		if u, err := strconv.ParseUint(s, 0, 64); err == nil {
			return int64(u)
		}
		if errors.Is(err, strconv.ErrRange) {
			p.err = fmt.Errorf("warning: %s: Numerical result out of range", s)
		} else {
			p.err = fmt.Errorf("%s: invalid number", s)
		}
		// As far as it is a number, it counts.
		for end := len(s) - 1; end > 0; end-- {
			if n, err := strconv.ParseInt(s[:end], 0, 64); err == nil {
				return n
			}
		}
	}
	return n
}

func (p *printfer) once(format string) (stop bool) {
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c == '\\' {
			n := escapeLength(format[i:])
			s, err := unescapeStop(format[i:i+n], escFormat)
			p.b.WriteString(s)
			if err != nil {
				return true
			}
			i += n - 1
			continue
		}
		if c != '%' {
			p.b.WriteByte(c)
			continue
		}
		j := i + 1
		for j < len(format) && strings.IndexByte("-+ #0'", format[j]) >= 0 {
			j++
		}
		spec := "%" + strings.ReplaceAll(format[i+1:j], "'", "")
		part := func() {
			if j < len(format) && format[j] == '*' {
				spec += strconv.FormatInt(p.number(), 10)
				j++
			}
			for j < len(format) && format[j] >= '0' && format[j] <= '9' {
				spec += format[j : j+1]
				j++
			}
		}
		part()
		if j < len(format) && format[j] == '.' {
			spec += "."
			j++
			part()
		}
		for j < len(format) && strings.IndexByte("hlLjzt", format[j]) >= 0 {
			j++
		}
		if j >= len(format) {
			p.err = fmt.Errorf("`%s': missing format character", format[i:])
			return true
		}
		if p.verb(spec, format, &j) {
			return true
		}
		i = j
	}
	return false
}

// escapeLength is how many bytes of s the escape at its start takes.
func escapeLength(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	most, base := 0, 16
	switch c := s[1]; {
	case c >= '0' && c <= '7':
		most, base = 3, 8
	case c == 'x':
		most = 2
	case c == 'u':
		most = 4
	case c == 'U':
		most = 8
	default:
		return 2
	}
	n := 2
	if base == 8 {
		n = 1
	}
	for from := n; n < len(s) && n-from < most; n++ {
		if d := hexDigit(s[n]); d < 0 || d >= base {
			break
		}
	}
	return n
}

func (p *printfer) verb(spec, format string, j *int) (stop bool) {
	switch c := format[*j]; c {
	case '%':
		p.b.WriteByte('%')
	case 's':
		fmt.Fprintf(p.b, spec+"s", p.next())
	case 'c':
		s := p.next()
		fmt.Fprintf(p.b, spec+"s", s[:min(1, len(s))])
	case 'b':
		s, err := unescapeStop(p.next(), escB)
		fmt.Fprintf(p.b, spec+"s", s)
		return err != nil
	case 'q':
		s := p.next()
		if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,") == "" {
			p.b.WriteString(s)
		} else {
			p.b.WriteString(backslashQuote(s))
		}
	case 'd', 'i':
		p.b.WriteString(integer(spec, 'd', p.number()))
	case 'u', 'x', 'X', 'o':
		n := uint64(p.number())
		p.b.WriteString(integer(spec, c, n))
	case 'e', 'E', 'f', 'F', 'g', 'G':
		s := p.next()
		f, err := strconv.ParseFloat(s, 64)
		if err != nil && s != "" {
			if n, err2 := strconv.ParseInt(s, 0, 64); err2 == nil {
				f = float64(n)
			} else {
				p.err = fmt.Errorf("%s: invalid number", s)
			}
		}
		fmt.Fprintf(p.b, spec+string(c), f)
	case '(':
		end := strings.Index(format[*j:], ")T")
		if end < 0 {
			p.err = fmt.Errorf("`%%(': missing format character")
			return true
		}
		when := p.sh.World.Now()
		if len(p.args) > 0 {
			if n := p.number(); n >= 0 {
				when = time.Unix(n, 0)
			}
		}
		p.b.WriteString(Strftime(format[*j+1:*j+end], when))
		*j += end + 1
	default:
		p.err = fmt.Errorf("`%c': invalid format character", c)
		return true
	}
	return false
}

// integer formats like C, where a precision turns off the flag 0 and # gives 0x only to numbers that are not 0.
func integer(spec string, verb byte, n any) string {
	if strings.Contains(spec, ".") {
		flags := strings.IndexFunc(spec[1:], func(r rune) bool { return !strings.ContainsRune("-+ #0", r) })
		spec = "%" + strings.ReplaceAll(spec[1:1+flags], "0", "") + spec[1+flags:]
	}
	if u, ok := n.(uint64); ok && u == 0 {
		spec = strings.ReplaceAll(spec, "#", "")
	}
	if verb == 'u' {
		verb = 'd'
	}
	return fmt.Sprintf(spec+string(verb), n)
}

// backslashQuote is printf %q.
func backslashQuote(s string) string {
	if s == "" {
		return "''"
	}
	if q := Quote(s); q[0] == '$' {
		return q
	}
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte(" \t\"'\\$`!&()*;<>?[]^{|}~#", c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Strftime formats a time as date(1) does.
func Strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		c := format[i]
		if c != '%' || i+1 >= len(format) {
			b.WriteByte(c)
			continue
		}
		i++
		pad := true
		if format[i] == '-' && i+1 < len(format) {
			pad = false
			i++
		}
		two := func(n int) {
			if pad {
				fmt.Fprintf(&b, "%02d", n)
			} else {
				b.WriteString(strconv.Itoa(n))
			}
		}
		layout := ""
		switch format[i] {
		case 'Y':
			layout = "2006"
		case 'y':
			layout = "06"
		case 'm':
			two(int(t.Month()))
		case 'd':
			two(t.Day())
		case 'e':
			fmt.Fprintf(&b, "%2d", t.Day())
		case 'H':
			two(t.Hour())
		case 'I':
			two((t.Hour()+11)%12 + 1)
		case 'M':
			two(t.Minute())
		case 'S':
			two(t.Second())
		case 'p':
			layout = "PM"
		case 'a':
			layout = "Mon"
		case 'A':
			layout = "Monday"
		case 'b', 'h':
			layout = "Jan"
		case 'B':
			layout = "January"
		case 'Z':
			layout = "MST"
		case 'z':
			layout = "-0700"
		case 'F':
			layout = "2006-01-02"
		case 'T':
			layout = "15:04:05"
		case 'R':
			layout = "15:04"
		case 'D':
			layout = "01/02/06"
		case 'c':
			layout = "Mon Jan _2 15:04:05 2006"
		case 'j':
			fmt.Fprintf(&b, "%03d", t.YearDay())
		case 'u':
			b.WriteString(strconv.Itoa((int(t.Weekday())+6)%7 + 1))
		case 'w':
			b.WriteString(strconv.Itoa(int(t.Weekday())))
		case 's':
			b.WriteString(strconv.FormatInt(t.Unix(), 10))
		case 'N':
			fmt.Fprintf(&b, "%09d", t.Nanosecond())
		case '3':
			if i+1 < len(format) && format[i+1] == 'N' {
				i++
				fmt.Fprintf(&b, "%03d", t.Nanosecond()/1e6)
			}
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '%':
			b.WriteByte('%')
		default:
			b.WriteByte('%')
			b.WriteByte(format[i])
		}
		if layout != "" {
			b.WriteString(t.Format(layout))
		}
	}
	return b.String()
}
