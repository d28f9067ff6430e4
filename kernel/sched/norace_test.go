// SPDX-License-Identifier: GPL-2.0-or-later

//go:build !race

package sched_test

const raceDetector = false
