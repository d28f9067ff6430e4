// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"context"
	"io"
	"time"
)

// File is an open file as the shell uses it. Closing is the shell's business: it counts references.
type File interface {
	io.Reader
	io.Writer
	io.Closer
}

// FileInfo is what test, [[ and globs ask of a file.
type FileInfo struct {
	Mode     uint32 // S_IF* and permissions
	Size     int64
	Dev, Ino uint64
	Uid, Gid uint32
	Mtime    time.Time
}

// DirEntry is a name in a directory. Dir is set when it is known to be a directory.
type DirEntry struct {
	Name string
	Dir  bool
}

// Command is a program: it reads and writes the shell's descriptors and returns an exit status.
type Command func(sh *Shell, args []string) int

// World is what a shell process lives in. All paths are absolute and not cleaned: "a/../b" may mean something
// else than "b" when a is a link.
type World interface {
	Open(path string, flags int, perm uint32) (File, error)
	Stat(path string, follow bool) (FileInfo, error)
	Access(path string, mode uint32) error // R_OK 4, W_OK 2, X_OK 1
	ReadDir(path string) ([]DirEntry, error)
	Chdir(path string) error
	Umask(mask int) int
	// Lookup finds a program by name or path; path is what `type -P` prints. A nil Command: not found.
	Lookup(sh *Shell, name string) (run Command, path string)

	// Fork returns the world of a child process and Exit ends one.
	Fork() World
	Exit()
	// Pipe returns a pipe's ends. When Concurrent is false, all writes happen before the first read.
	Pipe() (r, w File, err error)
	Concurrent() bool
	// Spawn runs fn as a task of its own; the result waits for its end, or for ctx, and says whether it ended.
	Spawn(name string, fn func()) (wait func(ctx context.Context) bool)
	Sleep(ctx context.Context, d time.Duration)
	Now() time.Time
	Random() uint32
	Pid() int // a number for a new process
}

// openFile is a File with the number of descriptors that share it.
type openFile struct {
	File
	refs int // shared between tasks only through fork, see Shell.lock
}
