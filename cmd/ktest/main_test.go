// SPDX-License-Identifier: GPL-2.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kbtrfs/btrfs/oracle"
)

// The test binary is ktest when this variable is set.
func TestMain(m *testing.M) {
	if os.Getenv("KTEST_BE_KTEST") != "" {
		main()
	}
	if os.Getenv("KTEST_BE_LOOPBACK") != "" {
		if err := serveLoopback(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func ktestCommand(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "KTEST_BE_KTEST=1")
	return cmd
}

// ktest runs a command line and returns what it printed and its exit status.
func ktest(args ...string) (stdout, stderr string, status int) {
	cmd := ktestCommand(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the status says it
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// makeImage makes a small file system with a file in it.
func makeImage(t *testing.T, dir string) string {
	t.Helper()
	img := filepath.Join(dir, "good.img")
	if _, errs, status := ktest("mkfs", "-b", "256M", img); status != 0 {
		t.Fatalf("mkfs: %d %s", status, errs)
	}
	if _, errs, status := ktest("sh", img, "-c", "echo hello > $SCRATCH_MNT/file"); status != 0 {
		t.Fatalf("sh: %d %s", status, errs)
	}
	return img
}

func copyFile(t *testing.T, from, to string, most int64) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if most >= 0 {
		data = data[:most]
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Bad input gives one clear line, exit status 1 or 2, and harms nothing. A panic would give many lines and status 2
// with a goroutine dump, which the line count catches.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	good := makeImage(t, dir)
	at := func(name string) string { return filepath.Join(dir, name) }
	copyFile(t, good, at("cut.img"), 5<<20)
	copyFile(t, good, at("tiny.img"), 70<<10)
	os.WriteFile(at("text"), []byte(strings.Repeat("no file system here\n", 10000)), 0o644)
	os.WriteFile(at("empty"), nil, 0o644)
	os.WriteFile(at("script"), []byte("if"), 0o644)
	os.Mkdir(at("dir"), 0o755)
	before, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	type bad struct {
		args   []string
		status int
		says   string
	}
	cases := []bad{
		{[]string{"nonsense"}, 2, "unknown command"}, {nil, 2, ""},
		{[]string{"mkfs"}, 2, "IMAGE"}, {[]string{"mkfs", "--bogus", good}, 2, "bogus"}, {[]string{"mkfs", "-b", "x", at("new")}, 2, "x"}, {[]string{"mkfs", "-n", "5000", good}, 1, ""},
		{[]string{"mkfs", good}, 1, "-f"}, {[]string{"mkfs", "-b", "1M", at("new")}, 1, ""}, {[]string{"mkfs", "-U", "zz", good}, 2, "zz"}, {[]string{"mkfs", "-d", "raid9", "-f", good}, 1, "raid9"},
		{[]string{"run", "generic/999"}, 2, "generic/999"}, {[]string{"run", "-g", "nogroup"}, 2, "nogroup"}, {[]string{"run", "--dir", at("dir")}, 2, "checkout"}, {[]string{"run", "../../etc/passwd"}, 2, "case"},
		{[]string{"run", "--bogus"}, 2, "bogus"}, {[]string{"run", "--kernel", "--deterministic", "generic/001"}, 2, "exclude"}, {[]string{"run", "--seed", "x"}, 2, "seed"},
		{[]string{"sh"}, 2, "IMAGE"}, {[]string{"sh", good, "-c"}, 2, "COMMANDS"}, {[]string{"sh", "--bogus", good}, 2, "bogus"}, {[]string{"sh", good, at("noscript")}, 1, "noscript"}, {[]string{"sh", good, at("script")}, 2, "script"},
		{[]string{"sh", "-o", "bogus", good, "-c", "true"}, 1, "bogus"},
	}
	for _, sub := range []string{"run", "explore", "crash", "lin", "mount"} {
		cases = append(cases, bad{[]string{sub, "--revert", "sone-fix"}, 2, "'sone-fix'"}, bad{[]string{sub, "--bogus"}, 2, "bogus"})
	}
	cases = append(cases, bad{[]string{"explore", "--strategy", "guess", "race/001"}, 2, "guess"}, bad{[]string{"explore", "--replay", "guess", "race/001"}, 2, "guess"},
		bad{[]string{"explore", "--shard", "5/2", "race/001"}, 2, "5/2"}, bad{[]string{"explore", "merge", at("nofile")}, 1, "nofile"}, bad{[]string{"crash", "--seq", "3"}, 2, "3"},
		bad{[]string{"crash", "--log", at("nofile"), good}, 1, "nofile"}, bad{[]string{"lin", "--mix", at("nofile")}, 2, "nofile"}, bad{[]string{"mount", at("nofile"), at("dir")}, 1, "nofile"},
		bad{[]string{"mount", "-o", "bogus", good, at("dir")}, 1, "bogus"}, bad{[]string{"mount", at("cut.img"), at("dir")}, 1, "errs: wr 0, rd 1"})
	for _, sub := range []string{"check", "dump-tree", "sh"} {
		with := func(image string) []string {
			if sub == "sh" {
				return []string{sub, image, "-c", "ls $SCRATCH_MNT"}
			}
			return []string{sub, image}
		}
		cases = append(cases, bad{with(at("nofile")), 1, "nofile"}, bad{with(at("dir")), 1, "dir"}, bad{with(at("text")), 1, "text"}, bad{with(at("empty")), 1, "empty"}, bad{with(at("tiny.img")), 1, ""}, bad{with(at("cut.img")), 1, ""})
		if sub != "sh" {
			cases = append(cases, bad{[]string{sub}, 2, "IMAGE"}, bad{[]string{sub, "--bogus", good}, 2, "bogus"}, bad{[]string{sub, good, good}, 2, "IMAGE"})
		}
	}
	cases = append(cases, bad{[]string{"mkfs", "-f", at("dir")}, 1, "dir"}, bad{[]string{"dump-tree", "-t", "nosuch", good}, 2, "nosuch"})
	for _, c := range cases {
		out, errs, status := ktest(c.args...)
		name := strings.ReplaceAll(strings.Join(c.args, " "), dir, "")
		if status != c.status {
			t.Errorf("ktest %s: status %d, want %d: %s", name, status, c.status, errs)
		}
		if len(c.args) > 0 && c.args[0] == "check" && status == 1 && errs == "" {
			if !strings.Contains(out, "problems") { // what it found on an image that opens is output
				t.Errorf("ktest %s: found nothing and says nothing: %q", name, out)
			}
			continue
		}
		if lines := strings.Count(errs, "\n"); lines != 1 && len(c.args) > 0 && !(c.args[0] == "dump-tree" && strings.HasSuffix(name, ".img")) {
			t.Errorf("ktest %s: %d lines on stderr: %s", name, lines, errs)
		}
		if strings.Contains(errs, "goroutine ") {
			t.Errorf("ktest %s: %s", name, errs)
		}
		if !strings.Contains(errs, c.says) {
			t.Errorf("ktest %s: %q does not name %q", name, errs, c.says)
		}
	}
	if after, err := os.ReadFile(good); err != nil || !bytes.Equal(before, after) {
		t.Error("a wrong command line changed the image")
	}
	if _, err := os.Stat(at("new")); err == nil {
		t.Error("a failed mkfs left its image")
	}
}

// A full disk of the host makes writes fail; what was on the image before stays readable.
func TestFullHostDisk(t *testing.T) {
	dir := oracle.Tmpfs(t, "size=8m")
	img := makeImage(t, dir)
	_, errs, status := ktest("sh", img, "-c", "head -c 30000000 /dev/urandom > $SCRATCH_MNT/big && sync")
	if status == 0 {
		t.Errorf("writing 30 MB to an image on 8 MB went well: %s", errs)
	}
	if strings.Contains(errs, "goroutine ") {
		t.Error(errs)
	}
	os.Remove(filepath.Join(dir, "filler"))
	if out, errs, status := ktest("sh", "-o", "ro", img, "-c", "cat $SCRATCH_MNT/file"); status != 0 || out != "hello\n" {
		t.Errorf("afterwards: status %d, %q %s", status, out, errs)
	}
	if out, errs, status := ktest("check", img); status != 0 {
		t.Errorf("check afterwards: status %d\n%s%s", status, out, errs)
	}
	if _, errs, status := ktest("mkfs", "-b", "4G", filepath.Join(dir, "second.img")); status == 0 {
		// Sparse files may still fit; then the image must be whole.
		if _, errs, status := ktest("check", filepath.Join(dir, "second.img")); status != 0 {
			t.Errorf("an image that mkfs called good: %s", errs)
		}
	} else if strings.Count(errs, "\n") != 1 {
		t.Errorf("mkfs on a full disk: %s", errs)
	}
}

func TestShellStatusAndBorder(t *testing.T) {
	dir := t.TempDir()
	img := makeImage(t, dir)
	src := filepath.Join(dir, "src")
	os.MkdirAll(filepath.Join(src, "sub"), 0o755)
	for i := range 20 {
		os.WriteFile(filepath.Join(src, "sub", fmt.Sprint(i)), bytes.Repeat([]byte{byte(i)}, i*1000), 0o644)
	}
	os.Symlink("sub/3", filepath.Join(src, "link"))
	if _, errs, status := ktest("sh", img, "-c", "cp -a "+src+" $SCRATCH_MNT/ && diff -r "+src+" $SCRATCH_MNT/src; exit 7"); status != 7 || errs != "" {
		t.Errorf("status %d, %s", status, errs)
	}
	if _, errs, status := ktest("sh", img, "-c", `cp -r $SCRATCH_MNT/src "$1"`, "name", filepath.Join(dir, "back")); status != 0 {
		t.Errorf("status %d, %s", status, errs)
	}
	if out, err := exec.Command("diff", "-r", src, filepath.Join(dir, "back")).CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
	script := filepath.Join(dir, "script")
	os.WriteFile(script, []byte("#!/bin/bash\necho \"$0 $# $1\"\ncat $SCRATCH_MNT/file\n"), 0o755)
	if out, _, status := ktest("sh", img, script, "arg"); status != 0 || out != script+" 1 arg\nhello\n" {
		t.Errorf("script: status %d, %q", status, out)
	}
	cmd := ktestCommand("sh", img)
	cmd.Stdin = strings.NewReader("cd $SCRATCH_MNT\ncat file\n")
	if out, err := cmd.Output(); err != nil || string(out) != "hello\n" {
		t.Errorf("stdin: %v %q", err, out)
	}
	if out, _, status := ktest("check", img); status != 0 {
		t.Errorf("check: %s", out)
	}
}

func TestRunJSONAndSummary(t *testing.T) {
	out, errs, status := ktest("run", "--json", "generic/001", "generic/007")
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), out)
	}
	for _, l := range lines {
		var v map[string]any
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Errorf("%v: %s", err, l)
		}
	}
	out, _, _ = ktest("run", "generic/001")
	last := strings.Split(strings.TrimSpace(out), "\n")
	if s := last[len(last)-1]; !strings.HasPrefix(s, "run:     1 passed, 0 failed, 0 notrun in ") {
		t.Errorf("summary %q", s)
	}
}

// Ctrl-C ends a shell in order: its EXIT trap runs and the image is clean.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	img := makeImage(t, dir)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ready := filepath.Join(dir, "ready")
	cmd := ktestCommand("sh", img, "-c", "trap 'echo trapped > $SCRATCH_MNT/trap' EXIT; echo x > $SCRATCH_MNT/before; touch "+ready+"; while :; do sleep 1; done")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		if _, err := os.Stat(ready); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	cmd.Process.Signal(syscall.SIGINT)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-done:
	case <-ctx.Done():
		cmd.Process.Kill()
		t.Fatal("still running after SIGINT")
	}
	if s := cmd.ProcessState.ExitCode(); s != 130 || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("status %d, %s", s, errs.String())
	}
	if out, _, _ := ktest("sh", img, "-c", "cat $SCRATCH_MNT/before $SCRATCH_MNT/trap"); out != "x\ntrapped\n" {
		t.Errorf("on the image: %q", out)
	}
	if out, _, status := ktest("check", img); status != 0 {
		t.Errorf("check: %s", out)
	}
}
