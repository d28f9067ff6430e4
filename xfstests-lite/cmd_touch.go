// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func cmdTouch(c *call) int {
	opts, names, ok := c.getopt("acmhr:t:d:f", map[string]byte{"no-create": 'c', "no-dereference": 'h', "reference=": 'r', "date=": 'd', "time=": 'w'})
	if !ok {
		return usageStatus
	}
	if len(names) == 0 {
		return c.fail("missing file operand")
	}
	atime := unix.Timespec{Nsec: unix.UTIME_NOW}
	mtime := atime
	if ref, ok := last(opts, 'r'); ok {
		fs, abs := c.at(ref)
		st, err := fs.Stat(abs, !has(opts, 'h'))
		if err != nil {
			return c.fail("failed to get attributes of '%s': %s", ref, errText(err))
		}
		atime, mtime = timespec(st.Atime), timespec(st.Mtime)
	}
	for _, letter := range []byte{'t', 'd'} {
		if s, ok := last(opts, letter); ok {
			when, ok := parseTime(s, c.p.Now())
			if !ok {
				return c.fail("invalid date format '%s'", s)
			}
			atime, mtime = timespec(when), timespec(when)
		}
	}
	if has(opts, 'a') && !has(opts, 'm') {
		mtime.Nsec = unix.UTIME_OMIT
	}
	if has(opts, 'm') && !has(opts, 'a') {
		atime.Nsec = unix.UTIME_OMIT
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		follow := !has(opts, 'h')
		var err error
		if !has(opts, 'c') && follow {
			var h Handle
			h, err = fs.Open(abs, os.O_WRONLY|os.O_CREATE|unix.O_NOCTTY|unix.O_NONBLOCK, 0o666)
			if err == nil {
				h.Close()
			}
		}
		if uerr := fs.Utimes(abs, atime, mtime, follow); uerr == nil {
			continue
		} else if err == nil || err == unix.EISDIR {
			if uerr == unix.ENOENT && has(opts, 'c') {
				continue
			}
			c.errorf("setting times of '%s': %s", name, errText(uerr))
		} else {
			c.errorf("cannot touch '%s': %s", name, errText(err))
		}
		status = 1
	}
	return status
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// parseTime reads what touch -t and -d and date -d are given in cases.
func parseTime(s string, now time.Time) (time.Time, bool) {
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		sec, frac, _ := strings.Cut(rest, ".")
		n, err := strconv.ParseInt(sec, 10, 64)
		if err != nil {
			return now, false
		}
		nsec, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		return time.Unix(n, nsec), true
	}
	for _, layout := range []string{"200601021504.05", "200601021504", "0601021504", "2006-01-02 15:04:05.999999999 -0700", "2006-01-02 15:04:05 MST", "2006-01-02 15:04:05", "2006-01-02 15:04",
		"2006-01-02", "2006-01-02T15:04:05", time.RFC3339, "Jan 2 15:04:05 2006", "Jan 2, 2006", "Jan 2 2006", "2 Jan 2006", "20060102", "15:04:05", "15:04", "Mon Jan _2 15:04:05 MST 2006", "1 January 2006"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, true
		}
	}
	switch s {
	case "now", "today", "":
		return now, true
	case "yesterday":
		return now.AddDate(0, 0, -1), true
	case "tomorrow":
		return now.AddDate(0, 0, 1), true
	}
	words := strings.Fields(strings.TrimSuffix(s, " ago"))
	if len(words) == 2 {
		n, err := strconv.Atoi(words[0])
		if err == nil {
			if strings.HasSuffix(s, " ago") {
				n = -n
			}
			switch strings.TrimSuffix(words[1], "s") {
			case "second", "sec":
				return now.Add(time.Duration(n) * time.Second), true
			case "minute", "min":
				return now.Add(time.Duration(n) * time.Minute), true
			case "hour":
				return now.Add(time.Duration(n) * time.Hour), true
			case "day":
				return now.AddDate(0, 0, n), true
			case "week":
				return now.AddDate(0, 0, 7*n), true
			case "month":
				return now.AddDate(0, n, 0), true
			case "year":
				return now.AddDate(n, 0, 0), true
			}
		}
	}
	return now, false
}

// parseSize reads coreutils' sizes: 1K = 1KiB = 1024, 1KB = 1000.
func parseSize(s string) (int64, bool) {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || i == 0 && (s[i] == '-' || s[i] == '+')) {
		i++
	}
	n, err := strconv.ParseInt(s[:i], 10, 64)
	if err != nil {
		if i > 0 || s == "" {
			return 0, false
		}
		n = 1
	}
	unit, rest := int64(1), s[i:]
	if rest == "" {
		return n, true
	}
	k := strings.IndexByte("KMGTPE", strings.ToUpper(rest)[0])
	switch {
	case rest == "b":
		return n * 512, true
	case rest == "c" || rest == "B":
		return n, true
	case rest == "w":
		return n * 2, true
	case k < 0:
		return 0, false
	}
	base := int64(1024)
	switch rest[1:] {
	case "", "iB":
	case "B":
		base = 1000
	default:
		return 0, false
	}
	for range k + 1 {
		unit *= base
	}
	if n > 0 && unit > (1<<63-1)/n {
		return 0, false
	}
	return n * unit, true
}

func cmdTruncate(c *call) int {
	opts, names, ok := c.getopt("cos:r:", map[string]byte{"no-create": 'c', "io-blocks": 'o', "size=": 's', "reference=": 'r'})
	if !ok {
		return usageStatus
	}
	spec, hasSize := last(opts, 's')
	ref, hasRef := last(opts, 'r')
	if !hasSize && !hasRef {
		return c.fail("you must specify either '--size' or '--reference'")
	}
	if len(names) == 0 {
		return c.fail("missing file operand")
	}
	var size int64
	mode := byte(0)
	if hasRef {
		fs, abs := c.at(ref)
		st, err := fs.Stat(abs, true)
		if err != nil {
			return c.fail("cannot stat '%s': %s", ref, errText(err))
		}
		size = st.Size
	}
	if hasSize {
		if strings.IndexByte("+-<>/%", spec[0]) >= 0 {
			mode = spec[0]
			spec = spec[1:]
		}
		if size, ok = parseSize(spec); !ok {
			return c.fail("Invalid number: '%s'", spec)
		}
	}
	status := 0
	for _, name := range names {
		fs, abs := c.at(name)
		flags := os.O_WRONLY | unix.O_NONBLOCK
		if !has(opts, 'c') {
			flags |= os.O_CREATE
		}
		h, err := fs.Open(abs, flags, 0o666)
		if err != nil {
			if has(opts, 'c') && err == unix.ENOENT {
				continue
			}
			c.errorf("cannot open '%s' for writing: %s", name, errText(err))
			status = 1
			continue
		}
		want := size
		if mode != 0 {
			st, serr := h.Stat()
			err = serr
			switch mode {
			case '+':
				want = st.Size + size
			case '-':
				want = max(0, st.Size-size)
			case '<':
				want = min(st.Size, size)
			case '>':
				want = max(st.Size, size)
			case '/':
				want = st.Size / max(size, 1) * size
			case '%':
				want = (st.Size + size - 1) / max(size, 1) * size
			}
		}
		if err == nil {
			err = h.Truncate(want)
		}
		h.Close()
		if err != nil {
			c.errorf("failed to truncate '%s' at %d bytes: %s", name, want, errText(err))
			status = 1
		}
	}
	return status
}
