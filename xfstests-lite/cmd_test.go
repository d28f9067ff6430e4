// SPDX-License-Identifier: GPL-2.0-or-later

package xfstests

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/xfstests-lite/bash"
)

// Each script runs three times in an empty directory $D: by bash and coreutils, by our shell and builtins on the
// host, and by them on our btrfs. All three must print the same, so a wrong option, message, order or status shows,
// and so does a border between host and machine that leaks.
var builtinScripts = []struct{ name, text string }{
	{"cat and friends", `printf 'a\nb\nc\n' > f; cat f f; cat -n f; cat < f; cat nofile; echo $?; cat .; head -2 f; head -n1 f; head -c 3 f; echo; tail -1 f; tail -n +2 f; tail -c 2 f; wc -l f; wc f; wc < f; wc -c f f; tac f; rev f; printf 'no end' | cat; head -n -1 f; echo x | tee g h; cat g h; echo y | tee -a g > /dev/null; cat g`},
	{"rm", `mkdir d; touch f d/g; rm nofile; echo $?; rm d; rm -f nofile; echo $?; rm f; rm -r d; ls -A; mkdir -p a/b/c; touch a/b/x; rm -rv a | sort; rm; echo $?; rm .`},
	{"mkdir", `mkdir a; mkdir a; mkdir -p a/b/c; mkdir -p a; mkdir x/y; echo $?; mkdir -m 700 p; stat -c '%a %F' p a; touch f; mkdir -p f/g; echo $?; mkdir f; rmdir a; rmdir a/b/c; rmdir nofile; rmdir f; rmdir -p a/b; ls`},
	{"ln", `echo x > f; ln f g; ln -s f s; ln -s nofile dangling; ln f g; ln -f f g; ln -s f s; ln -sf g s; readlink s; stat -c '%h' f; ln nofile z; mkdir d; ln d e; ln f d; ls d; ln -s d l; ln -sfn f l; readlink l; ln -sv f v; echo $?; link f k; unlink k; unlink k; ls`},
	{"mv", `echo 1 > a; echo 2 > b; mv a b; cat b; mv nofile x; mkdir d; mv b d; ls d; mv d e; ls; mv e e/f; echo 3 > c; mv c e; mv e/c .; mkdir e2; mv e2 c; mv c e2; ls e2; mv e e2; find . | sort; mv -v e2 e3; touch p q; ln p r; mv p r; ls; mv -n q r; ls; mv q; echo $?`},
	{"cp", `echo hello > a; cp a b; cat b; cp a nodir/x; echo $?; mkdir d; cp a b d; ls d; cp d e; cp -r d e; find e | sort; ln -s a s; cp s t; stat -c %F t; cp -P s u; stat -c %F u; cp -a s w; readlink w; chmod 640 a; cp -p a x; stat -c %a x; cp a a; cp nofile y; echo $?; cp -n b x; cp -v a z; : > sparse; truncate -s 1M sparse; cp sparse sp2; cmp sparse sp2; stat -c %s sp2; cp d/a d/b e; ls e; cp -r d a; cp a b nodir; echo over > a; cp a b; cat b`},
	{"touch", `touch a b; ls; touch -d @1000000000 a; stat -c %Y a; touch -r a b; stat -c %Y b; touch -c nofile; ls nofile; touch nodir/x; echo $?; touch -t 202001010101.01 b; TZ=UTC stat -c %Y b > /dev/null; touch -d '2001-01-01 00:00:00' a; touch -a -d @5 a; stat -c '%X' a; touch -m -d @6 a; stat -c '%X %Y' a`},
	{"truncate", `truncate -s 100 a; stat -c %s a; truncate -s +50 a; stat -c %s a; truncate -s -100 a; stat -c %s a; truncate -s 1K a b; stat -c %s a b; truncate -c -s 5 nofile; ls; truncate -s '<10' a; stat -c %s a; truncate -s '%64' a; stat -c %s a; truncate -r b a; stat -c %s a; truncate a; echo $?; truncate -s x a; echo $?`},
	{"chmod", `touch f; mkdir d; chmod 600 f; stat -c '%a %A' f; chmod u+x,g=r,o-r f; stat -c %a f; chmod a=rwx f; stat -c %a f; chmod +t d; stat -c '%a %A' d; chmod -w f; stat -c %a f; chmod 4755 f; stat -c %A f; chmod nofile; echo $?; chmod 644 nofile; chmod zz f; touch d/x; chmod -R 700 d; stat -c %a d/x d`},
	{"ls", `mkdir d; touch b a .h d/x; ln -s a l; ls; ls -A; ls -a; ls -1 d a; ls -d d; ls nofile; echo $?; ls -F; ls -p; ls -r; ls -R; echo 123 > big; ls -S a b big; touch -d @1 a; touch -d @2 b; touch -d @3 big; ls -t a b big; ls -l a | cut -c1-10; ls d nofile a; ls -i a | wc -w; ls -l | tail -n +2 | wc -l; TZ=UTC ls -l --time-style=+%s a | awk '{print $6}'; ls -la | awk 'NR == 2 || NR == 3 {print substr($1, 1, 1), $9}'; stat -c %F .. ../.`},
	{"stat", `echo abc > f; mkdir d; ln -s f l; stat -c '%n %s %F %h %a %A' f l; stat -c '%s' nofile; echo $?; stat -L -c %F l; stat -c %N l; stat --printf '%s\n%%\t' f; echo; stat -f -c '%l' . ; stat -c '%B %t %T' f; stat -c '%5s|%-5s|%05a' f f f`},
	{"find", `mkdir -p a/b c; touch a/x.c a/b/y.h c/z; ln -s x a/l; find . | sort; find . -type f | sort; find a -name '*.c'; find . -maxdepth 1 | sort; find . -mindepth 2 -type d; find nofile; echo $?; find . -type f -exec echo got {} \; | sort; find . -type f -exec echo {} + | wc -w; find . -name '*.c' -o -name '*.h' | sort; find . ! -type d -print | sort; find . \( -name x.c -o -name z \) -delete; find . -type f; find . -empty | sort; find a -printf '%f %y\n' | sort; find . -name b -prune -o -print | sort; echo hello > s; find . -type f -size -1k | sort; find . -type l`},
	{"dd", `dd if=/dev/zero of=f bs=1k count=3 status=none; stat -c %s f; printf 'abcdefghij' | dd bs=3 status=noxfer 2>&1; printf 0123456789 > g; dd if=g of=h bs=1 skip=2 count=3 status=none; cat h; echo; dd if=g of=h bs=1 seek=5 conv=notrunc status=none; cat h; echo; dd if=g of=i bs=4 count=2 status=none; cat i; echo; dd if=nofile of=x; echo $?; dd of=z seek=2 bs=512 count=0 status=none; stat -c %s z; dd bs=x; echo $?; dd nosense; echo $?; dd if=g bs=4 2>&1 >/dev/null | head -2; dd if=g of=k iflag=fullblock bs=100 status=none; cmp g k; dd if=g bs=2 count=5 conv=ucase status=none; dd if=g of=o ibs=3 obs=5 2>&1 | head -2; dd if=g of=o oflag=append conv=notrunc status=none; stat -c %s o`},
	{"sums", `printf abc > f; printf '' > e; md5sum f e; sha1sum f; sha256sum f; sha512sum f | cut -c1-20; md5sum < f; md5sum nofile; echo $?; md5sum f e > sums; md5sum -c sums; echo x >> f; md5sum -c sums; echo $?; md5sum --quiet -c sums 2>/dev/null; md5sum -b e`},
	{"cmp", `printf 'abc\ndef\n' > a; printf 'abc\ndxf\n' > b; printf 'abc\n' > c; cmp a a; echo $?; cmp a b; echo $?; cmp a c; echo $?; cmp -s a b; echo $?; cmp -l a b; cmp a nofile; echo $?; : > e; cmp a e; cmp -n 4 a b; echo $?; cat a | cmp - a; echo $?; cmp -i 5 a b; printf 'abc' > d; cmp a d`},
	{"diff", `printf 'a\nb\n' > x; printf 'a\nc\n' > y; diff x y; echo $?; diff x x; echo $?; diff -q x y; mkdir d1 d2; cp x d1/f; cp y d2/f; touch d1/only; mkdir d1/s d2/s; echo 1 > d1/s/t; echo 1 > d2/s/t; diff -r d1 d2; echo $?; diff -rq d1 d2; diff x nofile; echo $?; diff -s x x; diff -u x y | tail -n +3; touch d1/s/u; diff -r d1 d2 > /dev/null; echo $?; mkdir d2/only; diff -r d1 d2 | grep -v '^[<>-]'; diff x d1/f; diff x d2 ; echo $?`},
	{"od", `printf 'Hello\0\377World, this is long\n' > f; od f; od -c f; od -A x -t x1 f; od -A d -t x1z f; od -An -tu1 f; od -t x4 f; od -t d2 f; od -x f; od -j 3 -N 4 -t c f; head -c 100 /dev/zero > z; od z; od -v -t x1 -w8 z | head -3; od -A x -t x1z -v f; od -t o1 -t x1 f; od -tx8 z; od nofile; echo $?; od -t x1 < f; od -a f`},
	{"grep", `printf 'one\ntwo\nthree one\nONE\n' > f; grep one f; grep -c one f; grep -v one f; grep -i one f; grep -n o f; grep -q one f; echo $?; grep zzz f; echo $?; grep one nofile; echo $?; grep -o one f; grep -w one f; grep -x one f; grep -E 'one|two' f; grep 'one\|two' f; grep -F 'o' f; grep -l one f f; grep -L one f; cp f g; grep one f g; grep -h one f g; grep -m1 one f; grep -A1 two f; grep -B1 two f; grep '^t' f; grep 'e$' f; grep -e one -e two f; echo 'a.b' | grep 'a\.b'; echo 'a+b' | grep 'a+b'; echo aab | grep -E 'a{2}b'; grep -r one . | sort; echo 'x[1]' | grep '\[[0-9]\]'; echo 'tab	x' | grep -P '\t'; grep -s one nofile; echo $?; echo ab | grep -E '(a)(b)\2'; echo $?`},
	{"sed", `printf 'one\ntwo\nthree\n' > f; sed s/o/0/ f; sed -e 's/o/0/g' -e s/t/T/ f; sed -n 2p f; sed 2d f; sed '/two/d' f; sed -n '/two/,$p' f; sed 's/\(.\)\(.\)/\2\1/' f; sed -E 's/(.)(.)/\2\1/' f; sed -r 's/e+/E/' f; sed 's,o,/,' f; sed '1,2s/$/!/' f; sed q f; sed '$!d' f; sed 's/.*/[&]/' f; sed = f; sed '/o/!d' f; sed 's/O/x/I' f; sed 's/e/X/2' f; sed y/abc/xyz/ f; sed '2i\before' f; sed '2a after' f; sed '2c changed' f; sed -n '$=' f; sed -i s/one/ONE/ f; cat f; printf 'no end' | sed s/n/N/; sed 'N;s/\n/ /' f; sed -e '/two/{s/t/T/;p}' f; sed 's/[[:space:]]*$//' f; sed s/a/b/ nofile; echo $?; echo 'a b  c' | sed -e 's/ \+/_/g'; echo path/x | sed 's#/#\\/#'; echo aXb | sed 's/x/y/i'; echo abc | sed 's/b*/-/g'; echo 'k=v' | sed -n 's/^k=//p'; echo hello | sed 's/\bh/H/'; echo "a,b" | sed "s/,/\n/"; sed -n '1~2p' f; echo 'aa' | sed ':a;s/a/b/;ta'; echo one two | sed 's/\w\+/<&>/g'; echo x | sed 'y/x/\n/' ; echo 'foo bar' | sed -E 's/(\w+) (\w+)/\u\1 \U\2/'`},
	{"sort uniq", `printf '3\n10\n1\n2\n10\n' > f; sort f; sort -n f; sort -rn f; sort -u f; sort -nu f; uniq f; sort f | uniq -c; sort f | uniq -d; sort f | uniq -u; printf 'b 2\na 10\nc 1\n' > g; sort g; sort -k2 g; sort -k2n g; sort -k 2,2nr g; printf 'x:3\ny:1\n' | sort -t: -k2; sort nofile; echo $?; sort -o out f; cat out; printf 'B\na\nC\n' | sort -f; printf 'a\n\nb\n' | sort`},
	{"cut tr", `echo a:b:c | cut -d: -f2; echo a:b:c | cut -d: -f1,3; echo a:b:c | cut -d: -f2-; echo abcdef | cut -c2-4; echo nodelim | cut -d: -f2; echo nodelim | cut -d: -s -f2; printf 'a\tb\n' | cut -f2; echo hello | tr a-z A-Z; echo hello | tr -d l; echo aabbcc | tr -s a-c; echo hello | tr -cd 'a-h\n'; echo 'a b' | tr ' ' '\n'; echo abc | tr '[:lower:]' '[:upper:]'; printf 'a\0b' | tr '\0' '\n'; echo; echo hello | tr el ip; echo a1b2 | tr -d '[:digit:]'; echo abc | tr -c 'b\n' x; echo a,b | cut -d, --output-delimiter=';' -f1,2`},
	{"seq expr basename", `seq 3; seq 2 4; seq 1 2 6; seq 5 -2 1; seq -w 8 10; seq -s, 3; seq 0.5 0.5 1.5; seq 3 1; expr 1 + 2; expr 2 \* 3 - 1; expr 7 / 2; expr 7 % 3; expr a = a; expr 1 '<' 2; expr abc : 'a\(.\)c'; expr length hello; expr substr hello 2 3; expr 0; echo $?; expr 1 / 0; echo $?; expr 5 \& 0; expr '' \| x; basename /a/b/c.txt .txt; basename /a/b/; dirname /a/b/c; dirname a; dirname /; basename a; expr index hello l; expr 10 '>' 9; expr \( 1 + 2 \) \* 3`},
	{"env xargs", `env A=1 B=2 env | grep -E '^[AB]='; A=3 env -u A env | grep -c '^A='; printf '1 2 3' | xargs echo; printf '1\n2\n3\n' | xargs -n1 echo x; printf 'a\0b c\0' | xargs -0 -n1 echo; printf 'p\nq\n' | xargs -I{} echo '<{}>'; : | xargs echo none; : | xargs -r echo none; printf '1 2' | xargs false; echo $?; printf '"a b" c' | xargs -n1 echo; timeout 5 echo fast; timeout 0.1 sleep 5; echo $?; nice echo nice; touch f1 f2; ls f* | xargs rm; ls`},
	{"mktemp", `t=$(mktemp -p . ); [ -f $t ] && echo file; stat -c %a $t; d=$(mktemp -d ./dXXXXXX); [ -d $d ] && echo dir; stat -c %a $d; mktemp fooXX; echo $?; u=$(mktemp -u ./uXXXX); [ -e $u ] || echo none`},
	{"special files", `mkfifo p; stat -c '%F %a' p; mkfifo p; echo $?; [ -p p ] && echo fifo; mknod q p; stat -c %F q; mkfifo -m 600 r; stat -c %a r`},
	{"readlink realpath", `mkdir d; touch d/f; ln -s d/f l; ln -s l m; readlink l; readlink m; readlink -f m | sed "s,$D,D,"; readlink d; echo $?; realpath m | sed "s,$D,D,"; realpath -e nofile; echo $?; readlink -f nofile | sed "s,$D,D,"; readlink -e nofile; echo $?; ln -s loop loop; readlink -f loop; echo $?; realpath d/../d/f | sed "s,$D,D,"; readlink -n l; echo`},
	{"test on files", `touch f; mkdir d; ln -s f l; ln -s none dang; echo x > s; chmod 644 f; for t in -e -f -d -L -h -s -r -w; do for x in f d l dang s none; do [ $t$x = -sd ] || [ $t $x ] && echo -n "$t$x "; done; done; echo; [ f -ef l ] && echo same; touch -d @1 f; touch -d @2 s; [ s -nt f ] && echo newer; [ f -ot s ] && echo older; [[ -f f && -d d ]] && echo both; test -x d && echo x`},
	{"globs and cd", `mkdir -p a/b; touch a/1 a/2 a/b/3; echo *; echo a/*; echo */*/*; cd a; echo *; pwd | sed "s,$D,D,"; cat < 1; echo new > 4; ls; cd b; ls ..; cd ../..; ls; for f in a/?; do echo $f; done; cd nodir; echo $?; (cd a; ls); [ -e a/4 ] && echo there; echo "$(cd a/b && ls)"`},
	{"redirections", `echo a > f; echo b >> f; cat < f; exec 3> g; echo c >&3; exec 3>&-; cat g; { echo d; echo e >&2; } > h 2>&1; cat h; cat f g > i; wc -l < i; while read x; do echo "<$x>"; done < f; echo x | cat > j; cat j; cat <<E > k
here
E
cat k; echo z > nodir/f; echo $?; : > f; cat f; echo t | tee l > m; cat l m; exec 4<>n; echo rw >&4; exec 4>&-; cat n; cat f g h 2>&1 | sort | head -2`},
	{"df du", `head -c 100000 /dev/urandom > f; sync -f f; du -s --apparent-size -B1 f | cut -f1; df . | wc -l; df -P . | head -1 | tr -s ' '; df --output=target . | head -1; df -h . | wc -l; df nofile; echo $?; du nofile; echo $?`},
	{"jobs in files", `for i in 1 2 3 4; do (for j in 1 2 3; do echo $i.$j >> f$i; done) & done; wait; cat f1 f2 f3 f4; (sleep 0.05; echo late > g) & p=$!; wait $p; cat g; { echo a > x; } & wait; cat x`},
	{"unlinked", `echo keep > f; exec 5< f; rm f; cat <&5; exec 5<&-; ls; exec 6> g; rm g; echo gone >&6; exec 6>&-; ls -A`},
}

