// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// peakRSS is the most memory that the process has had, in MiB.
func peakRSS(t testing.TB) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			n, _ := strconv.Atoi(f[1])
			return float64(n) / 1024
		}
	}
	return 0
}
