// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs

// Messages go to the machine's ring, one line each, in the form that people
// grep for in a kernel's.

//kernel:none mirrors btrfs_crit
func (fsInfo *FsInfo) crit(format string, args ...any) { fsInfo.message("critical", format, args) }

//kernel:none mirrors btrfs_err
func (fsInfo *FsInfo) err(format string, args ...any) { fsInfo.message("error", format, args) }

//kernel:none mirrors btrfs_warn
func (fsInfo *FsInfo) warn(format string, args ...any) { fsInfo.message("warning", format, args) }

//kernel:none mirrors btrfs_info
func (fsInfo *FsInfo) info(format string, args ...any) { fsInfo.message("info", format, args) }

//kernel:fs/btrfs/messages.c _btrfs_printk
func (fsInfo *FsInfo) message(level, format string, args []any) {
	fsInfo.k.Printk("BTRFS "+level+" (device "+fsInfo.dev.Name()+"): "+format, args...)
}
