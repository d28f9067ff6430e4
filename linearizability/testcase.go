// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Testcase writes the calls of a violation as an xfstests-style case: calls that
// were in flight together are jobs that run together. Its golden output is
// silence, for what a race shows differs from run to run: `ktest lin` judges it.
func (v *Violation) Testcase() string {
	s := &script{letters: letterer{}, files: map[uint64]string{}}
	s.line("#! /bin/bash")
	s.line("# SPDX-License-Identifier: GPL-2.0")
	s.line("#")
	s.line("# %s of %s: %s.", v.Rule, v.Object, v.Why)
	s.line("#")
	for l := range strings.Lines(v.Diagram()) {
		s.line("#   %s", strings.TrimRight(l, "\n"))
	}
	s.line("#")
	s.line(". ./common/preamble")
	s.line("_begin_fstest auto quick lin")
	s.line("")
	s.line("_require_scratch")
	s.line("")
	s.line("_scratch_mkfs > $seqres.full 2>&1")
	s.line("_scratch_mount")
	s.line("")
	s.prepare(v.History)
	for _, phase := range phases(v.History) {
		var order []int32
		jobs := map[int32][]string{}
		for _, c := range phase {
			if _, ok := jobs[c.Client]; !ok {
				order = append(order, c.Client)
			}
			jobs[c.Client] = append(jobs[c.Client], s.command(c))
		}
		for _, id := range order {
			text := strings.Join(jobs[id], "; ")
			switch {
			case len(order) == 1:
				for _, one := range jobs[id] {
					s.line("%s", one)
				}
			case len(jobs[id]) > 1:
				s.line("( %s ) &", text)
			default:
				s.line("%s &", text)
			}
		}
		if len(order) > 1 {
			s.line("wait")
		}
	}
	s.line("")
	s.line("echo \"Silence is golden\"")
	s.line("status=0")
	s.line("exit")
	return s.b.String()
}

// phases cuts a history where nothing is in flight.
func phases(h *History) (all [][]*Call) {
	end := uint64(0)
	for i := range h.Calls {
		c := &h.Calls[i]
		if len(all) == 0 || c.Start > end {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], c)
		end = max(end, c.End)
	}
	return all
}

// script writes calls as commands.
type script struct {
	b       strings.Builder
	letters letterer
	files   map[uint64]string // names of inodes that no call names
}

func (s *script) line(format string, args ...any) {
	fmt.Fprintf(&s.b, strings.TrimRight(format, " ")+"\n", args...)
}

func (s *script) file(ino uint64) string {
	name, ok := s.files[ino]
	if !ok {
		name = fmt.Sprintf("$SCRATCH_MNT/f%d", len(s.files))
		s.files[ino] = name
	}
	return name
}

// prepare makes the directories and files that the calls begin with.
func (s *script) prepare(h *History) {
	made := map[string]bool{}
	for i := range h.Calls {
		n := h.Calls[i].Names
		if n == nil {
			if ino := h.Calls[i].Ino; ino != 0 && s.files[ino] == "" {
				s.line("touch %s", s.file(ino))
			}
			continue
		}
		for _, p := range []string{n.Path, n.Path2} {
			if d := path.Dir(p); p != "" && d != "/" && !made[d] {
				made[d] = true
				s.line("mkdir -p $SCRATCH_MNT%s", d)
			}
		}
	}
}

// command is a call as a command of a case.
func (s *script) command(c *Call) string {
	io := func(flags, command string) string {
		if c.Flags&Direct != 0 {
			flags += " -d"
		}
		if c.Flags&Append != 0 {
			flags += " -a"
		}
		return fmt.Sprintf("$XFS_IO_PROG%s -c %q %s > /dev/null", flags, command, s.file(c.Ino))
	}
	if c.Names != nil {
		return s.onNames(c)
	}
	switch c.Kind {
	case Read, Load:
		return io(" -r", fmt.Sprintf("pread %d %d", c.Off, c.Len))
	case Write, Store:
		return io("", fmt.Sprintf("pwrite -b %d -S %#x %d %d", max(c.Len, 1), s.pattern(c), c.Off, c.Len))
	case Truncate:
		return io("", fmt.Sprintf("truncate %d", c.Len))
	case Zero:
		return io("", fmt.Sprintf("fpunch %d %d", c.Off, c.Len))
	case Alloc:
		keep := ""
		if c.Flags&KeepSize != 0 {
			keep = "-k "
		}
		return io("", fmt.Sprintf("falloc %s%d %d", keep, c.Off, c.Len))
	case Fsync:
		return io("", "fsync")
	case Sync:
		return "sync -f $SCRATCH_MNT"
	case SizeOf:
		return fmt.Sprintf("stat -c %%s %s > /dev/null", s.file(c.Ino))
	}
	return "true"
}

// pattern is the byte that stands for what a call wrote.
func (s *script) pattern(c *Call) byte {
	switch {
	case len(c.Vals) > 0:
		return s.letters.of(c.Vals[0])
	case len(c.Data) > 0:
		return c.Data[0]
	}
	return 0
}

func (s *script) onNames(c *Call) string {
	a, b := "$SCRATCH_MNT"+c.Names.Path, "$SCRATCH_MNT"+c.Names.Path2
	quiet := " 2> /dev/null"
	switch c.Kind {
	case Open:
		if c.Flags&Create != 0 {
			return fmt.Sprintf("$XFS_IO_PROG -f -c close %s > /dev/null 2>&1", a)
		}
		return fmt.Sprintf("$XFS_IO_PROG -r -c close %s > /dev/null 2>&1", a)
	case Mkdir:
		return "mkdir " + a + quiet
	case Mknod:
		return "mkfifo " + a + quiet
	case Unlink:
		return "rm " + a + quiet
	case Rmdir:
		return "rmdir " + a + quiet
	case Link:
		return fmt.Sprintf("ln %s %s%s", a, b, quiet)
	case Rename:
		switch {
		case c.Flags&Exchange != 0:
			return fmt.Sprintf("$here/src/renameat2 -x %s %s > /dev/null 2>&1", a, b)
		case c.Flags&Excl != 0:
			return fmt.Sprintf("$here/src/renameat2 -n %s %s > /dev/null 2>&1", a, b)
		}
		return fmt.Sprintf("mv -fT %s %s%s", a, b, quiet)
	case ReadDir:
		return "ls " + a + " > /dev/null"
	}
	return "stat " + a + " > /dev/null 2>&1"
}

// Save writes a violation into dir as NAME.html, NAME.txt, NAME and NAME.out.
func (v *Violation) Save(dir, name string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	page, err := os.Create(filepath.Join(dir, name+".html"))
	if err != nil {
		return err
	}
	err = v.Page(page)
	if cerr := page.Close(); err == nil {
		err = cerr
	}
	for _, f := range []struct {
		suffix, text string
		mode         os.FileMode
	}{{".txt", v.Diagram(), 0o666}, {"", v.Testcase(), 0o777}, {".out", "QA output created by " + name + "\nSilence is golden\n", 0o666}} {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+f.suffix), []byte(f.text), f.mode)
		}
	}
	return err
}
