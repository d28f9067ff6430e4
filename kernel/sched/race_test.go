// SPDX-License-Identifier: GPL-2.0-or-later

//go:build race

package sched_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"kbtrfs/kernel"
)

const raceDetector = true

// The detector sees through the serialised schedule: an unlocked counter is
// reported, the same counter under each kind of lock is not. Fails if the
// hand-off between tasks counts as synchronisation, or if a primitive does not.
func TestRaceDetector(t *testing.T) {
	counters := map[string]func(k *kernel.Kernel) func(n *int){
		"unlocked": func(k *kernel.Kernel) func(*int) {
			return func(n *int) { k.CondResched(); *n++; k.CondResched() }
		},
		"mutex": func(k *kernel.Kernel) func(*int) {
			m := &kernel.Mutex{}
			m.Init(k.Class("m"))
			return func(n *int) { m.Lock(); *n++; m.Unlock() }
		},
		"spin": func(k *kernel.Kernel) func(*int) {
			m := &kernel.SpinMutex{}
			m.Init(k.Class("m"))
			return func(n *int) { m.Lock(); *n++; m.Unlock() }
		},
		"rwsem": func(k *kernel.Kernel) func(*int) {
			m := &kernel.RWMutex{}
			m.Init(k.Class("m"))
			return func(n *int) {
				m.Lock()
				*n++
				m.Unlock()
				m.RLock()
				_ = *n
				m.RUnlock()
			}
		},
		"bit": func(k *kernel.Kernel) func(*int) {
			m := &kernel.BitWord{}
			m.Init(k.Class("m"))
			return func(n *int) { m.LockBit(1); *n++; m.UnlockBit(1) }
		},
	}
	if name := os.Getenv("SCHED_RACE_CHILD"); name != "" {
		for seed := range uint64(20) {
			run(seed, func(k *kernel.Kernel, t *kernel.Task) {
				n := 0
				count := counters[name](k)
				var tasks []*kernel.Task
				for range 2 {
					tasks = append(tasks, k.Go("t", func(*kernel.Task) { count(&n) }))
				}
				for _, x := range tasks {
					x.Join()
				}
				n++ // after Join: no race
			})
		}
		return
	}
	for name := range counters {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestRaceDetector$")
			cmd.Env = append(os.Environ(), "SCHED_RACE_CHILD="+name)
			out, _ := cmd.CombinedOutput()
			if found := strings.Contains(string(out), "DATA RACE"); found != (name == "unlocked") {
				t.Errorf("race reported: %v\n%s", found, out)
			}
		})
	}
}
