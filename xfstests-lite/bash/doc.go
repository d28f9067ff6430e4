// SPDX-License-Identifier: GPL-2.0-or-later

// Package bash interprets bash scripts inside this process. It knows nothing of file systems: files, commands,
// processes and time come from a [World].
//
// The parser is mvdan.cc/sh/v3/syntax. Its companion interp is not used, because cases need what it does not
// have: descriptors above 2 in redirections, PIPESTATUS, $! and kill, signal traps, an EXIT trap's exit status,
// umask, 64-bit arithmetic; and because it runs pipelines and jobs on goroutines, which a deterministic world
// cannot have. Here a World says how a task starts and whether the sides of a pipeline run at the same time.
//
// # How a script runs
//
// A [Shell] is one shell process: variables, functions, descriptors, traps, options. exec.go walks the syntax
// tree; break, continue, return and exit set Shell.flow, and every list looks at it after each statement, so
// unwinding needs no panics. Words go through expand.go (fields, quoting), param.go (${...}), arith.go and
// glob.go. A simple command is a function, a shell builtin (table builtins) or a [Command] of the World.
//
// # Subshells
//
// ( ), $( ), sides of pipelines and background jobs run in a copy of the shell. The copy is cheap: variables are
// shared until one side writes (see Var.owner), functions are immutable, descriptors are reference counted.
//
// # Signals
//
// There are no processes, so kill(1) on a job marks it: the job's next command does not start, its trap runs or
// it ends with 128+signal; commands that wait watch [Shell.Context].
package bash
