// SPDX-License-Identifier: GPL-2.0-or-later

package vfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Types of the last component of a path.
const (
	lastNorm = iota
	lastRoot
	lastDot
	lastDotdot
)

// nameidata is a walk along a path.
//
// A walk begins lazy: it takes no locks and no references, and looks only at what is cached. When something is not cached, or has to
// be read (a symbolic link), it takes references on where it stands (unlazy) and goes on with them; when that fails, because the place
// has gone meanwhile, the whole walk starts again not lazily (errRetry, the kernel's ECHILD). A lazy walk reaches its end by taking
// references on the result alone. That the dentries it crossed may have moved meanwhile makes it no different from a walk with
// references: each step was true when it was made.
//
//kernel:fs/namei.c struct nameidata
type nameidata struct {
	v     *VFS
	cred  *Cred
	p     *Process
	path  Path
	inode *Inode // of path.Dentry when we got there; a lazy walk must not look again, the dentry may be dying
	root  Path
	flags uint
	lazy  bool
	links int

	last     string // last component
	lastType int
	trailing bool // slashes follow it

	stack []string // what is left of the paths whose symbolic links are being followed
}

// errRetry asks for the walk to be repeated not lazily.
const errRetry = unix.ECHILD

// getWalk prepares a walk; putWalk ends it.
//
//kernel:fs/namei.c set_nameidata
func (p *Process) getWalk() *nameidata {
	nd := p.V.walks.Get()
	nd.v, nd.p, nd.cred = p.V, p, p.cred.Load()
	return nd
}

// putWalk ends a walk.
//
//kernel:fs/namei.c restore_nameidata
func (p *Process) putWalk(nd *nameidata) {
	stack := nd.stack[:cap(nd.stack)]
	clear(stack)
	*nd = nameidata{stack: stack[:0]}
	p.V.walks.Put(nd)
}

// checkName refuses what no path may be.
//
//kernel:fs/namei.c getname_flags
func checkName(name string, emptyOK bool) error {
	if len(name) >= PATH_MAX {
		return unix.ENAMETOOLONG
	}
	if name == "" && !emptyOK {
		return unix.ENOENT
	}
	if strings.IndexByte(name, 0) >= 0 {
		return unix.EINVAL // C could not even say it
	}
	return nil
}

// start sets the walk to its first place, lazily or with references.
//
//kernel:fs/namei.c path_init
func (nd *nameidata) start(dirfd int, name string, flags uint, lazy bool) error {
	nd.flags, nd.lazy, nd.links = flags, lazy, 0
	nd.stack = nd.stack[:0]
	nd.lastType, nd.last, nd.trailing = lastRoot, "", false
	nd.root = *nd.p.root.Load()
	switch {
	case name != "" && name[0] == '/':
		return nd.startAt(nd.root)
	case dirfd == unix.AT_FDCWD:
		return nd.startAt(*nd.p.pwd.Load())
	}
	file := nd.p.fdgetRaw(dirfd)
	if file == nil {
		return unix.EBADF
	}
	defer file.fput()
	if name != "" && !file.Path.Dentry.DIsDir() {
		return unix.ENOTDIR
	}
	// The descriptor may be closed during the walk, so not lazily.
	nd.lazy = false
	nd.path, nd.inode = file.Path.Get(), file.Inode
	return nil
}

// startAt starts at a place that the process holds: its root or working directory.
//
//kernel:none part of path_init
func (nd *nameidata) startAt(path Path) error {
	nd.path, nd.inode = path, path.Dentry.DInode()
	if !nd.lazy {
		if err := nd.legitimize(); err != nil {
			nd.path = Path{}
			return err
		}
	}
	return nil
}

// legitimize takes references on the current place.
//
//kernel:fs/namei.c legitimize_path
func (nd *nameidata) legitimize() error {
	if !nd.path.Mnt.get() {
		return errRetry
	}
	if !nd.path.Dentry.get() {
		nd.path.Mnt.Mntput()
		return errRetry
	}
	if nd.path.Dentry.DInode() != nd.inode || nd.inode == nil {
		nd.path.Put()
		return errRetry
	}
	return nil
}

// unlazy goes on with references.
//
//kernel:fs/namei.c try_to_unlazy
func (nd *nameidata) unlazy() error {
	if !nd.lazy {
		return nil
	}
	if err := nd.legitimize(); err != nil {
		return err
	}
	nd.lazy = false
	return nil
}

// terminate drops the references of a walk that failed or that ends at its parent.
//
//kernel:fs/namei.c terminate_walk
func (nd *nameidata) terminate() {
	if !nd.lazy && nd.path.Dentry != nil {
		nd.path.Put()
	}
	nd.path = Path{}
}

// setPath moves on to a place whose references (if not lazy) the caller has.
//
//kernel:fs/namei.c path_to_nameidata
func (nd *nameidata) setPath(path Path, inode *Inode) {
	if !nd.lazy {
		nd.path.Put()
	}
	nd.path, nd.inode = path, inode
}

// mayLookup: search permission on the current directory.
//
//kernel:fs/namei.c may_lookup
func (nd *nameidata) mayLookup() error {
	return nd.inode.Permission(nd.cred, MAY_EXEC)
}

