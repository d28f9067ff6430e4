// SPDX-License-Identifier: GPL-2.0-or-later

package explore

import (
	"fmt"
	"os"
	"strings"
)

// A failure is kept as a text file: a head of "name: value" lines, a line of
// dashes, the case's script, and behind another such line, for the reader, the
// two-column print. --replay takes it.
const (
	fileFirst   = "ktest explore, a schedule to replay"
	scriptStart = "---- script"
	printStart  = "---- what happens"
)

// File is what such a file holds.
type File struct {
	Case, Revert  string
	Mount, Mkfs   string // options
	Token         string
	Kind, Msg     string
	Script, Print string
}

func (f *File) fields() []struct {
	name  string
	value *string
} {
	return []struct {
		name  string
		value *string
	}{{"case", &f.Case}, {"revert", &f.Revert}, {"mount options", &f.Mount}, {"mkfs options", &f.Mkfs}, {"token", &f.Token}, {"kind", &f.Kind}, {"finding", &f.Msg}}
}

// Write writes the file.
func (f *File) Write(name string) error {
	var b strings.Builder
	b.WriteString(fileFirst + "\n")
	for _, x := range f.fields() {
		fmt.Fprintf(&b, "%s: %s\n", x.name, strings.ReplaceAll(*x.value, "\n", " "))
	}
	b.WriteString(scriptStart + "\n" + strings.TrimRight(f.Script, "\n") + "\n" + printStart + "\n" + f.Print)
	return os.WriteFile(name, []byte(b.String()), 0o644)
}

// ReadFile reads such a file.
func ReadFile(name string) (*File, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	head, rest, ok := strings.Cut(string(text), scriptStart+"\n")
	if !ok || !strings.HasPrefix(head, fileFirst+"\n") {
		return nil, fmt.Errorf("%s: not a file of ktest explore", name)
	}
	f := &File{}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		for _, x := range f.fields() {
			if x.name == key {
				*x.value = value
			}
		}
	}
	f.Script, f.Print, _ = strings.Cut(rest, printStart+"\n")
	if _, err := ParseToken(f.Token); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}
