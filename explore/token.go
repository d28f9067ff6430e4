// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"fmt"
	"strconv"
	"strings"

	"kbtrfs/kernel/sched"
)

// Token is a schedule of a program: where it leaves the base order. As a string
// it reads
//
//	btrfs/010+dio-reserve-leak@1f3a9c2e:1.41>2,2.30>1,bio.0=1
//
// program, hash of the program, and behind the colon what is forced: after step
// 41 of task 1, task 2 goes on, and so forth ("@" instead of a task is the next
// alarm); the first choice of the kind "bio" is 1.
type Token struct {
	Program  string
	Hash     uint32
	Switches []sched.Switch
	Choices  []sched.Choice
}

func (t Token) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%08x:", t.Program, t.Hash)
	sep := ""
	for _, w := range t.Switches {
		b.WriteString(sep + w.String())
		sep = ","
	}
	for _, c := range t.Choices {
		b.WriteString(sep + c.String())
		sep = ","
	}
	return b.String()
}

// ParseToken reads what String has written.
func ParseToken(s string) (Token, error) {
	var t Token
	head, list, ok := strings.Cut(strings.TrimSpace(s), ":")
	name, hash, ok2 := strings.Cut(head, "@")
	h, err := strconv.ParseUint(hash, 16, 32)
	if !ok || !ok2 || err != nil || name == "" {
		return t, fmt.Errorf("%q is no token (PROGRAM@HASH:SWITCHES)", s)
	}
	t.Program, t.Hash = name, uint32(h)
	for part := range strings.SplitSeq(list, ",") {
		if part == "" {
			continue
		}
		if at, to, ok := strings.Cut(part, ">"); ok {
			key, n, ok := cutNumber(at)
			if !ok {
				return t, fmt.Errorf("%q in a token: want TASK.STEP>TASK", part)
			}
			w := sched.Switch{After: parseKey(key), Step: n, Alarm: to == "@"}
			if !w.Alarm {
				w.To = parseKey(to)
			}
			t.Switches = append(t.Switches, w)
			continue
		}
		at, value, ok := strings.Cut(part, "=")
		what, n, ok2 := cutNumber(at)
		v, err := strconv.Atoi(value)
		if !ok || !ok2 || err != nil {
			return t, fmt.Errorf("%q in a token: want TASK.STEP>TASK or CHOICE.N=VALUE", part)
		}
		t.Choices = append(t.Choices, sched.Choice{What: what, N: n, Value: v})
	}
	return t, nil
}

func cutNumber(s string) (head string, n int, ok bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.Atoi(s[i+1:])
	return s[:i], n, err == nil
}

// parseKey reads a task's key: a number, or the name of a kernel thread.
func parseKey(s string) sched.Key {
	if n, err := strconv.Atoi(s); err == nil {
		return sched.Key{N: n}
	}
	name, num, _ := strings.Cut(s, "~")
	n, _ := strconv.Atoi(num)
	return sched.Key{Name: name, N: n}
}

// Replay returns the strategy that makes the token's schedule.
func (t Token) Replay() *sched.Replay { return sched.NewReplay(t.Switches, t.Choices) }