// nextComponent splits the first component off a path without leading slashes.
//
//kernel:fs/namei.c hash_name
func nextComponent(name string) (component, rest string, slash bool) {
	i := strings.IndexByte(name, '/')
	if i < 0 {
		return name, "", false
	}
	return name[:i], strings.TrimLeft(name[i:], "/"), true
}

// linkPathWalk walks all components but the last, which it leaves in nd.last.
//
//kernel:fs/namei.c link_path_walk
func (nd *nameidata) linkPathWalk(name string) error {
	nd.lastType, nd.last, nd.trailing = lastRoot, "", false
	if name != "" && name[0] == '/' {
		name = strings.TrimLeft(name, "/")
	}
	if name == "" {
		return nil
	}
	depth := 0 // paths on the stack that belong to this call
	for {
		if err := nd.mayLookup(); err != nil {
			return err
		}
		component, rest, slash := nextComponent(name)
		nd.last, nd.trailing = component, slash
		switch component {
		case ".":
			nd.lastType = lastDot
		case "..":
			nd.lastType = lastDotdot
		default:
			nd.lastType = lastNorm
		}
		if rest == "" {
			if depth == 0 {
				return nil
			}
			// The last component of a link's text: go on with what followed the link.
			depth--
			rest = nd.stack[len(nd.stack)-1]
			nd.stack = nd.stack[:len(nd.stack)-1]
			if rest == "" {
				return unix.ENOENT
			}
		}
		link, isLink, err := nd.walkComponent(false)
		if err != nil {
			return err
		}
		if isLink {
			nd.stack = append(nd.stack, rest)
			depth++
			// An absolute link has moved us to the root already.
			name = strings.TrimLeft(link, "/")
			if name == "" {
				depth--
				nd.stack = nd.stack[:len(nd.stack)-1]
				name = rest
			}
			continue
		}
		name = rest
		if !nd.inode.IsDir() {
			return unix.ENOTDIR
		}
	}
}

// walkComponent moves to nd.last. A symbolic link to be followed comes back as its text, and the walk stands at where that begins.
//
//kernel:fs/namei.c walk_component
func (nd *nameidata) walkComponent(trailing bool) (link string, isLink bool, err error) {
	if nd.lastType != lastNorm {
		return "", false, nd.handleDots()
	}
	child, err := nd.lookupFast()
	if err != nil {
		return "", false, err
	}
	if child == nil {
		if err := nd.unlazy(); err != nil {
			return "", false, err
		}
		if child, err = nd.path.Dentry.lookupSlow(nd.last, nd.flags); err != nil {
			return "", false, err
		}
	}
	return nd.stepInto(child, trailing)
}

// lookupFast finds the last component in the cache: nil when it is not there or is just changing. Unless lazy, with a reference.
//
//kernel:fs/namei.c lookup_fast
func (nd *nameidata) lookupFast() (*Dentry, error) {
	parent := nd.path.Dentry
	if !nd.lazy {
		return parent.DLookup(nd.last), nil
	}
	node := parent.findChild(nd.last)
	if node == nil {
		return nil, nil
	}
	child := node.dentry
	if child.node.Load() != node || !child.hashed.Load() {
		return nil, nil
	}
	return child, nil
}

// lookupSlow looks a name up with the directory locked, and asks the file system.
//
//kernel:fs/namei.c lookup_slow
func (parent *Dentry) lookupSlow(name string, flags uint) (*Dentry, error) {
	dir := parent.DInode()
	dir.InodeLock()
	dentry, err := parent.lookupLocked(name, flags)
	dir.InodeUnlock()
	return dentry, err
}

// lookupLocked is lookupSlow for a caller that holds IMutex of the directory.
//
//kernel:fs/namei.c lookup_one_qstr_excl
func (parent *Dentry) lookupLocked(name string, flags uint) (*Dentry, error) {
	if dentry := parent.DLookup(name); dentry != nil {
		return dentry, nil
	}
	dir := parent.DInode()
	if dir.IsDead() {
		return nil, unix.ENOENT
	}
	dentry := parent.DAlloc(name)
	found, err := dir.Op.Lookup(dir, dentry, flags)
	if err != nil {
		dentry.Dput()
		return nil, err
	}
	if found != nil {
		dentry.Dput()
		return found, nil
	}
	return dentry, nil
}

// stepInto moves to a child (whose reference, unless lazy, it takes over), across mount points, and reads it if it is a link that must
// be followed.
//
//kernel:fs/namei.c step_into
func (nd *nameidata) stepInto(child *Dentry, trailing bool) (link string, isLink bool, err error) {
	path := Path{nd.path.Mnt, child}
	if child.isMountpoint() {
		crossed := path.followMount()
		if crossed.Mnt != path.Mnt {
			if !nd.lazy {
				if !crossed.Mnt.get() {
					child.Dput()
					return "", false, errRetry
				}
				crossed.Dentry.Dget()
				child.Dput()
			}
			path = crossed
		}
	}
	inode := path.Dentry.DInode()
	if inode == nil {
		if !nd.lazy {
			path.Dentry.Dput()
		} else if path.Dentry.DUnhashed() {
			// Not a name that does not exist, but a dentry that is being killed: it is unhashed first.
			return "", false, errRetry
		}
		return "", false, unix.ENOENT
	}
	if !inode.IsLnk() || trailing && nd.flags&LOOKUP_FOLLOW == 0 {
		if !nd.lazy && path.Mnt == nd.path.Mnt {
			path.Mnt.Mntget()
		}
		nd.setPath(path, inode)
		return "", false, nil
	}
	return nd.pickLink(path, inode)
}

