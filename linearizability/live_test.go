// SPDX-License-Identifier: GPL-2.0-or-later

package linearizability_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kbtrfs/kernel"
	"kbtrfs/kernel/mm"
	"kbtrfs/kernel/sched"
	"kbtrfs/linearizability"
	"kbtrfs/vfs"
	xfstests "kbtrfs/xfstests-lite"
)

// live runs clients of a mix, all of whose rounds must be linearizable.
func live(t testing.TB, mix *linearizability.Mix, calls int, o xfstests.LiveOptions) linearizability.LiveResult {
	t.Helper()
	o.Live.Mix, o.Live.Calls = mix, calls
	o.Live.Round = func(v *linearizability.Verdict, _ *linearizability.History) bool {
		if !v.OK() {
			t.Error(v)
		}
		return v.OK()
	}
	res, err := xfstests.RunLive(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// mixOf is the default mix for n clients.
func mixOf(n int) *linearizability.Mix {
	mix := linearizability.DefaultMix()
	mix.Scale(n)
	return mix
}

// What mixed clients see of btrfs is linearizable.
func TestLive(t *testing.T) {
	for _, clients := range []int{3, 16} {
		res := live(t, mixOf(clients), 20_000, xfstests.LiveOptions{})
		t.Logf("%d clients: %d calls in %d rounds ran %v, judged in %v", clients, res.Calls, res.Rounds, res.Ran, res.Judged)
	}
}

// BenchmarkLive runs 100,000 mixed calls on real goroutines and judges them.
func BenchmarkLive(b *testing.B) {
	for _, clients := range []int{16, 32} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			var ran, judged time.Duration
			for b.Loop() {
				res := live(b, mixOf(clients), 100_000, xfstests.LiveOptions{})
				ran, judged = ran+res.Ran, judged+res.Judged
			}
			b.ReportMetric(ran.Seconds()/float64(b.N), "s-run")
			b.ReportMetric(judged.Seconds()/float64(b.N), "s-judged")
		})
	}
}

// The same clients as tasks of the deterministic scheduler.
func TestLiveDeterministic(t *testing.T) {
	for seed := range uint64(4) {
		mix := mixOf(3)
		mix.Calls = 60
		live(t, mix, 100, xfstests.LiveOptions{Size: 256 << 20, Scheduler: sched.NewWith(sched.Options{Strategy: sched.NewPOS(seed)}), Live: linearizability.LiveOptions{Seed: seed}})
	}
}

// broken is an open file with operations that somebody got wrong.
type broken struct {
	vfs.FileOperations
	write func(vfs.FileOperations, *vfs.Kiocb, *mm.IovIter) (int, error)
	read  func(vfs.FileOperations, *vfs.Kiocb, *mm.IovIter) (int, error)
	late  *sync.WaitGroup // writes that still run; a file is not closed before
}

func (b *broken) Release(inode *vfs.Inode, file *vfs.File) error {
	if b.late != nil {
		b.late.Wait()
	}
	return b.FileOperations.Release(inode, file)
}

func (b *broken) WriteIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	if b.write == nil {
		return b.FileOperations.WriteIter(iocb, iter)
	}
	return b.write(b.FileOperations, iocb, iter)
}

func (b *broken) ReadIter(iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
	if b.read == nil {
		return b.FileOperations.ReadIter(iocb, iter)
	}
	return b.read(b.FileOperations, iocb, iter)
}

// write is a write by the operations below, of bytes that are at hand.
func write(below vfs.FileOperations, file *vfs.File, p []byte, pos int64) (int, error) {
	var iter mm.IovIter
	iter.InitBytes(p)
	iocb := vfs.Kiocb{File: file, Pos: pos}
	return below.WriteIter(&iocb, &iter)
}

func drain(iter *mm.IovIter) []byte {
	p := make([]byte, iter.Count())
	iter.CopyFrom(p)
	return p
}

