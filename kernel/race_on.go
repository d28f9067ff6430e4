// SPDX-License-Identifier: GPL-2.0-or-later

//go:build race

package kernel

// raceEnabled: the race detector watches. Functions that touch the
// deterministic world's bookkeeping from several task goroutines are marked
// go:norace, because the hand-off between tasks is hidden from the detector on
// purpose: only the edges that the primitives themselves make may count.
const raceEnabled = true