// pickLink reads a symbolic link and, if it is absolute, moves to the root.
//
//kernel:fs/namei.c pick_link
func (nd *nameidata) pickLink(path Path, inode *Inode) (string, bool, error) {
	if nd.lazy {
		// Where we stand and the link: both must still be there.
		if err := nd.unlazy(); err != nil {
			return "", false, err
		}
		if !path.Dentry.get() {
			return "", false, errRetry
		}
		if path.Dentry.DInode() != inode {
			path.Dentry.Dput()
			return "", false, errRetry
		}
	}
	nd.links++
	if nd.links > maxSymlinks {
		path.Dentry.Dput()
		return "", false, unix.ELOOP
	}
	path.TouchAtime()
	link, err := inode.Op.GetLink(inode)
	path.Dentry.Dput()
	if err != nil {
		return "", false, err
	}
	if link == "" {
		return "", false, unix.ENOENT
	}
	if link[0] == '/' {
		nd.path.Put()
		nd.path, nd.inode = nd.root, nd.root.Dentry.DInode()
		if err := nd.legitimize(); err != nil {
			nd.path = Path{}
			return "", false, err
		}
	}
	return link, true, nil
}

// handleDots moves to "." or "..".
//
//kernel:fs/namei.c handle_dots
func (nd *nameidata) handleDots() error {
	if nd.lastType != lastDotdot {
		return nil
	}
	path := nd.path
	for {
		if path == nd.root {
			break
		}
		if path.Dentry != path.Mnt.Root {
			path.Dentry = path.Dentry.DParent()
			path = path.followMount()
			break
		}
		at := path.Mnt.at.Load()
		if at == nil {
			break
		}
		path = Path{at.parent, at.dentry}
	}
	inode := path.Dentry.DInode()
	if inode == nil {
		return errRetry // dying, as we may be
	}
	if nd.lazy {
		nd.path, nd.inode = path, inode
		return nil
	}
	old, oldInode := nd.path, nd.inode
	nd.path, nd.inode = path, inode
	if err := nd.legitimize(); err != nil {
		nd.path, nd.inode = old, oldInode
		return err
	}
	old.Put()
	return nil
}

// complete ends a lazy walk by taking references on where it got to.
//
//kernel:fs/namei.c complete_walk
func (nd *nameidata) complete() error {
	return nd.unlazy()
}

// walk runs one attempt of a path walk lazily and, if that does not work out, again with references.
//
//kernel:fs/namei.c filename_lookup
func (nd *nameidata) walk(dirfd int, name string, flags uint, attempt func(*nameidata, string) error) error {
	for lazy := true; ; lazy = false {
		err := nd.start(dirfd, name, flags, lazy)
		if err == nil {
			err = attempt(nd, name)
			if err == nil {
				// No lock is held here.
				nd.v.shrinkCaches(nd.path.Mnt.Sb)
				return nil
			}
			nd.terminate()
		}
		if err != errRetry {
			return err
		}
	}
}

// lookupat is the attempt that ends at the last component.
//
//kernel:fs/namei.c path_lookupat
func (nd *nameidata) lookupat(name string) error {
	if err := nd.linkPathWalk(name); err != nil {
		return err
	}
	for {
		if nd.lastType == lastNorm && nd.trailing {
			nd.flags |= LOOKUP_FOLLOW | LOOKUP_DIRECTORY
		}
		link, isLink, err := nd.walkComponent(true)
		if err != nil {
			return err
		}
		if !isLink {
			break
		}
		if err := nd.linkPathWalk(link); err != nil {
			return err
		}
	}
	if err := nd.complete(); err != nil {
		return err
	}
	if nd.flags&LOOKUP_DIRECTORY != 0 && !nd.inode.IsDir() {
		return unix.ENOTDIR
	}
	return nil
}

// parentat is the attempt that ends at the directory of the last component.
//
//kernel:fs/namei.c path_parentat
func (nd *nameidata) parentat(name string) error {
	if err := nd.linkPathWalk(name); err != nil {
		return err
	}
	return nd.complete()
}

// userPath is the place that a name stands for, with references.
//
//kernel:fs/namei.c user_path_at
func (p *Process) userPath(dirfd int, name string, flags uint) (Path, error) {
	if err := checkName(name, flags&LOOKUP_EMPTY != 0); err != nil {
		return Path{}, err
	}
	nd := p.getWalk()
	err := nd.walk(dirfd, name, flags, (*nameidata).lookupat)
	path := nd.path
	p.putWalk(nd)
	if err != nil {
		return Path{}, err
	}
	return path, nil
}
