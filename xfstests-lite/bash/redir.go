// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"mvdan.cc/sh/v3/syntax"
)

// saveFds remembers the descriptors; restoreFds puts them back.
func (sh *Shell) saveFds() []fd {
	saved := slices.Clone(sh.fds)
	sh.shared.mu.Lock()
	for _, e := range saved {
		e.f.refs++
	}
	sh.shared.mu.Unlock()
	return saved
}

func (sh *Shell) restoreFds(saved []fd) {
	now := sh.fds
	sh.fds = saved
	for _, e := range now {
		sh.unref(e.f)
	}
}

// redirect applies redirections from left to right.
func (sh *Shell) redirect(redirs []*syntax.Redirect) error {
	for _, r := range redirs {
		if err := sh.redirectOne(r); err != nil {
			return err
		}
	}
	return nil
}

func (sh *Shell) redirectOne(r *syntax.Redirect) error {
	fd, variable := -1, ""
	if r.N != nil {
		if strings.HasPrefix(r.N.Value, "{") {
			variable = strings.Trim(r.N.Value, "{}")
		} else {
			n, err := strconv.Atoi(r.N.Value)
			if err != nil {
				return fmt.Errorf("%s: Bad file descriptor", r.N.Value)
			}
			fd = n
		}
	}
	if fd < 0 {
		switch r.Op {
		case syntax.RdrIn, syntax.RdrInOut, syntax.DplIn, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
			fd = 0
		default:
			fd = 1
		}
	}
	if variable != "" {
		word, err := sh.literal(r.Word)
		if err != nil {
			return err
		}
		if word == "-" { // {fd}>&- closes what the variable names
			if n, err := strconv.Atoi(sh.Get(variable)); err == nil {
				sh.setFd(n, nil)
			}
			return nil
		}
		for fd = 10; sh.fd(fd) != nil; fd++ {
		}
		if err := sh.Set(variable, strconv.Itoa(fd)); err != nil {
			return err
		}
	}

	switch r.Op {
	case syntax.Hdoc, syntax.DashHdoc:
		text, err := sh.hereDoc(r)
		if err != nil {
			return err
		}
		sh.setFd(fd, &openFile{File: &buffer{data: []byte(text)}, refs: 1})
		return nil
	case syntax.WordHdoc:
		text, err := sh.literal(r.Word)
		if err != nil {
			return err
		}
		sh.setFd(fd, &openFile{File: &buffer{data: []byte(text + "\n")}, refs: 1})
		return nil
	}

	words, err := sh.fields([]*syntax.Word{r.Word})
	if err != nil {
		return err
	}
	if len(words) != 1 {
		return fmt.Errorf("%s: ambiguous redirect", strings.Join(words, " "))
	}
	word := words[0]
	switch r.Op {
	case syntax.DplIn, syntax.DplOut:
		if word == "-" {
			sh.setFd(fd, nil)
			return nil
		}
		from, move := word, false
		if strings.HasSuffix(from, "-") {
			from, move = strings.TrimSuffix(from, "-"), true
		}
		n, err := strconv.Atoi(from)
		if err != nil {
			if r.Op == syntax.DplOut && r.N == nil { // >&file is &>file
				return sh.openBoth(word, os.O_TRUNC)
			}
			return fmt.Errorf("%s: ambiguous redirect", word)
		}
		f := sh.fd(n)
		if f == nil {
			return fmt.Errorf("%d: Bad file descriptor", n)
		}
		if n != fd {
			sh.setFd(fd, sh.ref(f))
			if move {
				sh.setFd(n, nil)
			}
		}
		return nil
	case syntax.RdrAll, syntax.RdrAllClob:
		return sh.openBoth(word, os.O_TRUNC)
	case syntax.AppAll, syntax.AppAllClob:
		return sh.openBoth(word, os.O_APPEND)
	case syntax.RdrIn:
		return sh.openAt(fd, word, os.O_RDONLY)
	case syntax.RdrInOut:
		return sh.openAt(fd, word, os.O_RDWR|os.O_CREATE)
	case syntax.AppOut, syntax.AppClob:
		return sh.openAt(fd, word, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	case syntax.RdrOut, syntax.RdrClob:
		return sh.openAt(fd, word, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	}
	return fmt.Errorf("%s: redirection is not supported", r.Op)
}

func (sh *Shell) hereDoc(r *syntax.Redirect) (string, error) {
	quoted := false
	for _, p := range r.Word.Parts {
		switch p := p.(type) {
		case *syntax.Lit:
			quoted = quoted || strings.Contains(p.Value, "\\")
		default:
			quoted = true
		}
	}
	if r.Hdoc == nil {
		return "", nil
	}
	var text string
	if quoted {
		for _, p := range r.Hdoc.Parts {
			if l, ok := p.(*syntax.Lit); ok {
				text += l.Value
			}
		}
	} else {
		var err error
		if text, err = sh.document(r.Hdoc); err != nil {
			return "", err
		}
	}
	if r.Op == syntax.DashHdoc {
		lines := strings.SplitAfter(text, "\n")
		for i, l := range lines {
			lines[i] = strings.TrimLeft(l, "\t")
		}
		text = strings.Join(lines, "")
	}
	return text, nil
}

func (sh *Shell) openAt(n int, path string, flags int) error {
	if m, ok := devFd(path); ok {
		f := sh.fd(m)
		if f == nil {
			return fmt.Errorf("%s: No such file or directory", path)
		}
		sh.setFd(n, sh.ref(f))
		return nil
	}
	var f File = null{}
	if path != "/dev/null" {
		var err error
		if path == "" {
			return fmt.Errorf("%s: No such file or directory", path)
		}
		if f, err = sh.World.Open(sh.Abs(path), flags, 0o666); err != nil {
			return fmt.Errorf("%s: %s", path, errText(err))
		}
	}
	sh.setFd(n, &openFile{File: f, refs: 1})
	return nil
}

// devFd recognises the names of the shell's own descriptors.
func devFd(path string) (int, bool) {
	switch path {
	case "/dev/stdin":
		return 0, true
	case "/dev/stdout":
		return 1, true
	case "/dev/stderr":
		return 2, true
	}
	if s, ok := strings.CutPrefix(path, "/dev/fd/"); ok {
		n, err := strconv.Atoi(s)
		return n, err == nil
	}
	return 0, false
}

func (sh *Shell) openBoth(path string, how int) error {
	if err := sh.openAt(1, path, os.O_WRONLY|os.O_CREATE|how); err != nil {
		return err
	}
	sh.setFd(2, sh.ref(sh.fd(1)))
	return nil
}

// exec replaces the shell by a program; without one its redirections stay.
func (sh *Shell) exec(args []string, redirs []*syntax.Redirect) {
	if err := sh.redirect(redirs); err != nil {
		sh.Errorf("%v", err)
		sh.status = 1
		if len(args) > 0 {
			sh.flow = flowExit
		}
		return
	}
	sh.status = 0
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		n := 1
		if args[0] == "-a" {
			n = min(2, len(args))
		}
		args = args[n:]
	}
	if len(args) > 0 {
		sh.status = sh.Command(args)
		sh.traps = map[string]string{}
		sh.flow = flowExit
	}
}

// errText is an error as the C library words it.
func errText(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return Strerror(errno)
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}

// Strerror is strerror(3); Go's own texts are in lower case.
func Strerror(errno syscall.Errno) string {
	s := errno.Error()
	switch errno {
	case syscall.EOPNOTSUPP:
		return "Operation not supported"
	case syscall.ENODATA:
		return "No data available"
	case syscall.ENOTTY:
		return "Inappropriate ioctl for device"
	case syscall.EXDEV:
		return "Invalid cross-device link"
	case syscall.EIO:
		return "Input/output error"
	case syscall.ENXIO:
		return "No such device or address"
	case syscall.E2BIG:
		return "Argument list too long"
	case syscall.ERANGE:
		return "Numerical result out of range"
	case syscall.EDOM:
		return "Numerical argument out of domain"
	}
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
