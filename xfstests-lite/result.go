// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/pmezard/go-difflib/difflib"
)

// Status says how a case ended.
type Status string

// The ends of a case.
const (
	Pass   Status = "pass"
	Fail   Status = "fail"
	Notrun Status = "notrun" // the case cannot say anything here; Result.Reason tells why
)

// Result is what became of a case.
type Result struct {
	Case   string        `json:"case"`
	Status Status        `json:"status"`
	Reason string        `json:"reason,omitempty"` // one line: what failed, or why it did not run
	Detail string        `json:"detail,omitempty"` // the difference from the golden output, warnings, a checker's words
	Output string        `json:"-"`                // all that the case printed
	Full   string        `json:"-"`                // what it wrote to $seqres.full
	Hash   uint64        `json:"hash,omitempty"`   // trace hash of a deterministic run
	Time   time.Duration `json:"ns"`
}

func (r *Result) fail(reason, detail string) {
	if r.Status == Fail {
		r.Detail += "\n" + reason + "\n" + detail
		return
	}
	r.Status, r.Reason, r.Detail = Fail, reason, detail
}

// judge compares what a case printed with its golden output and its exit status with success.
func (r *Result) judge(t *Tree, c Case, out []byte, status int) {
	r.Output = string(out)
	want, err := t.golden(c)
	switch {
	case err != nil:
		r.fail("no golden output", err.Error())
	case !bytes.Equal(out, want):
		r.fail("output differs from "+c.Name+".out", difference(c.Name+".out", want, out))
	case status != 0:
		r.fail(fmt.Sprintf("exit status %d", status), "")
	default:
		r.Status = Pass
	}
}

// golden is the output that a case must have. In fstests a case may have several, chosen by NNN.cfg; the plain
// NNN.out is what such a case has for the default configuration.
func (t *Tree) golden(c Case) ([]byte, error) {
	want, err := t.Read("tests/" + c.Name + ".out")
	if err == nil {
		return want, nil
	}
	for _, suffix := range []string{".out.linux", ".out.default"} {
		if alt, err := t.Read("tests/" + c.Name + suffix); err == nil {
			return alt, nil
		}
	}
	return nil, err
}

// difference is a unified diff that stays readable when an output runs wild.
func difference(name string, want, got []byte) string {
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: difflib.SplitLines(string(want)), B: difflib.SplitLines(string(got)),
		FromFile: name, ToFile: "output", Context: 3,
	})
	if err != nil {
		return err.Error()
	}
	const most = 60
	if lines := strings.SplitAfter(text, "\n"); len(lines) > most {
		return strings.Join(lines[:most], "") + fmt.Sprintf("... and %d lines more\n", len(lines)-most)
	}
	return strings.TrimSuffix(text, "\n")
}
