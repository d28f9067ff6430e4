// SPDX-License-Identifier: GPL-2.0-or-later

package bash

import (
	"os/exec"
	"strings"
	"testing"

	"kbtrfs/btrfs/oracle"
)

// Each script prints the same and ends the same in the real bash and here, with pipelines at once and one side
// after the other. A wrong expansion, status or order shows as a difference; the real bash is the golden output.
var scripts = []struct{ name, text string }{
	{"words", `a="x  y"; echo $a "$a" '$a' ${a}z "${a}z"; b=; echo [$b] ["$b"] ""; set -- 1 "2 3" ''; for i in "$@"; do echo "<$i>"; done; for i in $@; do echo "<$i>"; done; for i in "$*"; do echo "<$i>"; done; echo "a$@b"; IFS=:; echo "$*"; echo $#`},
	{"splitting", `IFS=:; x="a::b: c :"; for i in $x; do echo "<$i>"; done; IFS=' :'; x=" a : b  c:"; for i in $x; do echo "<$i>"; done; unset IFS; x=" a	b "; for i in $x; do echo "<$i>"; done`},
	{"defaults", `unset u; e=; s=set; echo ${u-1} ${u:-2} ${e-3} ${e:-4} ${s-5} ${u+6} ${e+7} ${e:+8} ${s:+9}; echo ${u=10} $u; echo "${v:=a b}" $v; echo ${w:-"x  y"} "${w:-x  y}" ${w:-x  y}; : ${z:?gone} ; echo not here`},
	{"lazy default", `x=1; echo ${x:-$(echo boo >&2)}`},
	{"trimming", `p=/a/b/c.tar.gz; echo ${p#*/} ${p##*/} ${p%.*} ${p%%.*} ${p/b/X} ${p//[ab]/Y} ${p/#\/a/Z} ${p/%gz/W} ${#p}; q='a*b*c'; echo "${q#*'*'}" "${q%"*"*}" "${q//\*/+}"; x=abc; echo ${x^} ${x^^} ${x^^[ac]}; y=ABC; echo ${y,} ${y,,}`},
	{"slices", `s=0123456789; echo ${s:3} ${s:3:2} ${s: -3} ${s: -3:2} ${s:2:-2} ${s:20}; set -- a b c d; echo ${@:2} - ${@:2:2} - ${@: -1} - ${*:0:2}; a=(p q r s); echo ${a[@]:1:2} ${#a[@]} ${#a[1]} ${!a[@]}`},
	{"arrays", `a=(1 2 3); a[5]=6; a+=(7 8); echo "${a[@]}" ${!a[*]} ${a[-1]}; unset 'a[1]'; echo ${a[@]}; declare -A m; m[x]=1; m["y z"]=2; echo ${m[x]} ${m["y z"]} ${#m[@]}; for k in x "y z"; do echo "$k=${m[$k]}"; done; b=("${a[@]}"); echo ${#b[@]}; i=1; b[i+1]=new; echo ${b[2]}; c=([3]=x [1]=y); echo ${c[@]} ${!c[@]}; a[0]+=9; echo $a`},
	{"indirect", `x=y; y=val; echo ${!x}; arr=(1 2 3); r='arr[1]'; echo ${!r}; r='arr[@]'; echo "${!r}"; pre_a=1; pre_b=2; echo ${!pre_*} "${!pre_@}"; declare -n ref=y; ref=changed; echo $y`},
	{"arithmetic", `echo $((1+2*3)) $((2**10)) $((7/2)) $((-7/2)) $((-7%3)) $((1<<40)) $((0x1f)) $((010)) $((2#101)) $((36#z)); x=5; echo $((x++ + ++x)) $x $((x+=3)) $((x==10?1:2)) $((x>3 && x<20)) $((!x)) $((~x)); echo $((9223372036854775807+1)) $((-9223372036854775808)) $((1<<63)); y='x+1'; echo $((y*2)); ((x>5)); echo $?; ((0)); echo $?; let z=x*2; echo $z; a=(4 5); echo $((a[1]+1)); ((a[0]+=6)); echo ${a[0]}; for ((i=0;i<3;i++)); do echo -n $i; done; echo`},
	{"division by zero", "{ echo $((1/0)); echo no; } 2>/dev/null; echo after\necho next line; f() { echo $((1/0)); echo no; }; f 2>/dev/null\necho last"},
	{"tests", `[ a = a ] && echo 1; [ a != a ] || echo 2; [ -z "" -a -n x ] && echo 3; [ 1 -lt 2 -o 1 -gt 2 ] && echo 4; [ ! -e /nonexistent ] && echo 5; [ -d / ] && echo 6; [ "$x" = "-v" ]; echo $?; [ ]; echo $?; [ x ]; echo $?; test -f /etc/passwd && echo 7; [ "(" = ")" ]; echo $?; [ 3 -eq 3 ] && echo 8; [ -n ]; echo $?; [ "-n" = "-n" ] && echo 9; [ \( a = a \) -a b = b ] && echo 10`},
	{"conditional", `x=foo.c; [[ $x == *.c ]] && echo 1; [[ $x == "*.c" ]] || echo 2; [[ $x =~ ^f(o+)\.c$ ]] && echo ${BASH_REMATCH[1]}; [[ -z $u && -n $x ]] && echo 3; [[ a < b ]] && echo 4; [[ 2 -gt 10 || ! 1 -eq 2 ]] && echo 5; [[ $x != *.h ]] && echo 6; [[ abc == a@(b|x)c ]] && echo 7; p='*.c'; [[ $x == $p ]] && echo 8; [[ $x == "$p" ]] || echo 9; re='o+'; [[ $x =~ $re ]] && echo "${BASH_REMATCH[0]}"`},
	{"case", `for x in apple banana -v "" 'a*' 10; do case "$x" in a*le) echo A;; -v|--verbose) echo V;; "") echo empty;; 'a*') echo star;; [0-9]*) echo num;& zzz) echo fell;; *) echo other;; esac; done; case x in x) echo one;;& y) echo no;; *) echo two;; esac`},
	{"functions", `f() { local x=1 y; echo $x $# "$1" $FUNCNAME; x=2; return 3; }; x=0; f a b; echo $? $x; g() { echo ${FUNCNAME[@]}; }; h() { g; }; h; fact() { if [ $1 -le 1 ]; then echo 1; else echo $(($1 * $(fact $(($1-1))))); fi; }; fact 10; k() { local v; v=in; kk; echo $v; }; kk() { v=changed; }; k; echo "[$v]"; function w { echo w; }; w; type -t f; unset -f f; type -t f; echo $?; A=env w2; w2() { echo $A; }; A=env w2; echo "[$A]"`},
	{"loops", `for i in 1 2 3 4 5; do [ $i = 2 ] && continue; [ $i = 4 ] && break; echo $i; done; i=0; while [ $i -lt 3 ]; do i=$((i+1)); for j in a b; do [ $i = 2 ] && continue 2; echo $i$j; done; done; until [ $i = 0 ]; do i=$((i-1)); done; echo $i; while true; do while true; do break 2; done; done; echo out; for x; do echo $x; done`},
	{"lists", `true && echo a || echo b; false && echo c || echo d; ! true; echo $?; ! false; echo $?; { echo e; echo f; } | cat; (exit 5); echo $?; if false; then :; fi; echo $?`},
	{"pipestatus", `false | true | (exit 7); echo "${PIPESTATUS[@]}" $?; true | false; echo ${PIPESTATUS[0]} ${PIPESTATUS[1]}; set -o pipefail; false | true; echo $?; if (exit 3) | cat; then :; else echo ${PIPESTATUS[0]}; fi; x=1 | true; echo ${#PIPESTATUS[@]}`},
	{"pipes", `echo hello | tr a-z A-Z; printf '%s\n' 3 1 2 | sort | head -2; x=0; echo a b c | while read -r a b; do echo "$b|$a"; x=1; done; echo $x; echo err >&2 | cat; { echo o; echo e >&2; } |& cat; seq 3 | { read a; read b; echo $b$a; cat; }; yes | head -2`},
	{"descriptors", `exec 3>out; echo to3 >&3; echo more >&3; exec 3>&-; cat out; exec 4<out; read x <&4; read y <&4; echo $x-$y; exec 4<&-; echo x >&5; echo $?; { echo a; echo b >&2; } >both 2>&1; cat both; exec {fd}>dyn; echo d >&$fd; exec {fd}>&-; cat dyn; echo swap 3>&1 1>&2 2>&3 | cat; echo z &>all; cat all; echo y &>>all; cat all; echo q >&both2; cat both2; exec 6>&1; exec >redir; echo in file; exec >&6; cat redir; cat < nonexistent; echo $?; : > empty; cat empty; echo app >> out; cat out; rm -f out both dyn all both2 redir empty`},
	{"heredocs", "x=val; cat <<EOF\na $x $(echo sub) \\$x `echo bq`\n  'q' \"dq\"\nEOF\ncat <<'EOF'\n$x \\n\nEOF\ncat <<-EOF\n\ttabs\n\t\tgone\n\tEOF\ncat <<< \"str $x\"; while read l; do echo \"<$l>\"; done <<E\n1\n 2 \nE\n"},
	{"substitution", "echo $(echo a; echo b) \"$(printf 'x\\n\\n\\n')\" `echo c`; x=$(exit 4); echo $?; echo \"$(echo \"nested $(echo \"deep\")\")\"; echo foo > f; echo $(<f); rm f; y=$(cat <<E\nh\nE\n); echo $y; diff <(echo 1) <(echo 1) && echo same; cat <(echo ps)"},
	{"quoting", `echo "a\"b\$c\\d\e" 'it'\''s' $'tab\there\x41\101\n' "multi
line"; echo \$x \\ \" a\ b; echo "$(echo '"')"; echo "\` + "`" + `"; echo ~root ~/x "~" a~b`},
	{"braces", `echo a{b,c}d {1..5} {5..1..2} {a..e} x{,y} {01..03} "{a,b}" {a} a{b,{c,d}}e; echo {1,2}{3,4}`},
	{"globs", "mkdir g; cd g; touch a.c b.c .hid 'sp ace' d[1]; mkdir sub; touch sub/x.c; echo *.c * .h* */*.c nomatch* 'd[1]' d\\[* [ab].c ?.c s*; shopt -s nullglob; echo nomatch* end; shopt -s dotglob; echo *; shopt -s extglob\necho !(a.c|sub); echo */; set -f; echo *; cd ..; rm -r g"},
	{"echo", `echo -n a; echo -e 'b\tc\0101\x41\\'; echo -en '\0e'; echo -E 'a\tb'; echo -ne 'x\n'; echo -x; echo -e 'stop\chere'; echo; echo "-n"; echo -`},
	{"printf", `printf '%s-%d-%5s|%-5s|%05d|%x|%o|%X|%c|%%\n' a 42 r l 7 255 8 255 xyz; printf '%s\n' 1 2 3; printf '%b' 'a\tb\n'; printf '%q\n' "it's a b"; printf '%.3s|%*d\n' abcdef 5 3; printf '\x41\101\n'; printf -v v '%03d' 7; echo $v; printf '%d\n' 0x10 010 "'A"; printf '%.2f %e\n' 3.14159 1000; printf '%s %s\n' a b c; printf 'no args %s|\n'; printf '%u\n' 5; printf '%+d % d\n' 3 4; printf "%d\n" abc; echo $?; printf '%#x %#o\n' 255 8; printf '%i\n' -5`},
	{"read", `echo "a b  c" | { read x y; echo "$x|$y"; }; printf 'l1\\\nl2\nl3\n' | { read x; read -r y; echo "$x|$y"; }; echo "p:q::r" | { IFS=: read a b c d; echo "$a|$b|$c|$d"; }; echo "1 2 3" | { read -a arr; echo ${arr[1]} ${#arr[@]}; }; printf 'abc' | { read -n 2 z; echo $z; }; printf 'no newline' | { read x; echo $? $x; }; echo "x;y" | { IFS=';' read -a v; echo ${v[1]}; }; read x < /dev/null; echo $?; echo "  lead trail  " | { read v; echo "[$v]"; }; echo "  k  " | { IFS= read -r v; echo "[$v]"; }; printf 'a,b' | { read -d, q; echo $q; }; mapfile -t m < <(printf '1\n2\n'); echo ${m[1]}; echo "a:" | { IFS=: read x y; echo "$x,$y"; }; echo REP | { read; echo $REPLY; }`},
	{"traps", `trap 'echo bye $?' EXIT; trap 'echo int' INT HUP; (trap 'echo sub' EXIT; echo in); trap -p EXIT; f() { exit 3; }; f; echo never`},
	{"exit trap decides", `status=1; trap 'exit $status' EXIT HUP INT QUIT TERM; status=0; exit`},
	{"exit trap decides 2", `trap 'echo t; exit 5' EXIT; exit 3`},
	{"errexit", `set -e; false || true; if false; then :; fi; ! true; echo on; (false; echo no) || echo caught; f() { false; echo f; }; f && echo x; false; echo never`},
	{"nounset", `set -u; x=1; echo $x ${y-dflt} "$@"; echo $y; echo never`},
	{"jobs", `sleep 0.01 & p=$!; wait $p; echo $?; (exit 4) & wait $!; echo $?; for i in 1 2 3; do (echo $i > j$i) & done; wait; cat j1 j2 j3; rm j?; f() { sleep 0.01; echo done > jf; }; f & wait; cat jf; rm jf; true & wait %1; echo $?; wait 99999; echo $?; [ -n "$!" ] && echo pid`},
	{"kill", `sleep 100 & p=$!; kill $p; wait $p; echo $?; (while :; do sleep 0.01; done) & p=$!; kill -9 $p; wait $p 2>/dev/null; echo $?; kill -0 $p 2>/dev/null; echo $?; (trap 'echo got; exit 9' TERM; while :; do sleep 0.01; done) & p=$!; sleep 0.1; kill -TERM $p; wait $p; echo $?`},
	{"getopts", `f() { local OPTIND=1 o; while getopts "ab:c" o; do echo "$o:$OPTARG"; done; shift $((OPTIND-1)); echo "rest $*"; }; f -a -b val -c x y; f -ac -bv z; f -b`},
	{"declare", `declare -i n=3+4; n+=1; echo $n; declare -r ro=1; ro=2; echo $ro; export E=1; bash -c 'echo $E'; declare -l low=ABC; echo $low; declare -a arr=(1 2); echo ${arr[1]}; f() { declare x=in; declare -g gl=out; }; f; echo "[$x]" $gl; local z; echo $?; declare -p n arr; x="a=b"; export $x; echo $a; readonly q=1; unset q; echo $q; declare -A h=([k]=v [l]=w); echo ${h[k]}${h[l]}; typeset t=1; echo $t; export -n E; bash -c 'echo [$E]'`},
	{"shift set", `set -- a b c; shift; echo $@; shift 5; echo $? $@; set x y; echo $1 $2; set --; echo $#; set -- -a; echo $1; set -o | grep pipefail; case $- in *e*) echo e;; esac`},
	{"eval", `x='echo $y'; y=val; eval $x; eval "z=1; echo \$z"; eval 'f() { echo f; }'; f; eval; echo $?; eval "exit 3"`},
	{"source", `echo 'echo src $1 $v; sv=set; return 5; echo no' > s.sh; v=1; . ./s.sh arg; echo $? $sv; rm s.sh; . ./none.sh; echo $?`},
	{"command", `command -v cat >/dev/null && echo 1; command -v nosuchcmd || echo 2; f() { echo func; }; echo() { builtin echo wrapped "$@"; }; echo x; command echo y; unset -f echo; type -t if cd cat f; nosuchcmd; echo $?; ./nosuch; echo $?; /; echo $?; type -P cat >/dev/null && echo 3; hash cat`},
	{"cd", `mkdir -p d/e; cd d/e; basename $PWD; cd ..; basename "$(pwd)"; cd - > /dev/null; basename $PWD; cd nowhere; echo $?; (cd /; pwd); basename $PWD; pushd / > /dev/null; pwd; popd > /dev/null; basename $PWD; cd ../..; rm -r d; echo ${PWD##*/x} > /dev/null`},
	{"umask", `umask; umask 077; umask; umask -S; umask u=rwx,go=rx; umask`},
	{"special", `echo $0 $#; f() { echo $LINENO; }; [ $$ -gt 1 ] && echo pid; [ $RANDOM -ge 0 ] && echo rnd; echo ${#BASH_VERSION} > /dev/null; (echo $BASH_SUBSHELL); true; echo $_; [ $SECONDS -ge 0 ] && echo sec; set -- a b; echo "$#${1}${2}${3}"; echo ${10}; set -- 1 2 3 4 5 6 7 8 9 ten; echo ${10} $10`},
	{"assignment order", `a=1 b=$a; echo "[$b]"; x=5 y=$((x+1)); echo $y; v=a; v+=b; echo $v; A=1 B=2 env | grep -E '^[AB]=' | sort; e=$(echo "a   b"); echo "$e"; t=~; [ "$t" = "$HOME" ] && echo home; s='*'; echo "$s"; z=$s; [ "$z" = '*' ] && echo star`},
	{"subshell", `x=1; (x=2; echo $x); echo $x; y=$(x=3; echo $x); echo $y $x; (cd /; exit 3); echo $?; f() { (return 4); echo $?; }; f; { x=9; }; echo $x; (exit 1) || echo or`},
	{"status in assignments", `false; x=$?; echo $x; f() { return 7; }; f; y=$?; echo $y $?; x=$(exit 3); echo $?; x=$(exit 3) y=1; echo $?; false; x=1; echo $?; (exit 2); a[$?]=$?; echo ${a[2]}; false; x=$(echo $?); echo $x; test "a$(exit 4)" = a; echo $?`},
	{"status in declarations", `f() { false; local e=$? g; echo $e; local x=$(exit 4); echo $?; declare y=$(exit 5) z=$?; echo $z; }; f; (exit 3); export q=$?; echo $q; (umask 077; umask); umask; x=$(cd /; pwd); echo $x; [ "$PWD" = / ] || echo stayed`},
	{"time", `{ time true; } 2>&1 | while read a b; do echo "$a ${b:+some}"; done; { time false; } 2>/dev/null; echo $?`},
	{"negated pipe", `! echo a | grep -q b; echo $?; if ! grep -q x /dev/null; then echo no; fi`},
	{"empty command", `$empty; echo $?; $(true); echo $?; "" ; echo $?`},
	{"comments and lines", "echo a # comment\necho b\\\nc; echo 'd\ne'; # x\n: ; echo f"},
	{"while read file", `printf 'a 1\nb 2\n' > f; while read k v; do echo "$v$k"; done < f; n=0; while read -r l; do n=$((n+1)); done < f; echo $n; rm f; exec 9<<<"nine"; read l <&9; echo $l`},
	{"nested quotes in default", `unset x; echo "${x:-"a b"}" "${x:-'a'}" ${x:-'a b'} "${x-$(echo "q r")}"; y=1; echo "${y:+"is set"}"`},
	{"alternate array", `a=(); echo "${a[@]:-none}" ${#a[@]} "${a[@]+x}"; a=(1); echo "${a[@]:+some}"; set --; echo "${@:-noargs}"; b=("x y" z); for i in "${b[@]/x/Q}"; do echo "<$i>"; done; for i in "${b[@]#x }"; do echo "<$i>"; done`},
	{"return in loop", `f() { for i in 1 2 3; do [ $i = 2 ] && return $i; done; }; f; echo $?; g() { while read x; do [ "$x" = b ] && return 7; done < <(printf 'a\nb\nc\n'); }; g; echo $?`},
	{"shell -c", `bash -c 'echo $0 $1; exit 4' zero one; echo $?; sh -c 'echo sh'`},
	{"background output", `x=$(echo a & wait; echo b); echo $x; { sleep 0.02; echo late; } & echo early; wait`},
	{"ansi c", `x=$'a\'b\tc'; echo "$x"; echo $'\e[0m' | od -c | head -1; echo ${x@Q}`},
	{"read loop from pipe status", `printf '1\n2\n' | while read n; do [ $n = 2 ] && exit 6; done; echo $?`},
	{"ERR trap", `trap 'echo err $?' ERR; false; true; if false; then :; fi; (exit 3); f() { false; }; f; echo end`},
}

func TestAgainstBash(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		oracle.Lack(t, err.Error())
	}
	t.Setenv("LC_ALL", "C")
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			want, wantStatus := runBash(dir, s.text)
			for _, concurrent := range []bool{true, false} {
				got, status := runHere(concurrent, dir, s.text)
				if got != want || status != wantStatus {
					t.Errorf("concurrent %v: status %d, want %d\n--- bash\n%s--- here\n%s", concurrent, status, wantStatus, want, got)
				}
			}
		})
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pat, s string
		want   bool
	}{
		{"*", "", true}, {"a*b*c", "aXbYc", true}, {"a*b*c", "ab", false}, {"[!a]x", "bx", true}, {"[a-c]", "d", false},
		{"[]]", "]", true}, {"[[:digit:]]*", "7up", true}, {`\*`, "*", true}, {`\*`, "x", false}, {"@(ab|c)d", "abd", true},
		{"+(ab)", "ababab", true}, {"!(x)", "x", false}, {"*(a|b)c", "abbac", true}, {"?(a)b", "b", true}, {"[a", "[a", true},
	} {
		if got := Match(c.pat, c.s); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pat, c.s, got)
		}
	}
}

func TestParseErrorIsOneLine(t *testing.T) {
	out, status := runHere(true, t.TempDir(), "if true; then\n")
	if status != 2 || strings.Count(out, "\n") != 1 {
		t.Errorf("status %d, output %q", status, out)
	}
}
