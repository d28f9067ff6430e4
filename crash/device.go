// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"maps"

	"kbtrfs/blockdev"
	"kbtrfs/kernel"
	"kbtrfs/linearizability"
)

// Device records what is written to another, for crash states of whatever a case
// does with it: from the first mount after the last mkfs on.
type Device struct {
	*Oracle
	rec   *linearizability.Recorder
	log   *blockdev.LogWrites
	base  blockdev.Image
	start int
	begin uint64
}

// zeroImage is a device that nobody has written.
type zeroImage uint64

func (z zeroImage) Size() uint64                { return uint64(z) }
func (z zeroImage) ReadImage(p []byte, _ int64) { clear(p) }

// NewDevice records writes to dev, which holds base (nil: zeros), with ticks of rec.
func NewDevice(k *kernel.Kernel, dev blockdev.Device, base blockdev.Image, rec *linearizability.Recorder) *Device {
	if base == nil {
		base = zeroImage(dev.Size())
	}
	d := &Device{rec: rec, log: blockdev.NewLogWrites(k, dev)}
	d.log.SetClock(rec.Tick)
	d.Oracle = NewOracle(d.log, base)
	return d
}

// Arm is called before a mount.
func (d *Device) Arm() {
	d.mu.Lock()
	fresh := !d.armed
	d.mu.Unlock()
	d.Oracle.Arm()
	if fresh {
		d.mu.Lock()
		d.base = &drive{d.written.base, maps.Clone(d.written.blocks)}
		d.mu.Unlock()
		d.start, d.begin = d.log.Len(), d.rec.Tick()
	}
}

// Log returns what was recorded, nil if the device was never mounted.
func (d *Device) Log(name, dir string) *Log {
	if d.base == nil {
		return nil
	}
	return &Log{Name: name, Base: d.base, Entries: d.log.Entries()[d.start:], History: d.rec.Within(dir), Begin: d.begin}
}
