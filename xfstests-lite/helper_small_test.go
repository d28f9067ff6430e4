// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"context"
	"testing"
)

// The small programs of src/, and what device-mapper and btrfs-progs do for cases.
func TestSmallPrograms(t *testing.T) {
	const scratch = "_require_scratch\n_scratch_mkfs >> $seqres.full 2>&1\n_scratch_mount\ncd $SCRATCH_MNT\n"
	const end = "\ncd /; status=0; exit"
	for _, c := range []struct{ name, text, golden string }{
		{"cloner", "xfs_io -f -c 'pwrite -q -S 0x61 0 8k' -c fsync a; $here/src/cloner a b; cmp a b && echo same\n" +
			"$here/src/cloner -s 4096 -l 4096 -d 8192 a b; stat -c %s b; $here/src/cloner -d 1 a b; $here/src/cloner nothing b; $here/src/cloner a; echo $?",
			"same\n12288\nclone failed: Invalid argument\nfailed to open nothing: No such file or directory\ncloner: usage: cloner [-s OFFSET] [-d OFFSET] [-l LENGTH] SRC DEST\n1\n"},
		{"unlink-fsync", "echo x > a; $here/src/unlink-fsync a; ls; $here/src/unlink-fsync a; echo $?", "unlink-fsync: failed to open file: No such file or directory\n1\n"},
		{"multi_open_unlink", "$here/src/multi_open_unlink -f a -F -S -n 3 -e 2 -v 100 -s 0; echo $?; touch b.2; $here/src/multi_open_unlink -f b -n 2 -s 0; echo $?; ls",
			"0\nmulti_open_unlink: failed to create \"b.2\": File exists\n1\nb.2\n"},
		{"dump-tree", "echo x > name; cd /; _scratch_unmount; btrfs inspect-internal dump-tree -t 5 $SCRATCH_DEV | grep -c 'name: name'\n" +
			"btrfs inspect-internal dump-tree $SCRATCH_DEV | grep -c '^extent tree'; btrfs inspect-internal dump-tree -t nosuch $SCRATCH_DEV; btrfs inspect-internal dump-tree --help > /dev/null && echo help",
			"3\n1\nERROR: unrecognized tree id: nosuch\nhelp\n"},
		{"fssum", "mkdir d d/e; echo x > d/f; ln -s f d/l; touch d/e/g; $here/src/fssum -AM -f -w $tmp.sum d; cp -a d copy; $here/src/fssum -r $tmp.sum copy\n" +
			"$here/src/fssum -r $tmp.sum d; echo y > d/f; touch -d @1 d/f; $here/src/fssum -nd -f -w $tmp.data copy; $here/src/fssum -r $tmp.data d\n" +
			"chmod 600 copy/f; rm copy/e/g; touch copy/h; $here/src/fssum -r $tmp.sum copy; $here/src/fssum -A -w $tmp.short copy; $here/src/fssum -r $tmp.short copy\n" +
			"truncate -s 8k copy/h; $here/src/fssum -r $tmp.short copy; echo $?; echo z > $tmp.bad; $here/src/fssum -r $tmp.bad d 2>&1 | sed 's/[^ ]*bad/bad/'",
			"OK\nOK\ndata mismatch in /f\nFAIL\nonly in remote fs: /e/g\nmetadata mismatch in /f\nonly in local fs: /h\nFAIL\nOK\nFAIL\n1\nfssum: bad: invalid input file format\n"},
		{"a claimed device", "cd /; _scratch_unmount; mkdir $TEST_DIR/d; size=$(blockdev --getsz $SCRATCH_DEV); dmsetup create over --table \"0 $size linear $SCRATCH_DEV 0\"\n" +
			"mount $SCRATCH_DEV $TEST_DIR/d 2> /dev/null || echo busy; mkfs.btrfs -f $SCRATCH_DEV 2>&1 | sed 's/open .*:/open:/'\n" +
			"mount /dev/mapper/over $TEST_DIR/d && umount $TEST_DIR/d && dmsetup remove over && mount $SCRATCH_DEV $TEST_DIR/d && umount $TEST_DIR/d && echo free",
			"busy\nERROR: unable to open: Device or resource busy\nfree\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Run(context.Background(), treeOf(scratch+c.text+end, c.golden), Case{Name: "generic/999"}, RunOptions{Kind: Btrfs})
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != Pass {
				t.Errorf("%s: %s\n%s", r.Status, r.Reason, r.Detail)
			}
		})
	}
}
