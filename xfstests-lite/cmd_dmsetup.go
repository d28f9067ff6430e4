// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kbtrfs/blockdev"
)

// dmDevice is a device-mapper device with one target over the whole of another device: linear, flakey or error.
type dmDevice struct {
	name   string
	flaky  *blockdev.Flaky
	table  string
	loaded string
	below  *device

	deferred bool // goes when its last mount goes
}

// dmRules translates a table line into rules.
func (m *Machine) dmRules(table string) (below *device, rules []blockdev.FlakyRule, err error) {
	f := strings.Fields(table)
	if len(f) < 4 && !(len(f) == 3 && f[2] == "error") {
		return nil, nil, fmt.Errorf("invalid table: %s", table)
	}
	writes := []blockdev.Op{blockdev.REQ_OP_WRITE, blockdev.REQ_OP_FLUSH, blockdev.REQ_OP_DISCARD}
	switch f[2] {
	case "linear":
	case "error":
		return nil, []blockdev.FlakyRule{{Action: blockdev.FlakyFail, Err: unix.EIO}}, nil
	case "flakey":
		up, down := 0, 0
		if len(f) > 6 {
			up, _ = strconv.Atoi(f[5])
			down, _ = strconv.Atoi(f[6])
		}
		switch features := strings.Join(f[min(7, len(f)):], " "); {
		case down == 0 || up > 0 && features == "":
		case strings.Contains(features, "drop_writes"):
			rules = []blockdev.FlakyRule{{Ops: writes, Action: blockdev.FlakyDrop}}
		case strings.Contains(features, "error_writes"):
			rules = []blockdev.FlakyRule{{Ops: writes, Action: blockdev.FlakyFail, Err: unix.EIO}}
		case strings.Contains(features, "error_reads"):
			rules = []blockdev.FlakyRule{{Ops: []blockdev.Op{blockdev.REQ_OP_READ}, Action: blockdev.FlakyFail, Err: unix.EIO}}
		case features == "":
			rules = []blockdev.FlakyRule{{Action: blockdev.FlakyFail, Err: unix.EIO}}
		default:
			return nil, nil, fmt.Errorf("flakey feature not handled: %s", features)
		}
	default:
		return nil, nil, fmt.Errorf("unknown target type %s", f[2])
	}
	if below = m.device(f[3]); below == nil {
		return nil, nil, fmt.Errorf("%s: No such device", f[3])
	}
	return below, rules, nil
}

func cmdDmsetup(c *call) int {
	m := c.p.s.m
	opts, args, ok := c.getopt("frv", map[string]byte{"table=": 't', "nolockfs": 'n', "noflush": 'N', "force": 'f', "retry": 'r', "deferred": 'd'})
	if !ok || len(args) == 0 {
		return usageStatus
	}
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	node := "/dev/mapper/" + strings.TrimPrefix(name, "/dev/mapper/")
	d := m.device(node)
	table, given := last(opts, 't')
	if !given && (args[0] == "load" || args[0] == "create") {
		lines, status := c.readLines([]string{"-"})
		if status != 0 {
			return status
		}
		table = strings.Join(lines, "\n")
	}
	table = strings.TrimSpace(table)
	if strings.Contains(table, "\n") {
		if c.p.s.strict {
			c.p.s.Notrun("device-mapper tables of several targets")
		}
		return c.fail("one target only")
	}
	need := func() bool {
		if d == nil || d.dm == nil {
			c.errorf("Device %s not found", name)
			return false
		}
		return true
	}
	switch args[0] {
	case "targets":
		c.printf("flakey           v1.5.0\nlinear           v1.4.0\nerror            v1.6.0\n")
	case "version":
		c.printf("Library version:   1.02.185\nDriver version:    4.48.0\n")
	case "create":
		if d != nil {
			return c.fail("device-mapper: create ioctl on %s failed: Device or resource busy", name)
		}
		if err := m.dmCreate(name, table); err != nil {
			if c.p.s.strict {
				c.p.s.Notrun(fmt.Sprintf("device-mapper: %v", err))
			}
			return c.fail("%v", err)
		}
	case "remove":
		if !need() {
			return 1
		}
		for _, mp := range m.mountTable() {
			if mp.dev == node {
				if has(opts, 'd') {
					d.dm.deferred = true
					return 0
				}
				return c.fail("device-mapper: remove ioctl on %s  failed: Device or resource busy", name)
			}
		}
		m.removeDevice(node)
	case "load", "reload":
		if !need() {
			return 1
		}
		if _, _, err := m.dmRules(table); err != nil {
			return c.fail("%v", err)
		}
		d.dm.loaded = table
	case "suspend":
		if !need() {
			return 1
		}
		if !has(opts, 'n') { // freezing writes everything out
			if err := c.p.ours.Sync(); err != nil {
				return c.fail("%s", errText(err))
			}
		}
	case "resume":
		if !need() {
			return 1
		}
		if d.dm.loaded != "" {
			_, rules, err := m.dmRules(d.dm.loaded)
			if err != nil {
				return c.fail("%v", err)
			}
			d.dm.flaky.SetRules(rules...)
			if len(rules) > 0 && m.rec != nil {
				m.rec.Stop()
			}
			d.dm.table, d.dm.loaded = d.dm.loaded, ""
		}
	case "table":
		if !need() {
			return 1
		}
		c.printf("%s\n", d.dm.table)
	case "info", "status":
		if !need() {
			return 1
		}
		c.printf("Name:              %s\nState:             ACTIVE\nTables present:    LIVE\nOpen count:        0\n", name)
	case "mknodes", "udevcomplete_all", "ls":
	default:
		return cmdElsewhere(c)
	}
	return 0
}

// dmCreate makes a device of device-mapper.
func (m *Machine) dmCreate(name, table string) error {
	below, rules, err := m.dmRules(table)
	if err == nil && below == nil {
		err = fmt.Errorf("table without a device: %s", table)
	}
	if err != nil {
		return err
	}
	node := "/dev/mapper/" + strings.TrimPrefix(name, "/dev/mapper/")
	fl := blockdev.NewFlaky(m.K, below.dev)
	fl.SetRules(rules...)
	m.addDevice(&device{name: node, image: below.image, dev: fl, dm: &dmDevice{name: name, flaky: fl, table: table, below: below}})
	if m.Kind.Mkfs == nil && m.kept[below.name] { // a memory file system is bound to a name
		m.kept[node] = false
	}
	return nil
}

// claimed tells whether a device of device-mapper lies over the one of this name: nobody else may use that.
func (m *Machine) claimed(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.devs, func(d *device) bool { return d.dm != nil && d.dm.below != nil && d.dm.below.name == name })
}

// removeDevice forgets a device of device-mapper.
func (m *Machine) removeDevice(name string) {
	m.V.DelBdev(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, d := range m.devs {
		if d.name == name {
			m.devs = append(m.devs[:i:i], m.devs[i+1:]...)
			return
		}
	}
}
