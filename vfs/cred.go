// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

// Capabilities, numbered as in include/uapi/linux/capability.h. Only those that file systems ask for.
const (
	CAP_CHOWN                  = 0
	CAP_DAC_OVERRIDE           = 1
	CAP_DAC_READ_SEARCH        = 2
	CAP_FOWNER                 = 3
	CAP_FSETID                 = 4
	CAP_LINUX_IMMUTABLE        = 9
	CAP_SYS_CHROOT             = 18
	CAP_SYS_ADMIN              = 21
	CAP_SYS_RESOURCE           = 24
	CAP_MKNOD                  = 27
	capMax                     = 40
	CAP_FULL_SET        uint64 = 1<<(capMax+1) - 1
)

// Cred says on whose behalf a system call runs. The kernel finds it through `current`; here it is handed down explicitly to those
// operations that need it (as the kernel hands down its mount idmap since 5.12). A Cred is immutable once a Process uses it.
//
// The super user (Uid 0) has every capability except those in DropCaps; everybody else has exactly Caps.
//
//kernel:none mirrors struct cred of include/linux/cred.h
type Cred struct {
	Uid, Gid uint32
	Groups   []uint32
	Caps     uint64 // capabilities of a process that is not root, one bit each
	DropCaps uint64 // capabilities that root has given up
}

// RootCred is the super user with all capabilities. Read-only.
var RootCred = &Cred{}

// Capable reports whether the capability is effective.
//
//kernel:none mirrors ns_capable of kernel/capability.c
func (c *Cred) Capable(capability uint) bool {
	if c.Uid == 0 {
		return c.DropCaps>>capability&1 == 0
	}
	return c.Caps>>capability&1 != 0
}

// InGroup reports whether gid is the file system group or a supplementary one.
//
//kernel:none mirrors in_group_p of kernel/groups.c
func (c *Cred) InGroup(gid uint32) bool {
	if c.Gid == gid {
		return true
	}
	for _, g := range c.Groups {
		if g == gid {
			return true
		}
	}
	return false
}
