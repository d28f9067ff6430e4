// SPDX-License-Identifier: GPL-2.0-or-later

package kernel

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Each watcher hears of each error once, a late one of what nobody has seen.
func TestErrseq(t *testing.T) {
	var e Errseq
	a, b := e.Sample(), e.Sample()
	hears := func(who string, since *uint32, want error) {
		t.Helper()
		if err := e.CheckAndAdvance(since); err != want {
			t.Errorf("%s hears of %v, not %v", who, err, want)
		}
	}
	hears("a", &a, nil)
	e.Set(unix.EIO)
	e.Set(unix.EIO)
	late := e.Sample()
	hears("a", &a, unix.EIO)
	hears("a", &a, nil)
	hears("b", &b, unix.EIO)
	hears("late", &late, unix.EIO)
	later := e.Sample()
	hears("later", &later, nil)
	e.Set(unix.EIO) // equal, and new all the same
	hears("a", &a, unix.EIO)
	hears("later", &later, unix.EIO)
	e.Set(unix.ENOSPC)
	hears("b", &b, unix.ENOSPC)
	hears("b", &b, nil)
}
