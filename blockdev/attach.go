// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// AttachLoop gives a file a loop device of the host, for the host's own file
// systems. The kernel takes it away when nobody uses it any more, the returned
// file included: neither somebody who is killed nor a second one who detaches by
// name can do harm.
func AttachLoop(file *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, err
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(int(loop.Fd()), &config); err == nil {
			return loop, nil
		}
		loop.Close()
		if err != unix.EBUSY { // somebody else was faster
			return nil, err
		}
	}
	return nil, unix.EBUSY
}
