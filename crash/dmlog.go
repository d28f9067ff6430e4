// SPDX-License-Identifier: GPL-2.0-or-later

package crash

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs/image"
)

// LogFile is a log in dm-log-writes' format, of a device whose image from before
// somebody has kept. Neither is read into memory.
type LogFile struct {
	*Log
	image *imageFile
	raw   []byte
}

// OpenLog opens a log and the image, files or devices. since is the mark at which
// the states begin: before it somebody may have made the file system. "" is the
// beginning.
//
// What the callers were told the log does not say: contents are not compared.
func OpenLog(log, image, since string) (*LogFile, error) {
	l := &LogFile{Log: &Log{Name: log}}
	if err := l.open(log, image, since); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (l *LogFile) open(log, img, since string) (err error) {
	if l.image, err = openImageFile(img); err != nil {
		return err
	}
	l.Base = l.image
	file, size, err := openSized(log)
	if err != nil {
		return err
	}
	defer file.Close()
	if l.raw, err = unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE); err != nil {
		return fmt.Errorf("%s: %w", log, err)
	}
	if l.Entries, err = blockdev.ParseDMLog(l.raw); err != nil {
		return fmt.Errorf("%s: %w", log, err)
	}
	begin := slices.IndexFunc(l.Entries, func(e blockdev.LogEntry) bool { return e.Mark == since })
	switch {
	case since != "" && begin < 0:
		return fmt.Errorf("%s: there is no mark %q", log, since)
	case since != "":
		l.Begin = l.Entries[begin].Submitted - 1
	default:
		if _, err := image.OpenReaderAt(l.image.file, l.image.size); err != nil {
			return fmt.Errorf("%s: %w; if the log begins with the mkfs, name the mark after it", img, err)
		}
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		if end := e.Sector*blockdev.SectorSize + e.Size; end > l.image.size {
			return fmt.Errorf("%s: entry %d ends at %d, %s at %d: that is another device's log", log, i, end, img, l.image.size)
		}
	}
	return nil
}

// Err is the first error of reading the image: what was found then counts for
// nothing.
func (l *LogFile) Err() error {
	l.image.mu.Lock()
	defer l.image.mu.Unlock()
	return l.image.err
}

// Close closes both. The log's entries are gone then.
func (l *LogFile) Close() error {
	if l.image != nil {
		l.image.file.Close()
	}
	if l.raw != nil {
		return unix.Munmap(l.raw)
	}
	return nil
}

// openSized opens a file or block device and finds out how large it is.
func openSized(name string) (*os.File, int64, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	size := int64(0)
	st, err := file.Stat()
	if err == nil && (st.Mode().IsRegular() || st.Mode().Type() == os.ModeDevice) {
		size, err = file.Seek(0, io.SeekEnd)
	}
	if err == nil && size == 0 {
		err = fmt.Errorf("%s: empty, or neither a file nor a block device", name)
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, size, nil
}

// imageFile is a file under the states of a log.
type imageFile struct {
	file *os.File
	size uint64

	mu  sync.Mutex
	err error
}

func openImageFile(name string) (*imageFile, error) {
	file, size, err := openSized(name)
	if err != nil {
		return nil, err
	}
	return &imageFile{file: file, size: uint64(size) &^ (blockdev.SectorSize - 1)}, nil
}

func (i *imageFile) Size() uint64 { return i.size }

// ReadImage reads; what cannot be read is zeros.
func (i *imageFile) ReadImage(p []byte, off int64) {
	if _, err := i.file.ReadAt(p, off); err != nil {
		clear(p)
		i.mu.Lock()
		if i.err == nil {
			i.err = err
		}
		i.mu.Unlock()
	}
}
