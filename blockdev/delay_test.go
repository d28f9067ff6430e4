// SPDX-License-Identifier: GPL-2.0-or-later

package blockdev

import (
	"slices"
	"testing"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// Requests end in their order, each after the transfers before it and its own, and
// the latency, which they have side by side. A latency that is waited for one
// request after the other fails here.
func TestDelay(t *testing.T) {
	k := kernel.New(kernel.Options{Scheduler: sched.NewWith(sched.Options{Strategy: sched.NewReplay(nil, nil)})})
	var ends []int64
	err := k.Run("test", func(*kernel.Task) {
		mem := NewMem(k, 1<<20)
		d := NewDelay(k, mem, DelayOptions{Latency: 100 * kernel.Millisecond, PerKiB: kernel.Millisecond})
		begin := k.Now()
		for i := range 3 {
			b := AllocBio(k)
			b.Op, b.Sector = REQ_OP_WRITE, uint64(i)*16
			b.AddBuf(make([]byte, 8<<10))
			b.EndIO = func(b *Bio) {
				ends = append(ends, (k.Now()-begin)/kernel.Millisecond)
				b.Put()
			}
			d.SubmitBio(b)
		}
		k.Sleep(kernel.Second)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil || !slices.Equal(ends, []int64{108, 116, 124}) {
		t.Errorf("ended after %v ms (%v), want 108, 116, 124", ends, err)
	}
}