// inMachine runs a script by our shell on a file system of our own; its directory is the mount.
func inMachine(t *testing.T, kind *FSKind, script string) (string, int) {
	t.Helper()
	dir := t.TempDir()
	m := NewMachine(MachineOptions{Kind: kind, Seed: 1})
	s := newSession(context.Background(), m, dir)
	out := &output{}
	status := -1
	err := m.Run(func() error {
		m.AddMem(ScratchDev, 512<<20)
		if _, err := m.Mkfs(ScratchDev, []string{ScratchDev}); err != nil {
			return err
		}
		if err := m.Mount(m.root, ScratchDev, ScratchMnt, m.Kind.Name, 0, ""); err != nil {
			return err
		}
		status = runScriptIn(s, ScratchMnt, script, out)
		return nil
	})
	if err != nil {
		t.Errorf("machine: %v", err)
	}
	for _, w := range m.newWarnings() {
		t.Errorf("WARNING: %s", w)
	}
	return strings.ReplaceAll(string(out.bytes()), ScratchMnt, "D"), status
}

func runScriptIn(s *Session, dir, script string, out *output) int {
	proc := s.newProc()
	proc.Umask(0o022)
	if err := proc.Chdir(dir); err != nil {
		return -1
	}
	sh := bash.New(bash.Options{World: proc, Dir: dir, Env: append(os.Environ(), "LC_ALL=C", "TZ=UTC", "D="+dir), Stdout: out, Stderr: out, Name: "script", Ctx: s.ctx})
	status := sh.Run("script", script)
	sh.WaitJobs(context.Background(), true)
	proc.Exit()
	return status
}

