// SPDX-License-Identifier: GPL-2.0-or-later

//go:build !race

package kernel

const raceEnabled = false
