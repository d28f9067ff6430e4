// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// What tests outside of the package share with those inside.
var (
	DamageBlock = damage
	TreeBlocks  = treeBlocks
)