// Files that are broken on purpose, each of which a live run finds out.
func TestLiveBroken(t *testing.T) {
	var count atomic.Int64
	sometimes := func() bool { return count.Add(1)%17 == 0 }
	var mu sync.Mutex
	for _, c := range []struct {
		name  string
		finds []string // the rule that must be broken; any of them
		file  func() broken
	}{
		{"lost append", []string{"size", "cell"}, func() broken {
			return broken{write: func(b vfs.FileOperations, iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
				if iocb.Flags&vfs.IOCB_APPEND == 0 {
					return b.WriteIter(iocb, iter)
				}
				pos := iocb.File.Inode.ISize() // without the lock
				runtime.Gosched()
				n, err := write(b, iocb.File, drain(iter), pos)
				iocb.Pos = pos + int64(max(n, 0))
				return n, err
			}}
		}},
		{"reordered writes of one inode", []string{"write order"}, func() broken {
			return broken{write: func(b vfs.FileOperations, iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
				if iocb.Flags&(vfs.IOCB_APPEND|vfs.IOCB_DIRECT) != 0 {
					return b.WriteIter(iocb, iter)
				}
				p, done := drain(iter), 0 // a lock for each page instead of one for all
				for done < len(p) {
					n := min(len(p)-done, mm.PAGE_SIZE-int(iocb.Pos%mm.PAGE_SIZE))
					m, err := write(b, iocb.File, p[done:done+n], iocb.Pos)
					if err != nil {
						return done, err
					}
					done += m
					iocb.Pos += int64(m)
					runtime.Gosched()
				}
				return done, nil
			}}
		}},
		{"lost write", []string{"cell"}, func() broken {
			return broken{write: func(b vfs.FileOperations, iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
				if iocb.Flags&vfs.IOCB_APPEND != 0 || !sometimes() {
					return b.WriteIter(iocb, iter)
				}
				n := iter.Count()
				iocb.Pos += int64(n)
				return n, nil
			}}
		}},
		{"write that returns early", []string{"cell", "size"}, func() broken {
			late := new(sync.WaitGroup)
			return broken{late: late, write: func(b vfs.FileOperations, iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
				if iocb.Flags&vfs.IOCB_APPEND != 0 || !sometimes() {
					return b.WriteIter(iocb, iter)
				}
				file, pos, p := iocb.File, iocb.Pos, drain(iter)
				late.Add(1)
				file.Inode.Sb.V.K.Go("late", func(*kernel.Task) {
					defer late.Done()
					for range 50 {
						runtime.Gosched()
					}
					write(b, file, p, pos)
				})
				iocb.Pos += int64(len(p))
				return len(p), nil
			}}
		}},
		{"stale page after direct I/O", []string{"cell"}, func() broken {
			cache := map[int64][]byte{} // what was read before, by position
			return broken{read: func(b vfs.FileOperations, iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
				if iocb.Pos%mm.PAGE_SIZE != 0 || iter.Count() != mm.PAGE_SIZE {
					return b.ReadIter(iocb, iter)
				}
				mu.Lock()
				old := cache[iocb.Pos]
				delete(cache, iocb.Pos)
				mu.Unlock()
				if old != nil {
					n := iter.CopyTo(old)
					iocb.Pos += int64(n)
					return n, nil
				}
				p, pos := make([]byte, mm.PAGE_SIZE), iocb.Pos
				var inner mm.IovIter
				inner.InitBytes(p)
				n, err := b.ReadIter(iocb, &inner)
				if n == len(p) {
					mu.Lock()
					cache[pos] = p
					mu.Unlock()
				}
				iter.CopyTo(p[:max(n, 0)])
				return n, err
			}}
		}},
		{"short read within the file", []string{"size"}, func() broken {
			return broken{read: func(b vfs.FileOperations, iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
				if sometimes() && iter.Count() > mm.PAGE_SIZE {
					iter.Truncate(mm.PAGE_SIZE)
				}
				return b.ReadIter(iocb, iter)
			}}
		}},
		{"data of another place", []string{"cell"}, func() broken {
			return broken{read: func(b vfs.FileOperations, iocb *vfs.Kiocb, iter *mm.IovIter) (int, error) {
				if !sometimes() || iocb.Pos < mm.PAGE_SIZE {
					return b.ReadIter(iocb, iter)
				}
				iocb.Pos -= mm.PAGE_SIZE
				n, err := b.ReadIter(iocb, iter)
				iocb.Pos += mm.PAGE_SIZE
				return n, err
			}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mix := mixOf(8)
			mix.Files, mix.Logs, mix.Calls = 2, 2, 300
			var found *linearizability.Violation
			var other []string
			_, err := xfstests.RunLive(context.Background(), xfstests.LiveOptions{Live: linearizability.LiveOptions{Mix: mix, Seed: 5, Calls: 200_000,
				Opened: func(f *vfs.File) {
					b := c.file()
					b.FileOperations = f.Op
					f.Op = &b
				},
				Round: func(v *linearizability.Verdict, _ *linearizability.History) bool {
					for _, x := range v.Violations {
						for _, rule := range c.finds {
							if x.Rule == rule && (found == nil || len(x.History.Calls) < len(found.History.Calls)) {
								found = x
							}
						}
						other = append(other, x.Rule)
					}
					return found == nil
				}}})
			if found == nil {
				t.Fatalf("not found (%v, %v)", other, err)
			}
			t.Log(found.Diagram())
			if n := len(found.History.Calls); n > 40 {
				t.Errorf("%d calls are not a small example", n)
			}
			dir := t.TempDir()
			if err := found.Save(dir, "001"); err != nil {
				t.Fatal(err)
			}
			for file, has := range map[string]string{"001": "_begin_fstest", "001.html": "<html", "001.txt": found.Object, "001.out": "Silence is golden"} {
				text, err := os.ReadFile(dir + "/" + file)
				if err != nil || !strings.Contains(string(text), has) {
					t.Errorf("%s does not contain %q: %v", file, has, err)
				}
			}
		})
	}
}
