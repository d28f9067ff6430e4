// SPDX-License-Identifier: GPL-2.0-or-later

// Package oracle asks the judges of this project: btrfs-progs and the kernel's
// own btrfs. It is for tests only.
//
// A test that needs an oracle calls Need first. Without the oracle the test
// skips with one line that says what is missing; with KTEST_ORACLE=require in
// the environment a missing oracle fails it. Mounts and loop devices made here
// are undone when the test ends, also when it fails.
package oracle
