// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
)

// Pairs are the calls that are tried against each other, two at a time, on one
// tiny file, in all schedules of at most so many preemptions.

// pairCall is a call as a job of a script.
type pairCall struct{ Name, Command string }

var pairCalls = []pairCall{
	{"write", `$XFS_IO_PROG -c "pwrite -q -S 0x62 0 4k" $SCRATCH_MNT/file`},
	{"direct", `$XFS_IO_PROG -d -c "pwrite -q -S 0x63 0 4k" $SCRATCH_MNT/file`},
	{"mmap", `$XFS_IO_PROG -c "mmap -rw 0 4k" -c "mwrite -S 0x64 0 4k" $SCRATCH_MNT/file`},
	{"truncate", `$XFS_IO_PROG -c "truncate 2k" $SCRATCH_MNT/file`},
	{"fsync", `$XFS_IO_PROG -c "fsync" $SCRATCH_MNT/file`},
	{"unlink", `rm -f $SCRATCH_MNT/file`},
	{"read", `$XFS_IO_PROG -c "pread -q 0 4k" $SCRATCH_MNT/file`},
	{"punch", `$XFS_IO_PROG -c "fpunch 0 4k" $SCRATCH_MNT/file`},
}

// pairScript is a case in which two calls race. The file is 8 KiB on disk, and
// its first half is dirty, so that there is something to write back.
const pairScript = `#!/bin/bash
. ./common/preamble
_begin_fstest auto race
_require_scratch
_scratch_mkfs -b 128m >> $seqres.full 2>&1
_scratch_mount
$XFS_IO_PROG -f -c "pwrite -q -S 0x61 0 8k" $SCRATCH_MNT/file
_scratch_cycle_mount
$XFS_IO_PROG -c "pwrite -q -S 0x65 0 4k" $SCRATCH_MNT/file
%s >> $seqres.full 2>&1 &
%s >> $seqres.full 2>&1 &
wait
status=0
exit
`

// PairNames are the names of all pairs, a call against itself included.
func PairNames() []string {
	var out []string
	for i, a := range pairCalls {
		for _, b := range pairCalls[i:] {
			out = append(out, a.Name+"+"+b.Name)
		}
	}
	return out
}

// NewPair prepares a pair by its name, "write+fsync".
func NewPair(name string, o ProgramOptions) (*Program, error) {
	for i, a := range pairCalls {
		for _, b := range pairCalls[i:] {
			if a.Name+"+"+b.Name != name {
				continue
			}
			o.Script = fmt.Sprintf(pairScript, a.Command, b.Command)
			p, err := NewProgram(Builtin(), Case{Name: "pair/0"}, o)
			if err == nil {
				p.name, p.jobs = "pair/"+name, 2
			}
			return p, err
		}
	}
	return nil, fmt.Errorf("no pair of calls %q", name)
}
