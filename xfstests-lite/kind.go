// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"encoding/hex"
	"fmt"
	"strings"

	"kbtrfs/blockdev"
	"kbtrfs/btrfs"
	"kbtrfs/btrfs/check"
	"kbtrfs/btrfs/disk"
	"kbtrfs/btrfs/mkfs"
	"kbtrfs/kernel"
)

// Btrfs is what cases run on: the file system of this project, made and judged by its own tools.
var Btrfs = &FSKind{Name: "btrfs", Type: btrfs.Type, Mkfs: mkfsBtrfs, Check: checkBtrfs}

// MkfsFlags reads the command line of mkfs.btrfs; rest are the operands.
func MkfsFlags(args []string) (o mkfs.Options, rest []string, err error) {
	value := func(i *int, a, long string) (string, bool) {
		if v, ok := strings.CutPrefix(a, long+"="); ok {
			return v, true
		}
		if *i+1 >= len(args) {
			return "", false
		}
		*i++
		return args[*i], true
	}
	for i := 0; i < len(args); i++ {
		a := args[i]
		name, _, _ := strings.Cut(a, "=")
		// -n16k is -n 16k.
		if len(a) > 2 && a[0] == '-' && a[1] != '-' && strings.IndexByte("bnLUdmOARs", a[1]) >= 0 {
			args = append(args[:i:i], append([]string{a[:2], a[2:]}, args[i+1:]...)...)
			a, name = args[i], args[i]
		}
		var v string
		ok := true
		switch name {
		case "-M", "--mixed":
			o.Mixed = true
			continue
		case "-f", "--force", "-K", "--nodiscard", "-q", "--quiet", "-v", "--verbose":
			continue
		case "-b", "--byte-count", "-n", "--nodesize", "-L", "--label", "-U", "--uuid", "-d", "--data", "-m", "--metadata", "-O", "--features", "-R", "--runtime-features",
			"-s", "--sectorsize", "--csum", "--checksum", "-A", "--alloc-start", "-r", "--rootdir":
			if v, ok = value(&i, a, name); !ok {
				return o, nil, fmt.Errorf("option %s requires an argument", name)
			}
		default:
			if strings.HasPrefix(a, "-") {
				return o, nil, fmt.Errorf("unknown option %s", a)
			}
			rest = append(rest, a)
			continue
		}
		switch name {
		case "-b", "--byte-count":
			n, good := parseSize(v)
			if !good || n <= 0 {
				return o, nil, fmt.Errorf("unknown size descriptor: %s", v)
			}
			o.Size = uint64(n)
		case "-n", "--nodesize":
			n, good := parseSize(v)
			if !good || n <= 0 || n > 1<<20 {
				return o, nil, fmt.Errorf("invalid node size: %s", v)
			}
			o.NodeSize = int(n)
		case "-L", "--label":
			o.Label = v
		case "-U", "--uuid":
			b, herr := hex.DecodeString(strings.ReplaceAll(v, "-", ""))
			if herr != nil || len(b) != len(o.UUID) {
				return o, nil, fmt.Errorf("could not parse UUID: %s", v)
			}
			copy(o.UUID[:], b)
		case "-d", "--data":
			o.DataProfile = strings.ToLower(v)
		case "-m", "--metadata":
			o.MetaProfile = strings.ToLower(v)
		case "-s", "--sectorsize":
			if n, good := parseSize(v); !good || n != 4096 {
				return o, nil, fmt.Errorf("sector size %s is not supported, only 4096", v)
			}
		case "--csum", "--checksum":
			if v != "crc32c" {
				return o, nil, fmt.Errorf("checksum %s is not supported, only crc32c", v)
			}
		case "-O", "--features", "-R", "--runtime-features":
			for f := range strings.SplitSeq(v, ",") {
				switch f {
				case "", "extref", "skinny-metadata", "free-space-tree":
				case "mixed-bg":
					o.Mixed = true
				case "no-holes", "^no-holes":
					o.ExplicitHoles = f[0] == '^'
				default:
					return o, nil, fmt.Errorf("unrecognized filesystem feature '%s'", f)
				}
			}
		case "-r", "--rootdir", "-A", "--alloc-start":
			return o, nil, fmt.Errorf("option %s is not supported", name)
		}
	}
	return o, rest, nil
}

func mkfsBtrfs(k *kernel.Kernel, dev blockdev.Device, args []string) (string, error) {
	o, _, err := MkfsFlags(args)
	if err != nil {
		return "", err
	}
	if err := mkfs.Make(k, dev, o); err != nil {
		return "", err
	}
	size := o.Size
	if size == 0 {
		size = dev.Size()
	}
	return fmt.Sprintf("Label:              %s\nUUID:               %s\nNode size:          %d\nSector size:        4096\nFilesystem size:    %s\n",
		orNone(o.Label), uuidText(o.UUID), o.EffectiveNodeSize(), humanSize(int64(size))), nil
}

func orNone(s string) string {
	if s == "" {
		return "(null)"
	}
	return s
}

func uuidText(u disk.UUID) string {
	if u == (disk.UUID{}) {
		return "(random)"
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

func checkBtrfs(k *kernel.Kernel, dev blockdev.Device) ([]string, error) {
	problems, err := check.Device(k, dev, check.Options{DataCsum: true})
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out, err
}
