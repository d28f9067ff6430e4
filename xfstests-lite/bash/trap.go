// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"fmt"
	"slices"
	"strings"
)

// ownTraps: a subshell inherits ignored signals, not commands. fork has kept just those.
func (sh *Shell) ownTraps() {
	sh.inTrap = false
}

// runTrap runs a trap's command; $? is as before unless it exits.
func (sh *Shell) runTrap(cmd string) {
	f, err := sh.shared.cache.parse("trap", cmd)
	if err != nil {
		sh.Errorf("trap: %v", err)
		return
	}
	status, was := sh.status, sh.inTrap
	sh.inTrap = true
	sh.stmts(f.Stmts)
	sh.inTrap = was
	if sh.flow == flowNone {
		sh.status = status
	}
}

// exitTrap runs the EXIT trap, whose own exit decides the status.
func (sh *Shell) exitTrap() {
	cmd := sh.traps["EXIT"]
	delete(sh.traps, "EXIT")
	if cmd == "" {
		return
	}
	sh.flow, sh.loops = flowNone, 0
	// A killed shell still cleans up, so its context must not stop it.
	for sh.proc.isPending() {
		sh.proc.take()
	}
	sh.runTrap(cmd)
	sh.flow = flowExit
}

func builtinTrap(sh *Shell, args []string) int {
	args = args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 || args[0] == "-p" {
		names := make([]string, 0, len(sh.traps))
		for name := range sh.traps {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			show := name
			if name != "EXIT" && name != "ERR" && name != "DEBUG" && name != "RETURN" {
				show = "SIG" + name
			}
			if len(args) <= 1 || slices.Contains(args[1:], name) || slices.Contains(args[1:], show) {
				fmt.Fprintf(sh.Stdout(), "trap -- %s %s\n", Quote(sh.traps[name]), show)
			}
		}
		return 0
	}
	cmd, names := args[0], args[1:]
	if len(names) == 0 { // trap INT: reset
		cmd, names = "-", args
	}
	status := 0
	for _, n := range names {
		name := strings.TrimPrefix(strings.ToUpper(n), "SIG")
		switch name {
		case "ERR", "DEBUG", "RETURN":
		default:
			sig, ok := SignalNumber(n)
			if !ok {
				sh.Errorf("trap: %s: invalid signal specification", n)
				status = 1
				continue
			}
			name = signalName(sig)
		}
		if cmd == "-" {
			delete(sh.traps, name)
		} else {
			sh.traps[name] = cmd
		}
	}
	return status
}
