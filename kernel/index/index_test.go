// SPDX-License-Identifier: GPL-2.0-or-later

package index

import "testing"

func TestFind(t *testing.T) {
	for _, c := range []struct {
		version, path, name string
		want                string
	}{
		{"", "fs/btrfs/ordered-data.c", "btrfs_wait_ordered_range", "v6.12"},
		{"v3.12", "fs/btrfs/ordered-data.c", "btrfs_wait_ordered_range", "v3.12"},
		{"", "fs/btrfs/file.c", "btrfs_wait_ordered_range", ""},
		{"v9", "fs/btrfs/ordered-data.c", "btrfs_wait_ordered_range", ""},
		{"", "fs/btrfs/ctree.h", "struct btrfs_path", "v6.12"},
	} {
		in, line, ok := Find(c.version, Symbol{c.path, c.name})
		if in != c.want || ok != (c.want != "") || ok != (line > 0) {
			t.Errorf("%v: found in %q line %d, want %q", c, in, line, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	d, ok := Parse("fs/btrfs/ordered-data.h struct btrfs_ordered_extent @v3.12")
	if !ok || d.Path != "fs/btrfs/ordered-data.h" || d.Name != "struct btrfs_ordered_extent" || d.Version != "v3.12" {
		t.Errorf("%+v %v", d, ok)
	}
	if d, ok := Parse("none our own"); !ok || d.None != "our own" {
		t.Errorf("%+v %v", d, ok)
	}
	for _, bad := range []string{"none", "fs/btrfs/inode.c", ""} {
		if _, ok := Parse(bad); ok {
			t.Errorf("%q parsed", bad)
		}
	}
}
