// SPDX-License-Identifier: GPL-2.0-or-later

// Command ktest makes, checks, dumps and tests btrfs images without root and without a VM. Each subcommand is a
// file of this package that parses its options and calls a library; `ktest help` lists them.
//
// Exit status: 0 all good, 1 something was found or went wrong, 2 wrong usage. `ktest sh` has its script's.
package main
