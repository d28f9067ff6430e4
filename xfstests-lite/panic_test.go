// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A builtin that panics, wherever the shell runs it, fails its case with one line that names it, at once; the next
// case knows nothing of it.
func TestBuiltinPanics(t *testing.T) {
	commands["boom"] = func(*call) int { panic("index out of range") }
	defer delete(commands, "boom")
	const scratch = "_require_scratch\n_scratch_mkfs >> $seqres.full 2>&1\n_scratch_mount\n"
	for _, text := range []string{
		"boom",
		"boom > $SCRATCH_MNT/f",
		"boom &\nwait",
		"boom & while :; do sleep 1; done",
		"boom | cat",
		"echo x | boom",
		"sleep 100 | boom",
		"boom | while read x; do :; done",
		"x=$(boom)",
		"cat <(boom)",
		"(boom)",
		"f() { boom; }; f & sleep 100 & wait",
		"trap boom EXIT",
		"while :; do echo x > $SCRATCH_MNT/f; rm $SCRATCH_MNT/f; done & boom",
	} {
		t.Run(text, func(t *testing.T) {
			for _, det := range []bool{false, true} {
				if det && strings.Contains(text, "while :") {
					continue // virtual time stands still while nobody sleeps
				}
				r, err := Run(context.Background(), treeOf(scratch+text+"\nstatus=0\nexit", ""), Case{Name: "generic/999"},
					RunOptions{Kind: Btrfs, Deterministic: det, Timeout: time.Minute})
				if err != nil {
					t.Fatal(err)
				}
				if r.Status != Fail || !strings.Contains(r.Reason, "index out of range") || !strings.Contains(r.Reason, "boom") {
					t.Errorf("deterministic %v: %s: %s\n%s", det, r.Status, r.Reason, r.Detail)
				}
			}
		})
	}
	r, err := Run(context.Background(), treeOf(scratch+"echo hi; status=0; exit", "hi\n"), Case{Name: "generic/999"}, RunOptions{Kind: Btrfs})
	if err != nil || r.Status != Pass {
		t.Errorf("the next case: %v %s %s", err, r.Status, r.Reason)
	}
}
