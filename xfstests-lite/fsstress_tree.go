// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/sys/unix"
)

// What an fsstress process remembers is a bit mask of these in searches, and one of them in a file.
const (
	stressDir = 1 << iota
	stressReg
	stressLink
	stressDev
	stressSubvol

	stressAnyDir = stressDir | stressSubvol
	stressAny    = stressAnyDir | stressReg | stressLink | stressDev
)

// stressFile is a name that an fsstress process made. A hard link is one more.
type stressFile struct {
	kind   int
	name   string
	parent *stressFile // nil: the process's own directory
	xattrs int         // numbers below that may be in use
}

// stressTree is what one process has made and not removed. Operations fail often, on purpose: only what the system
// call has done enters here, so the tree is what is on disk unless another process or a crash interferes.
type stressTree struct {
	base  string
	files []*stressFile
	next  int
}

func (t *stressTree) path(f *stressFile) string {
	if f == nil {
		return t.base
	}
	return t.path(f.parent) + "/" + f.name
}

// pick returns a file of some kinds; nil: there is none.
func (t *stressTree) pick(rnd *rand.Rand, kinds int) *stressFile {
	n := 0
	for _, f := range t.files {
		if f.kind&kinds != 0 {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	n = rnd.IntN(n)
	for _, f := range t.files {
		if f.kind&kinds != 0 {
			if n == 0 {
				return f
			}
			n--
		}
	}
	return nil
}

// dir returns a directory to make something in; nil, the process's own, is one of them.
func (t *stressTree) dir(rnd *rand.Rand) *stressFile {
	if rnd.IntN(8) == 0 {
		return nil
	}
	return t.pick(rnd, stressAnyDir)
}

// below tells whether f is dir or lies in it.
func (t *stressTree) below(f, dir *stressFile) bool {
	for ; f != nil; f = f.parent {
		if f == dir {
			return true
		}
	}
	return false
}

// remove forgets f and all that lies in it.
func (t *stressTree) remove(f *stressFile) {
	kept := t.files[:0]
	for _, o := range t.files {
		if !t.below(o, f) {
			kept = append(kept, o)
		}
	}
	clear(t.files[len(kept):])
	t.files = kept
}

// swap is what RENAME_EXCHANGE does: each name leads to what the other did.
func (t *stressTree) swap(a, b *stressFile) {
	for _, o := range t.files {
		switch o.parent {
		case a:
			o.parent = b
		case b:
			o.parent = a
		}
	}
	a.kind, b.kind = b.kind, a.kind
	a.xattrs, b.xattrs = b.xattrs, a.xattrs
}

// stressProc is one process of fsstress.
type stressProc struct {
	f    *fsstress
	p    *Proc
	fs   FS
	id   int
	ctx  context.Context
	rnd  *rand.Rand
	tree stressTree
	buf  []byte
}

func (p *stressProc) run() {
	if err := p.fs.Mkdir(p.tree.base, 0o777); err != nil && err != unix.EEXIST {
		p.say(-1, "mkdir", p.tree.base, err)
		return
	}
	p.buf = alignedBuffer(stressMaxLen)
	for i := int64(0); p.ctx.Err() == nil; i++ {
		if p.f.until.IsZero() && i >= p.f.nops || !p.f.until.IsZero() && p.p.Now().After(p.f.until) {
			return
		}
		op := p.f.ops[p.rnd.IntN(len(p.f.ops))]
		if op.do == nil {
			continue
		}
		text, err := op.do(p)
		p.say(i, op.name, text, err)
	}
}

// say logs an operation: process/number: what it was, on what, and its errno.
func (p *stressProc) say(i int64, op, text string, err error) {
	f := p.f
	if f.log == nil {
		return
	}
	result := "0"
	if errno, ok := err.(unix.Errno); ok {
		result = fmt.Sprint(int(errno))
	} else if err != nil {
		result = err.Error()
	}
	f.mu.Lock()
	fmt.Fprintf(f.log, "%d/%d: %s %s %s\n", p.id, i, op, text, result)
	f.mu.Unlock()
}

// short is a path as the log shows it.
func (p *stressProc) short(f *stressFile) string {
	return strings.TrimPrefix(p.tree.path(f), p.f.dir+"/")
}

// name makes up a new name.
func (p *stressProc) name(letter byte) string {
	name := fmt.Sprintf("%c%x", letter, p.tree.next)
	p.tree.next++
	if p.f.padding {
		name += strings.Repeat("X", p.rnd.IntN(200))
	}
	return name
}

// make does call with the path of a new file and remembers it if that worked.
func (p *stressProc) make(kind int, letter byte, call func(path string) error) (string, error) {
	f := &stressFile{kind: kind, name: p.name(letter), parent: p.tree.dir(p.rnd)}
	err := call(p.tree.path(f))
	if err == nil {
		p.tree.files = append(p.tree.files, f)
	}
	return p.short(f), err
}

// on does call with a file of some kinds.
func (p *stressProc) on(kinds int, call func(f *stressFile, path string) error) (string, error) {
	f := p.tree.pick(p.rnd, kinds)
	if f == nil {
		return "-", errSkip
	}
	text := p.short(f)
	return text, call(f, p.tree.path(f))
}
