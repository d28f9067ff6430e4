// SPDX-License-Identifier: GPL-2.0-or-later

package sched

import (
	"fmt"
	"strings"
)

// Columns prints the steps of a run as commit messages of the kernel print
// races: time runs downwards and each task has a column of its own.
func Columns(trace []Event) string {
	const width = 40
	columns := map[int]int{}
	var heads []string
	for _, e := range trace {
		if _, ok := columns[e.Task]; !ok {
			columns[e.Task] = len(heads)
			heads = append(heads, fmt.Sprintf("%-*s", width, fmt.Sprintf("%s [%d]", e.Name, e.Task)))
		}
	}
	var b strings.Builder
	b.WriteString(strings.TrimRight(strings.Join(heads, ""), " ") + "\n")
	for _, e := range trace {
		fmt.Fprintf(&b, "%s  %s\n", strings.Repeat(" ", width*columns[e.Task]), e.Op)
	}
	return b.String()
}
