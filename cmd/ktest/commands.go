// SPDX-License-Identifier: GPL-2.0-or-later

package main

// commands is the table of subcommands.
func commands() []*command {
	return []*command{
		mkfsCommand,
		checkCommand,
		dumpTreeCommand,
		shCommand,
		runCommand,
		exploreCommand,
		linCommand,
		crashCommand,
		mountCommand,
	}
}
