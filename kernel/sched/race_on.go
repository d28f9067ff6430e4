// SPDX-License-Identifier: GPL-2.0-or-later

//go:build race

package sched

import (
	"runtime"
	"unsafe"
)

// Under the race detector the hand-off between tasks must not count as
// synchronisation, or a serialised run would have no races: it is hidden, and
// the detector sees only what the primitives themselves synchronise.
const raceMode = true

func raceHide()                    { runtime.RaceDisable() }
func raceShow()                    { runtime.RaceEnable() }
func raceAcquire(p unsafe.Pointer) { runtime.RaceAcquire(p) }
func raceRelease(p unsafe.Pointer) { runtime.RaceReleaseMerge(p) }