func TestBuiltinsAgainstTheHost(t *testing.T) {
	oracle.Need(t, "bash", "diff", "awk")
	for _, s := range builtinScripts {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			real := filepath.Join(dir, "real")
			ours := filepath.Join(dir, "ours")
			for _, d := range []string{real, ours} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, "script")
			if err := os.WriteFile(file, []byte(s.text), 0o644); err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			cmd := exec.Command("bash", "-c", ". ../script", "script")
			cmd.Dir, cmd.Stdout, cmd.Stderr = real, &want, &want
			cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC", "D="+real)
			_ = cmd.Run()
			expect := normal(strings.ReplaceAll(want.String(), real, "D"))

			out := &output{}
			runScriptIn(newSession(context.Background(), nil, dir), ours, s.text, out)
			if got := normal(strings.ReplaceAll(string(out.bytes()), ours, "D")); got != expect {
				t.Errorf("on the host:\n%s", difference("bash", []byte(expect), []byte(got)))
			}
			if got, _ := inMachine(t, Btrfs, s.text); normal(got) != expect {
				t.Errorf("on btrfs:\n%s", difference("bash", []byte(expect), []byte(normal(got))))
			}
		})
	}
}

// normal takes out what differs by nature: the prefix of the shell's messages, hints to use --help.
func normal(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(line, "Try '") || strings.HasPrefix(line, "cmp: Try") {
			continue
		}
		for _, p := range []string{"../script: line ", "script: line "} {
			if rest, ok := strings.CutPrefix(line, p); ok {
				_, line, _ = strings.Cut(rest, ": ")
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}
