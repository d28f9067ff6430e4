// SPDX-License-Identifier: GPL-2.0-or-later

package btrfs_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/oracle"
	"kbtrfs/kernel"
)

// commitTimes are what the options about commits decide, in seconds.
type commitTimes struct {
	commits, longest float64 // of a minute in which something changes all the time; longest between two
	data             float64 // until what was written is sent to the device, nobody asking
}

func (c commitTimes) String() string {
	return fmt.Sprintf("%.0f commits a minute, the longest after %.1f s, data written after %.1f s", c.commits, c.longest, c.data)
}

// commitSide is a mounted file system, ours or the kernel's.
type commitSide struct {
	sleep      func()                // a tenth of a second
	now        func() float64        // seconds
	change     func(n int)           // something that a commit has to write
	write      func()                // 8 MiB into a file
	generation func() uint64         // of the super block on the device
	written    func() int64          // bytes of data, at least
	stop       func(at float64) bool // is that long enough
}

func (c commitSide) measure() (out commitTimes) {
	begin, before := c.now(), c.written()
	c.write()
	last, lastAt := c.generation(), begin
	first := -1.0 // commit that was seen: intervals are measured from there on
	commits := 0
	for n := 0; ; n++ {
		now := c.now()
		if g := c.generation(); g != last {
			if first < 0 {
				first = now
			} else {
				commits += int(g - last)
				out.longest = max(out.longest, now-lastAt)
			}
			last, lastAt = g, now
		}
		if out.data == 0 && c.written()-before >= 8<<20 {
			out.data = now - begin
		}
		if c.stop(now - begin) {
			if commits > 0 {
				out.commits = float64(commits) / (lastAt - first) * 60
			}
			return out
		}
		c.change(n)
		c.sleep()
	}
}

// How often a transaction commits, and when dirty data is written, with commit=
// and flushoncommit: in virtual time, and with KTEST_AB beside the kernel in its
// own. A transaction is never older than commit= and a second, data that nobody
// asks for never older than the flusher allows, and with flushoncommit not older
// than the transaction.
func TestABCommit(t *testing.T) {
	options := []string{"commit=1", "commit=2", "commit=5", "commit=2,flushoncommit", "commit=5,flushoncommit"}
	theirs := map[string]commitTimes{}
	if abLong() {
		oracle.Need(t, oracle.Mkfs, oracle.Kernel)
		var lock sync.Mutex
		var all sync.WaitGroup
		for _, o := range options {
			side := kernelCommits(t, o)
			all.Add(1)
			go func() {
				defer all.Done()
				times := side.measure()
				lock.Lock()
				theirs[o] = times
				lock.Unlock()
			}()
		}
		all.Wait()
	}
	for _, o := range options {
		var ours commitTimes
		abRun(t, "", o, func(m *abMachine) []float64 {
			ours = ourCommits(m).measure()
			return nil
		})
		t.Logf("%-24s %v", o, ours)
		var n float64
		fmt.Sscanf(o, "commit=%f", &n)
		flush := len(o) > len("commit=N")
		check := func(who string, c commitTimes, slack float64) {
			if c.longest < n-0.5 || c.longest > n+1+slack || c.commits < 60/(n+1+slack) {
				t.Errorf("%s: %s: commits are not %v s apart: %v", o, who, n, c)
			}
			if flush && c.data > n+1+slack || !flush && (c.data < 25 || c.data > 37+slack) {
				t.Errorf("%s: %s: data is not written when it should be: %v", o, who, c)
			}
		}
		check("ours", ours, 0.2)
		if c, ok := theirs[o]; ok {
			t.Logf("%-24s %v (the kernel)", o, c)
			check("the kernel", c, n+1) // which at times finds no transaction, and sleeps as long again
		}
	}
}

// generationAt is where the super block says which transaction it is of.
const generationAt = 64<<10 + 72

func ourCommits(m *abMachine) commitSide {
	return commitSide{
		sleep:  func() { m.k.Sleep(kernel.Second / 10) },
		now:    func() float64 { return m.since(0) / 1e6 },
		change: func(n int) { m.must(m.Mkdir(fmt.Sprintf("/d%d", n), 0o700)) },
		write:  func() { m.must(pwriteAll(m.Process, "/w", pattern(8<<20, 1), 0)) },
		generation: func() uint64 {
			super := make([]byte, 4096)
			m.must(blockdev.ReadAt(m.k, m.dev, super, generationAt&^4095))
			return binary.LittleEndian.Uint64(super[generationAt&4095:])
		},
		written: func() int64 { return btrfs.Counts(m.sb).DataBytes },
		stop:    func(at float64) bool { return at > 45 },
	}
}

// kernelCommits looks at the image behind a loop device.
func kernelCommits(t *testing.T, options string) commitSide {
	image := filepath.Join(oracle.Tmpfs(t, "size=256m"), "image")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(512 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	var id [16]byte
	rand.Read(id[:])
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	oracle.Run(t, "mkfs.btrfs", "-q", "-U", uuid, image)
	dir, _ := oracle.Mount(t, image, options)
	begin := time.Now()
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	return commitSide{
		sleep:  func() { time.Sleep(100 * time.Millisecond) },
		now:    func() float64 { return time.Since(begin).Seconds() },
		change: func(n int) { check(os.Mkdir(fmt.Sprintf("%s/d%d", dir, n), 0o700)) },
		write:  func() { check(os.WriteFile(dir+"/w", pattern(8<<20, 1), 0o600)) },
		generation: func() uint64 {
			var g [8]byte
			_, err := f.ReadAt(g[:], generationAt)
			check(err)
			return binary.LittleEndian.Uint64(g[:])
		},
		written: func() int64 {
			text, err := os.ReadFile("/sys/fs/btrfs/" + uuid + "/allocation/data/bytes_used")
			check(err)
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			check(err)
			return n
		},
		stop: func(at float64) bool { return at > 45 },
	}
}
