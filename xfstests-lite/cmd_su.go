// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"io"
	"os"
	"strconv"
	"strings"

	"kbtrfs/vfs"
)

// A user is what su needs of a line of the host's passwd file.
type user struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32 // supplementary ones
}

// findUser looks a user up in the host's passwd and group files.
func findUser(name string) (u user, ok bool) {
	passwd, _ := os.ReadFile("/etc/passwd") // without the file there are no users
	for line := range strings.SplitSeq(string(passwd), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 7 || f[0] != name {
			continue
		}
		uid, uerr := strconv.ParseUint(f[2], 10, 32)
		gid, gerr := strconv.ParseUint(f[3], 10, 32)
		if uerr != nil || gerr != nil {
			return u, false
		}
		u, ok = user{name: name, home: f[5], shell: f[6], uid: uint32(uid), gid: uint32(gid)}, true
	}
	if !ok {
		return u, false
	}
	group, _ := os.ReadFile("/etc/group")
	for line := range strings.SplitSeq(string(group), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 4 {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if gid, err := strconv.ParseUint(f[2], 10, 32); member == name && err == nil {
				u.groups = append(u.groups, uint32(gid))
			}
		}
	}
	return u, true
}

// cmdSu runs a shell of our own on another user's behalf: what it does with files of the machine is checked against
// that user's rights. Files of the host, such as the case's results, stay open to it as they are to the case.
func cmdSu(c *call) int {
	opts, names, ok := c.getopt("c:s:lmpfP", map[string]byte{"command=": 'c', "shell=": 's', "login": 'l', "preserve-environment": 'p'})
	if !ok {
		return usageStatus
	}
	login := has(opts, 'l')
	if len(names) > 0 && names[0] == "-" {
		login, names = true, names[1:]
	}
	name := "root"
	if len(names) > 0 {
		name, names = names[0], names[1:]
	}
	u, ok := findUser(name)
	if !ok {
		return c.fail("user %s does not exist or the user entry does not contain all the required fields", name)
	}
	ours, onMachine := c.p.ours.(vfsFS)
	if !onMachine {
		return cmdElsewhere(c)
	}
	if ours.p.Cred().Uid != 0 {
		return c.fail("Authentication failure")
	}
	script, given := last(opts, 'c')
	if !given {
		text, err := io.ReadAll(c.in)
		if err != nil {
			return c.fail("%s", errText(err))
		}
		script = string(text)
	}
	shell, given := last(opts, 's')
	if !given || shell == "" {
		shell = u.shell
	}
	if !has(opts, 'p') && !has(opts, 'm') {
		env := map[string]string{"HOME": u.home, "SHELL": shell}
		if login || u.uid != 0 {
			env["USER"], env["LOGNAME"] = u.name, u.name
		}
		defer c.sh.Environment(env, nil, false)()
	}
	c.flush()
	world := c.p.Fork().(*Proc)
	defer world.Exit()
	world.ours.(vfsFS).p.SetCred(vfs.Cred{Uid: u.uid, Gid: u.gid, Groups: u.groups})
	return shellIn(c.sh, world, script, shell, names)
}
