// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Mix says what the clients of a live run do.
type Mix struct {
	Clients int
	Files   int // of fixed size, read and written in place
	Logs    int // appended to, truncated, punched
	Pages   int // of a file
	Cell    int // bytes that a tag stands for
	Dirs    int
	Names   int // in a directory
	Calls   int // of a client between two moments of rest, where the history is judged
	Hot     int // in percent: how much of the data calls goes to the first page of the first file
	Weights map[string]int
}

// ops lists the calls of a mix, and the weight that they have by default.
var mixOps = []struct {
	name   string
	weight int
	client func(*liveClient) (skip bool)
}{
	{"pread", 24, func(l *liveClient) bool { return l.transfer(l.files, false) }},
	{"pwrite", 16, func(l *liveClient) bool { return l.transfer(l.files, true) }},
	{"dread", 4, func(l *liveClient) bool { return l.transfer(l.direct, false) }},
	{"dwrite", 4, func(l *liveClient) bool { return l.transfer(l.direct, true) }},
	{"mload", 8, func(l *liveClient) bool { return l.mapped(false) }},
	{"mstore", 6, func(l *liveClient) bool { return l.mapped(true) }},
	{"append", 6, (*liveClient).appendLog},
	{"dappend", 2, (*liveClient).appendDirect},
	{"readlog", 6, (*liveClient).readLog},
	{"truncate", 1, (*liveClient).truncateLog},
	{"punch", 1, (*liveClient).punch},
	{"fstat", 4, (*liveClient).fstat},
	{"fsync", 1, (*liveClient).fsync},
	{"fdatasync", 1, (*liveClient).fdatasync},
	{"sync", 0, (*liveClient).sync},
	{"create", 4, (*liveClient).create},
	{"open", 4, (*liveClient).openName},
	{"unlink", 5, (*liveClient).unlink},
	{"link", 3, (*liveClient).link},
	{"rename", 4, func(l *liveClient) bool { return l.rename(0) }},
	{"noreplace", 1, func(l *liveClient) bool { return l.rename(renameNoreplace) }},
	{"exchange", 2, func(l *liveClient) bool { return l.rename(renameExchange) }},
	{"mkdir", 2, (*liveClient).mkdir},
	{"rmdir", 2, (*liveClient).rmdir},
	{"stat", 6, (*liveClient).stat},
	{"readdir", 2, (*liveClient).readdir},
}

// DefaultMix is a little of everything.
func DefaultMix() *Mix {
	m := &Mix{Clients: 8, Files: 6, Logs: 4, Pages: 16, Cell: pageSize, Dirs: 8, Names: 5, Calls: 500, Hot: 20, Weights: map[string]int{}}
	for _, o := range mixOps {
		m.Weights[o.name] = o.weight
	}
	return m
}

// Scale makes it a mix of n clients, with as many files, logs and directories for
// each of them as before.
func (m *Mix) Scale(n int) {
	for _, p := range []*int{&m.Files, &m.Logs, &m.Dirs} {
		*p = min((*p*n+m.Clients-1)/m.Clients, 1000)
	}
	m.Clients = n
}

// ParseMix reads a mix file: lines "NAME NUMBER", where NAME is clients, files,
// logs, pages, cell, dirs, names, calls, hot, or a call whose weight is given;
// calls that the file does not name have weight 0 once it names any. # begins a
// comment.
func ParseMix(r io.Reader) (*Mix, error) {
	m := DefaultMix()
	numbers := map[string]*int{"clients": &m.Clients, "files": &m.Files, "logs": &m.Logs, "pages": &m.Pages, "cell": &m.Cell, "dirs": &m.Dirs,
		"names": &m.Names, "calls": &m.Calls, "hot": &m.Hot}
	named := false
	s := bufio.NewScanner(r)
	for line := 1; s.Scan(); line++ {
		text, _, _ := strings.Cut(s.Text(), "#")
		f := strings.Fields(text)
		if len(f) == 0 {
			continue
		}
		if len(f) != 2 {
			return nil, fmt.Errorf("line %d: a name and a number, not %q", line, strings.TrimSpace(text))
		}
		n, err := strconv.Atoi(f[1])
		if err != nil || n < 0 {
			return nil, fmt.Errorf("line %d: %q is not a number", line, f[1])
		}
		if p := numbers[f[0]]; p != nil {
			*p = n
			continue
		}
		if _, ok := m.Weights[f[0]]; !ok {
			return nil, fmt.Errorf("line %d: no call %q in a mix", line, f[0])
		}
		if !named {
			named = true
			clear(m.Weights)
			for _, o := range mixOps {
				m.Weights[o.name] = 0
			}
		}
		m.Weights[f[0]] = n
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	return m, m.check()
}

func (m *Mix) check() error {
	total := 0
	for _, o := range mixOps {
		total += m.Weights[o.name]
	}
	for _, n := range []struct {
		name       string
		v, lo, top int
	}{{"clients", m.Clients, 1, 128}, {"files", m.Files, 1, 1000}, {"logs", m.Logs, 1, 1000}, {"pages", m.Pages, 1, 4096}, {"cell", m.Cell, 8, pageSize},
		{"dirs", m.Dirs, 1, 1000}, {"names", m.Names, 1, 64}, {"calls", m.Calls, 1, 1 << 20}, {"hot", m.Hot, 0, 100}, {"the sum of the weights", total, 1, 1 << 30}} {
		if n.v < n.lo || n.v > n.top {
			return fmt.Errorf("%s is %d, not in %d..%d", n.name, n.v, n.lo, n.top)
		}
	}
	if pageSize%m.Cell != 0 || m.Cell%8 != 0 {
		return fmt.Errorf("a page is no multiple of cells of %d bytes", m.Cell)
	}
	return nil
}

// String is the mix as a file.
func (m *Mix) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "clients %d\nfiles %d\nlogs %d\npages %d\ncell %d\ndirs %d\nnames %d\ncalls %d\nhot %d\n", m.Clients, m.Files, m.Logs, m.Pages, m.Cell,
		m.Dirs, m.Names, m.Calls, m.Hot)
	var lines []string
	for name, w := range m.Weights {
		lines = append(lines, fmt.Sprintf("%s %d\n", name, w))
	}
	slices.Sort(lines)
	b.WriteString(strings.Join(lines, ""))
	return b.String()
}
