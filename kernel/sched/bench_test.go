// SPDX-License-Identifier: GPL-2.0-or-later

package sched_test

import (
	"fmt"
	"testing"

	"kbtrfs/kernel"
	"kbtrfs/kernel/sched"
)

// Schedules of 200 steps, machine and tasks made and ended each time.
func BenchmarkSchedules200(b *testing.B) {
	for _, tasks := range []int{1, 2, 4, 16} {
		b.Run(fmt.Sprintf("tasks=%d", tasks), func(b *testing.B) {
			s := sched.NewWith(sched.Options{Keep: true})
			defer s.Close()
			steps := 0
			b.ReportAllocs()
			for range b.N {
				k := kernel.New(kernel.Options{Scheduler: s})
				c := k.Class("word")
				err := k.Run("main", func(*kernel.Task) {
					var w kernel.BitWord
					w.Init(c)
					body := func(*kernel.Task) {
						for range 200 / tasks {
							w.Set(1)
						}
					}
					for range tasks - 1 {
						k.Go("t", body)
					}
					body(nil)
				})
				if err != nil {
					b.Fatal(err)
				}
				steps += s.Steps()
			}
			b.ReportMetric(float64(steps)/float64(b.N), "steps/schedule")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "schedules/s")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
		})
	}
}

func BenchmarkContendedMutexSchedules(b *testing.B) {
	s := sched.NewWith(sched.Options{Keep: true})
	defer s.Close()
	steps := 0
	for range b.N {
		k := kernel.New(kernel.Options{Scheduler: s})
		c := k.Class("m")
		err := k.Run("main", func(*kernel.Task) {
			var m, n kernel.Mutex
			m.Init(c)
			n.Init(k.Class("n"))
			for range 4 {
				k.Go("t", func(*kernel.Task) {
					for range 12 {
						m.Lock()
						n.Lock()
						n.Unlock()
						m.Unlock()
					}
				})
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		steps += s.Steps()
	}
	b.ReportMetric(float64(steps)/float64(b.N), "steps/schedule")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "schedules/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(steps), "ns/step")
}

// BenchmarkUnexplored is a lock that is taken and given back where nothing is
// explored: what most steps of a schedule of a file system cost.
func BenchmarkUnexplored(b *testing.B) {
	s := sched.NewWith(sched.Options{MaxSteps: 1 << 62})
	k := kernel.New(kernel.Options{Scheduler: s})
	s.Explore(false)
	err := k.Run("main", func(*kernel.Task) {
		var outer kernel.Mutex
		outer.Init(k.Class("outer"))
		var inner kernel.SpinMutex
		inner.Init(k.Class("inner"))
		outer.Lock()
		b.ResetTimer()
		for range b.N {
			inner.Lock()
			inner.Unlock()
		}
		b.StopTimer()
		outer.Unlock()
	})
	if err != nil {
		b.Fatal(err)
	}
}
