// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"kbtrfs/btrfs"
)

// A command is one subcommand. run gets the arguments behind its name; what it returns decides the exit
// status: nil 0, errFound 1, usageError 2, everything else 1 with one line on stderr.
type command struct {
	name  string
	usage string // the arguments, for help
	short string
	run   func(ctx context.Context, c *command, args []string) error
}

// errFound: something was found and has been told.
var errFound = errors.New("found")

// usageError is a wrong command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// flags is a flag set that leaves reporting to main.
func (c *command) flags() *flag.FlagSet {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	return f
}

// parse parses args, where options may also stand behind operands. -h prints the command's options.
func (c *command) parse(f *flag.FlagSet, args []string) ([]string, error) {
	var operands []string
	for {
		if err := f.Parse(args); err != nil {
			return nil, c.flagError(f, err)
		}
		rest := f.Args()
		if len(rest) == 0 {
			return operands, nil
		}
		if used := len(args) - len(rest); used > 0 && args[used-1] == "--" {
			return append(operands, rest...), nil
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
}

// parseFirst parses options up to the first operand.
func (c *command) parseFirst(f *flag.FlagSet, args []string) ([]string, error) {
	if err := f.Parse(args); err != nil {
		return nil, c.flagError(f, err)
	}
	return f.Args(), nil
}

// revertFlag is the option of all commands that run our btrfs; more ends its text.
func revertFlag(f *flag.FlagSet, reverts *string, more string) {
	f.Func("revert", "take back the historical commits `SLUG[=VARIANT],...`"+more, func(value string) error {
		*reverts = value
		return btrfs.CheckReverts(value)
	})
}

// flagError is what a wrong option or -h leads to.
func (c *command) flagError(f *flag.FlagSet, err error) error {
	if !errors.Is(err, flag.ErrHelp) {
		return usageError{err}
	}
	fmt.Printf("usage: ktest %s %s\n\n%s\n", c.name, c.usage, c.short)
	f.SetOutput(os.Stdout)
	f.PrintDefaults()
	return err
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: ktest COMMAND [ARGUMENT...]")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.short)
	}
	fmt.Fprintln(w, "`ktest COMMAND -h` lists a command's options.")
}

// run is main without the process: it returns the exit status.
func run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		usage(os.Stderr)
		return 2
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(os.Stdout)
		return 0
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, c, args[1:])
		var bad usageError
		var status exitStatus
		switch {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errFound):
			return 1
		case errors.As(err, &status):
			return int(status)
		case errors.As(err, &bad):
			fmt.Fprintf(os.Stderr, "ktest %s: %v (ktest %s -h lists the options)\n", c.name, err, c.name)
			return 2
		}
		fmt.Fprintf(os.Stderr, "ktest %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "ktest: unknown command %q (ktest help lists them)\n", args[0])
	return 2
}

// exitStatus is the status of a script that `ktest sh` ran.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	// The first Ctrl-C asks the work to end in order; the second one, without the handler, kills.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop()
	}()
	switch name := filepath.Base(os.Args[0]); {
	case strings.HasPrefix(name, mountPrefix):
		os.Exit(mountHelper(name, os.Args[1:]))
	case strings.HasPrefix(name, umountPrefix):
		os.Exit(umountHelper(name, os.Args[1:]))
	}
	os.Exit(run(ctx, os.Args[1:]))
}
