// SPDX-License-Identifier: GPL-2.0-or-later

// Package printtree writes an image as text: the same bytes as `btrfs
// inspect-internal dump-tree` of btrfs-progs 6.2, so that the two can be
// compared, and so that those who read such dumps every day need not learn
// another form.
//
// A dump starts with the version line, then comes each tree in breadth-first
// order: the root tree, the chunk tree, the log root tree if there is one, and
// the trees that the root tree lists. A block is a header of four lines and a
// line for each pointer or item; below an item stands what it says.
//
//   - dump.go chooses the trees;
//   - tree.go walks them level by level and prints headers and pointers;
//   - leaf.go prints items, items_*.go what is in them.
//
// What an image makes us print, and what goes wrong on the way, are different
// streams, as they are there: complaints go to Options.Errors.
package printtree
