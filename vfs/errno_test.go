// SPDX-License-Identifier: GPL-2.0-or-later

package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kbtrfs/btrfs/oracle"
	"kbtrfs/vfs/vfstest"
)

// errnoCases are scripts whose transcripts must be the same here and on the kernel. Those with btrfs set are about what btrfs does and
// are compared with it only.
var errnoCases = []struct {
	name   string
	btrfs  bool
	script string
}{
	{"paths", false, `
		stat ''
		stat /
		stat .
		stat ..
		stat /../..
		stat nothing
		stat nothing/
		stat nothing/below
		open f file O_CREAT|O_WRONLY 0644
		stat file
		stat file/
		stat file/.
		stat file/..
		stat file/below
		lstat file/
		mkdir dir 0755
		stat dir/
		stat dir/.
		stat dir/./../dir///.//
		stat dir/../file
		mkdir dir/sub 0755
		chdir dir/sub
		getcwd
		stat ../../file
		chdir ../..
		stat {255}
		stat {256}
		mkdir {255} 0755
		mkdir {256} 0755
		mkdir {255}/{255} 0755
		open l {256} O_CREAT|O_RDWR 0644
		rename file {256}
		link file {256}
		symlink x {256}
		stat {4095}
		stat {4096}
		chdir file
		chdir nothing
		chdir dir
		rmdir ../dir/sub
		mkdir sub 0700
		chdir sub
		rmdir ../sub
		stat .
		getcwd
		stat ..
		mkdir x 0755
		open z z O_CREAT|O_RDWR 0644
		readdir .
	`},
	{"symlinks", false, `
		symlink target link
		readlink link
		stat link
		lstat link
		open f target O_CREAT|O_RDWR 0644
		stat link
		stat link/
		lstat link/
		readlink link/
		readlink target
		readlink nothing
		mkdir dir 0755
		symlink dir dlink
		lstat dlink
		lstat dlink/
		stat dlink/
		readlink dlink/
		mkdir dlink/sub 0755
		readdir dir
		symlink dlink d2
		symlink d2/sub d3
		readdir d3
		rmdir d3
		rmdir d2/
		rmdir dlink/
		rmdir dlink
		unlink dlink/
		unlink link/
		symlink loop1 loop2
		symlink loop2 loop1
		stat loop1
		open l loop1 O_RDONLY 0
		open l loop1 O_CREAT|O_RDWR 0644
		lstat loop1
		stat loop1/x
		symlink self self
		stat self
		symlink /dir/sub abs
		stat abs
		symlink / root
		stat root/dir
		stat root/
		symlink ../dir/../dlink/sub rel
		stat rel
		mkdir rel/x 0755
		symlink '' empty
		symlink x ''
		symlink dir/ slash
		stat slash
		stat slash/sub
		symlink target/ fslash
		stat fslash
		symlink . dot
		stat dot
		stat dot/dot/dot/target
		symlink {4095} long
		symlink {4096} long2
		symlink {1000} dang
		lstat dang
		stat dang
		symlink newfile cr
		open c cr O_CREAT|O_EXCL|O_RDWR 0644
		open c cr O_CREAT|O_RDWR 0640
		stat newfile
		open n link O_NOFOLLOW|O_RDONLY 0
		open n link O_NOFOLLOW|O_PATH 0
		fstat n
		open n dlink O_NOFOLLOW|O_DIRECTORY 0
		open n dlink/ O_NOFOLLOW|O_DIRECTORY 0
		chmod link 0600
		stat target
		rename dlink moved
		readlink moved
		link moved hard
		lstat hard
		linkat CWD link CWD hard2 FOLLOW
		lstat hard2
	`},
	{"forty links", false, `
		mkdir d 0755
		symlink d l1
		symlink l1 l2
		symlink l2 l3
		symlink l3 l4
		symlink l4 l5
		symlink l5 l6
		symlink l6 l7
		symlink l7 l8
		symlink ../l8 d/m
		symlink m/m/m/m d/m4
		stat d/m
		stat d/m4
		stat d/m/m
		stat d/m/m/m
		stat d/m/m/m/m
		stat d/m/m/m/m/m
		stat l8/m/m/m
		stat l8/m/m/m/.
		stat l8/m/m/m/m
		stat l1/l8
		stat l7/m/m/m/m
		stat l4/m/m/m/m
		stat l4/m/m/m/m/.
		stat l5/m/m/m/m
	`},
	{"open", false, `
		open a nothing O_RDONLY 0
		open a nothing/ O_RDONLY 0
		open a nothing/ O_CREAT|O_RDWR 0644
		open a new O_CREAT|O_EXCL|O_RDWR 0640
		open b new O_CREAT|O_EXCL|O_RDWR 0640
		open b new/ O_RDONLY 0
		open b new/ O_CREAT|O_RDWR 0644
		open b new O_DIRECTORY|O_RDONLY 0
		open b new O_DIRECTORY|O_CREAT|O_RDONLY 0644
		open b newer O_DIRECTORY|O_CREAT|O_RDONLY 0644
		mkdir d 0755
		open b d O_WRONLY 0
		open b d O_RDWR 0
		open b d O_RDONLY|O_TRUNC 0
		open b d O_CREAT|O_RDONLY 0644
		open b d/ O_CREAT|O_RDONLY 0644
		open b d/. O_CREAT|O_RDONLY 0644
		open b d/.. O_CREAT|O_RDONLY 0644
		open b . O_CREAT|O_RDWR 0644
		open b / O_CREAT|O_RDONLY 0644
		open b d O_CREAT|O_EXCL|O_RDONLY 0644
		open b d O_RDONLY 0
		read b 10
		write b x
		pread b 10 0
		ftruncate b 0
		fsync b
		fallocate b 0 0 10
		open c new O_RDONLY 0
		write c x
		pwrite c x 0
		ftruncate c 0
		fallocate c 0 0 10
		open d new O_WRONLY 0
		read d 10
		pread d 10 0
		write d hello
		open e new O_RDONLY|O_TRUNC 0
		stat new
		open e new 3 0
		read e 1
		write e x
		open p new O_PATH 0
		read p 1
		write p x
		fstat p
		fsync p
		lseek p 0 SET
		fchmod p 0600
		fcntl p GETFL 0
		fcntl p SETFL 0
		dup pp p
		open p d O_PATH|O_DIRECTORY 0
		openat q p inside O_CREAT|O_RDWR 0644
		mkdirat p sub 0755
		readdir d
		unlinkat p inside 0
		unlinkat p sub 0
		unlinkat p sub REMOVEDIR
		unlinkat p sub 7
		openat q a x O_RDONLY 0
		openat q zz x O_RDONLY 0
		openat q zz /d O_RDONLY 0
		open x new O_RDWR|O_APPEND|O_SYNC 0
		fcntl x GETFL 0
		open x new O_RDWR|O_DSYNC|O_DIRECT 0
		fcntl x GETFL 0
		open x new O_RDWR|O_NOATIME|O_CLOEXEC 0
		fcntl x GETFL 0
		fcntl x GETFD 0
		fcntl x SETFD 0
		fcntl x GETFD 0
		fcntl x SETFL O_APPEND
		fcntl x GETFL 0
		fcntl x 99 0
		fcntl zz GETFL 0
		close zz
		mknod fifo FIFO|0644 0
		open f fifo O_WRONLY|O_NONBLOCK 0
		mknod sock SOCK|0644 0
		open f sock O_RDWR 0
		open f sock O_PATH 0
		fstat f
	`},
	{"tmpfile", false, `
		mkdir d 0755
		open a d O_TMPFILE|O_RDWR 0644
		fstat a
		write a hello
		fstat a
		readdir d
		open b d O_TMPFILE|O_RDONLY 0644
		open b nothing O_TMPFILE|O_RDWR 0644
		open f d/f O_CREAT|O_RDWR 0644
		open b d/f O_TMPFILE|O_RDWR 0644
		linkat a '' CWD d/linked EMPTY
		stat d/linked
		readdir d
		linkat a '' CWD d/linked EMPTY
		open c d O_TMPFILE|O_RDWR|O_EXCL 0600
		linkat c '' CWD d/second EMPTY
		open g d/g O_CREAT|O_RDWR 0600
		unlink d/g
		linkat g '' CWD d/g EMPTY
		linkat CWD nothing CWD x 7
	`},
	{"mkdir rmdir", false, `
		mkdir d 0755
		mkdir d 0755
		mkdir d/ 0755
		mkdir d/e/ 0755
		mkdir / 0755
		mkdir . 0755
		mkdir .. 0755
		mkdir d/. 0755
		mkdir d/.. 0755
		mkdir '' 0755
		mkdir x/y 0755
		open f f O_CREAT|O_WRONLY 0644
		mkdir f 0755
		mkdir f/ 0755
		mkdir f/x 0755
		rmdir f
		rmdir f/
		rmdir f/x
		rmdir d
		rmdir d/e/
		rmdir d/.
		rmdir d/..
		rmdir .
		rmdir ..
		rmdir /
		rmdir nothing
		rmdir nothing/
		rmdir ''
		open o d O_RDONLY 0
		rmdir d
		openat x o new O_CREAT|O_RDWR 0644
		mkdirat o new 0755
		openat x o .. O_RDONLY 0
		openat x o . O_RDONLY 0
		fstat o
		mkdir m 07777
		stat m
		umask 077
		mkdir m2 07777
		stat m2
		umask 0
		mkdir m3 01777
		stat m3
		mkdir g 0755
		chmod g 02755
		mkdir g/sub 0755
		stat g/sub
		chown g 5 6
		stat g
		mkdir g/sub2 0755
		stat g/sub2
		open gf g/file O_CREAT|O_RDWR 0644
		stat g/file
	`},
	{"unlink", false, `
		open f f O_CREAT|O_WRONLY 0644
		mkdir d 0755
		unlink d
		unlink d/
		unlink f/
		unlink nothing
		unlink nothing/
		unlink ''
		unlink .
		unlink ..
		unlink d/..
		unlink /
		unlink f/x
		link f d/g
		fstat f
		unlink f
		fstat f
		unlink d/g
		fstat f
		readdir d
		readdir .
		link f x
	`},
	{"link", false, `
		open f f O_CREAT|O_WRONLY 0644
		mkdir d 0755
		link d dd
		link f f
		link f d
		link f d/
		link f new/
		link f new/x
		link nothing x
		link f ''
		link '' x
		link f/ x
		link f d/f
		stat f
		link f d/.
		link f ..
		link d/f g
		same f g
		stat g
		symlink f s
		link s t
		lstat t
		mknod p FIFO|0600 0
		link p q
		stat p
	`},
	{"rename", false, `
		open f f O_CREAT|O_WRONLY 0644
		write f data
		open g g O_CREAT|O_WRONLY 0600
		mkdir d 0755
		mkdir e 0755
		mkdir e/full 0755
		rename f f
		rename f nothing/x
		rename nothing x
		rename nothing nothing2/x
		rename f d
		rename f d/
		rename d f
		rename d f/
		rename f/ x
		rename f x/
		rename f g/
		rename d x/
		rename x/ d
		rename d e
		rename d d
		rename d d/x
		rename e e/full
		rename e e/full/x
		rename e/full e
		rename e/full d
		readdir e
		readdir .
		mkdir e/full 0755
		rename d/. x
		rename d/.. x
		rename . x
		rename .. x
		rename / x
		rename f .
		rename f ..
		rename f d/.
		rename '' x
		rename f ''
		link f h
		rename f h
		readdir .
		stat f
		stat h
		rename f g
		fstat g
		stat g
		readdir .
		rename2 g h NOREPLACE
		rename2 g n NOREPLACE
		rename2 n . NOREPLACE
		rename2 . n NOREPLACE
		rename2 n g EXCHANGE
		rename2 n h EXCHANGE
		rename2 n d EXCHANGE
		readdir .
		rename2 n d EXCHANGE
		rename2 e e/full EXCHANGE
		rename2 e/full e EXCHANGE
		rename2 n/ h EXCHANGE
		rename2 n h/ EXCHANGE
		rename2 n h NOREPLACE|EXCHANGE
		rename2 n h 64
		rename2 nothing n EXCHANGE
		rename2 d e/full EXCHANGE
		readdir e
		symlink n s
		rename s s2
		readlink s2
		rename n s2
		lstat s2
		rename s2/ x
		mkdir deep 0755
		mkdir deep/a 0755
		mkdir deep/a/b 0755
		rename deep/a/b deep/a
		rename deep/a/b deep
		rename deep deep/a/b/c
		rename deep/a/b .
		rename deep/a/b ./b
		rename b/ deep/c/
		readdir deep
		chdir deep/c
		rename ../../deep ../../deeper
		getcwd
		stat ..
	`},
	{"read write seek", false, `
		open f f O_CREAT|O_RDWR 0644
		write f hello
		write f ''
		read f 10
		lseek f 0 SET
		read f 3
		read f 0
		lseek f 0 CUR
		lseek f -1 SET
		lseek f -100 CUR
		lseek f 2 END
		lseek f -2 END
		read f 10
		lseek f 0 99
		lseek f 0 -1
		lseek f 100 SET
		write f x
		fstat f
		pread f 200 0
		pread f 10 -1
		pwrite f x -1
		pread f 10 1000
		pread f 0 1000
		pwrite f yy 3
		pread f 8 0
		open a f O_WRONLY|O_APPEND 0
		write a end
		lseek a 0 CUR
		pwrite a mid 1
		fstat a
		read zz 1
		write zz x
		pread zz 1 0
		lseek zz 0 SET
		lseek f 0 SET
		dup g f
		read g 2
		lseek f 0 CUR
		close f
		read g 2
		read f 1
		dup h zz
		mkdir d 0755
		open d d O_RDONLY 0
		lseek d 0 SET
		lseek d -1 SET
	`},
	{"truncate", false, `
		open f f O_CREAT|O_RDWR 0644
		write f hello
		truncate f 3
		pread f 10 0
		truncate f 8
		pread f 10 0
		truncate f -1
		ftruncate f -1
		ftruncate f 5000
		fstat f
		truncate f/ 0
		truncate nothing 0
		mkdir d 0755
		truncate d 0
		mknod p FIFO|0600 0
		truncate p 0
		truncate '' 0
		ftruncate zz 0
		open r f O_RDONLY 0
		ftruncate r 0
		ftruncate zz -1
		symlink f s
		truncate s 1
		stat f
		truncate f 0
	`},
	{"holes", true, `
		open f f O_CREAT|O_RDWR 0644
		fill f a 4096 0
		fill f b 4096 16384
		ftruncate f 65536
		fstat f
		lseek f 0 DATA
		lseek f 1 DATA
		lseek f 0 HOLE
		lseek f 4095 HOLE
		lseek f 4096 HOLE
		lseek f 5000 HOLE
		lseek f 4096 DATA
		lseek f 16384 DATA
		lseek f 20479 DATA
		lseek f 20480 DATA
		lseek f 20480 HOLE
		lseek f 65535 HOLE
		lseek f 65536 HOLE
		lseek f 65536 DATA
		lseek f -1 DATA
		lseek f -1 HOLE
		fallocate f PUNCH|KEEP 100 100
		pread f 200 50
		fallocate f PUNCH|KEEP 0 4096
		fsync f
		lseek f 0 DATA
		fstat f
		fallocate f PUNCH|KEEP 16000 1000
		pread f 5000 15000
		fallocate f PUNCH|KEEP 70000 4096
		fallocate f PUNCH|KEEP 60000 40960
		fstat f
		fallocate f 0 65536 8192
		fstat f
		fallocate f KEEP 81920 4096
		fstat f
		lseek f 65536 DATA
		lseek f 65536 HOLE
		pread f 100 70000
		fallocate f ZERO 16384 4096
		pread f 5000 16000
		fallocate f ZERO|KEEP 0 100000
		fstat f
		fallocate f ZERO 100000 10000
		fstat f
		ftruncate f 10000
		fstat f
		ftruncate f 0
		fstat f
	`},
	{"truncate that changes nothing", true, `
		open f f O_CREAT|O_RDWR 0644
		write f hello
		utimes f 0 3 0 3 0
		truncate f 5
		fresh f
		ftruncate f 5
		fresh f
	`},
	{"largest file", true, `
		open g g O_CREAT|O_RDWR 0644
		pwrite g z 9223372036854775806
		pwrite g z 9223372036854775807
		pwrite g zz 9223372036854775806
		pread g 1 9223372036854775806
		pread g 2 9223372036854775806
		lseek g 9223372036854775807 SET
		write g z
		fstat g
		lseek g 0 DATA
		truncate g 9223372036854775807
		stat g
		ftruncate g 0
		fstat g
	`},
	{"fallocate", true, `
		open f f O_CREAT|O_RDWR 0644
		fallocate f 0 0 0
		fallocate f 0 -1 10
		fallocate f 0 0 -1
		fallocate f PUNCH 0 10
		fallocate f PUNCH|ZERO|KEEP 0 10
		fallocate f COLLAPSE 0 4096
		fallocate f COLLAPSE|KEEP 0 4096
		fallocate f INSERT 0 4096
		fallocate f 4096 0 10
		fallocate f 0 9223372036854775807 1
		fallocate f 0 1 9223372036854775807
		fallocate zz 0 0 0
		fallocate zz 0 0 10
		open r f O_RDONLY 0
		fallocate r 0 0 10
		fallocate r 0 0 0
		fallocate r PUNCH 0 10
		mknod p FIFO|0600 0
		fallocate f 0 0 10
		fstat f
		chattr f IMMUTABLE
		fallocate f 0 0 20
		chattr f APPEND
		fallocate f 0 0 20
		fallocate f PUNCH|KEEP 0 20
		chattr f 0
	`},
	{"attributes", true, `
		open f f O_CREAT|O_RDWR 0644
		chattr f IMMUTABLE
		write f x
		open w f O_WRONLY 0
		open w f O_RDONLY|O_TRUNC 0
		unlink f
		rename f g
		link f g
		chmod f 0600
		chown f 1 1
		truncate f 0
		utimes f 0
		utimes f 0 1 0 1 0
		setxattr f user.x v 0
		access f 2
		chattr f APPEND
		open w f O_WRONLY 0
		open w f O_WRONLY|O_APPEND 0
		open w f O_WRONLY|O_APPEND|O_TRUNC 0
		write w x
		fcntl w SETFL 0
		ftruncate w 0
		truncate f 0
		unlink f
		rename f g
		link f g
		chmod f 0600
		utimes f 0
		utimes f 0 1 0 1 0
		chattr f 0
		unlink f
		mkdir d 0755
		open x d/x O_CREAT|O_RDWR 0644
		chattr d APPEND
		open y d/y O_CREAT|O_RDWR 0644
		unlink d/x
		rename d/x d/z
		chattr d IMMUTABLE
		open y d/z O_CREAT|O_RDWR 0644
		mkdir d/z 0755
		unlink d/x
		write x still
		chattr d 0
		chattr x 0
	`},
	{"mode and owner", false, `
		open f f O_CREAT|O_RDWR 06777
		stat f
		chmod f 06755
		stat f
		chown f 10 20
		stat f
		chown f -1 30
		stat f
		chmod f 02644
		chown f 10 20
		stat f
		chmod f 06755
		write f x
		stat f
		chmod nothing 0
		chmod f/ 0
		chmod '' 0
		chown nothing 1 1
		symlink f s
		lchown s 3 4
		lstat s
		stat f
		chmod f 0177777
		stat f
		mkdir d 06755
		stat d
		chown d 1 2
		stat d
		chmod d 07777
		chown d 2 1
		stat d
		open g g O_CREAT|O_RDWR 0
		stat g
		umask 027
		open h h O_CREAT|O_RDWR 0777
		stat h
		mknod m REG|0666 0
		stat m
		mknod m2 0666 0
		stat m2
		mknod m3 DIR|0755 0
		mknod m3 LNK|0755 0
		mknod m3 0170000 0
		mknod m CHR|0644 259
		mknod c CHR|0644 259
		stat c
		mknod b BLK|0600 2050
		stat b
		mknod w CHR|0 0
		mknod x/ REG|0644 0
		mknod '' REG|0644 0
		mknod so SOCK|0755 9
		stat so
	`},
	{"users", false, `
		mkdir d 0755
		mkdir open 0777
		mkdir sticky 01777
		mkdir priv 0700
		open f d/f O_CREAT|O_RDWR 0640
		open g open/rootfile O_CREAT|O_RDWR 0644
		open h sticky/rootfile O_CREAT|O_RDWR 0666
		open i priv/i O_CREAT|O_RDWR 0644
		chown d/f 0 100
		user 1000 1000 100
		open x d/f O_RDONLY 0
		open x d/f O_RDWR 0
		open x d/new O_CREAT|O_RDWR 0644
		stat priv/i
		stat priv
		readdir priv
		chdir priv
		open x open/mine O_CREAT|O_RDWR 0644
		stat open/mine
		unlink open/rootfile
		unlink sticky/rootfile
		rename sticky/rootfile sticky/x
		open x sticky/mine O_CREAT|O_RDWR 0644
		rename sticky/mine sticky/mine2
		rename sticky/mine2 sticky/rootfile
		unlink sticky/mine2
		chmod d/f 0777
		chown d/f 1000 -1
		chmod open/mine 06755
		stat open/mine
		chown open/mine 1000 100
		stat open/mine
		chown open/mine 1000 200
		chown open/mine 0 -1
		chown open/mine 1000 -1
		chown open/mine -1 -1
		chmod open/mine 02755
		stat open/mine
		utimes d/f 0
		utimes d/f 0 1 0 1 0
		utimes open/mine 0 1 0 1 0
		times open/mine
		utimes sticky/rootfile 0
		utimes sticky/rootfile 0 0 NOW 0 NOW
		utimes sticky/rootfile 0 0 NOW 0 OMIT
		utimes sticky/rootfile 0 1 0 0 NOW
		access d/f 4
		access d/f 6
		access d/f 0
		access d/f 1
		access d/f 8
		access nothing 0
		access open 7
		access d 2
		truncate d/f 0
		truncate sticky/rootfile 1
		mkdir d/x 0755
		rmdir priv
		link d/f open/hard
		symlink x d/s
		mknod open/c CHR|0644 259
		mknod open/w CHR|0 0
		mknod open/p FIFO|0644 0
		open t sticky/rootfile O_RDONLY|O_NOATIME 0
		open t open/mine O_RDONLY|O_NOATIME 0
		setxattr open/mine trusted.x v 0
		setxattr open/mine security.x v 0
		setxattr open/mine user.x v 0
		getxattr open/mine trusted.x 10
		setxattr d/f user.x v 0
		getxattr d/f user.x 10
		setxattr sticky user.x v 0
		linkat x '' CWD open/emptyat EMPTY
		user 1001 1001
		open x d/f O_RDONLY 0
		stat d/f
		unlink sticky/mine
		unlink open/mine
		open x open/other O_CREAT|O_RDWR 0200
		open y open/other O_RDONLY 0
		open y open/other O_WRONLY 0
		open y open/ro O_CREAT|O_RDWR 0444
		write y x
		open y open/ro O_WRONLY 0
		open y open/ro O_RDONLY|O_TRUNC 0
		mkdir open/noexec 0600
		stat open/noexec/x
		readdir open/noexec
		user 0 0
		open y open/other O_RDONLY 0
		open y open/ro O_RDWR 0
		access open/ro 2
		access open/ro 1
		access open/noexec 1
	`},
	{"suid on write", false, `
		mkdir d 0777
		umask 0
		open f d/f O_CREAT|O_RDWR 0777
		chown d/f 1000 1000
		chmod d/f 06777
		user 1001 1001
		open w d/f O_RDWR 0
		write w x
		fstat w
		user 0 0
		chmod d/f 06777
		user 1001 1001
		truncate d/f 0
		stat d/f
		user 0 0
		chmod d/f 06767
		user 1001 1001
		write w x
		fstat w
		user 0 0
		chmod d/f 06777
		user 1001 1001
		open t d/f O_WRONLY|O_TRUNC 0
		fstat t
		user 0 0
		chmod d/f 06777
		user 1000 2000
		write w x
		fstat w
		user 0 0
		chmod d/f 06777
		user 1001 1001
		ftruncate w 100
		fstat w
		user 0 0
		chown d 0 3000
		chmod d 02777
		user 1001 1001
		open g d/g O_CREAT|O_RDWR 02770
		fstat g
		open g d/h O_CREAT|O_RDWR 02760
		fstat g
		mkdir d/sub 0755
		stat d/sub
		user 1001 1001 3000
		open g d/i O_CREAT|O_RDWR 02770
		fstat g
	`},
	{"times", false, `
		open f f O_CREAT|O_RDWR 0644
		utimes f 0 10 20 30 40
		times f
		utimes f 0 0 OMIT 50 60
		times f
		utimes f 0 70 80 0 OMIT
		times f
		utimes f 0 0 OMIT 0 OMIT
		times f
		utimes nothing 0 0 OMIT 0 OMIT
		utimes nothing 0 1 0 1 0
		utimes f 0 1 1000000000 1 0
		utimes f 0 1 0 1 -1
		utimes f 7 1 0 1 0
		utimes '' 0 1 0 1 0
		symlink f s
		utimes s NOFOLLOW 5 6 7 8
		times s
		times f
		utimes s 0 15 16 17 18
		times f
		utimes f 0 -5 0 -6 999999999
		times f
	`},
	{"access times", false, `
		open f f O_CREAT|O_RDWR 0644
		write f data
		utimes f 0 1 0 2 0
		fresh f
		pread f 4 0
		fresh f
		utimes f 0 2 0 1 0
		pread f 0 0
		pread f 4 100
		pread f 4 0
		fresh f
		write f x
		fresh f
		utimes f 0 3 0 3 0
		ftruncate f 5
		fresh f
		ftruncate f 6
		fresh f
		utimes f 0 3 0 3 0
		truncate f 7
		fresh f
		utimes f 0 3 0 3 0
		write f ''
		chmod f 0600
		link f g
		fresh f
		mkdir d 0755
		utimes d 0 1 0 2 0
		readdir d
		fresh d
		utimes d 0 1 0 2 0
		stat d/nothing
		fresh d
		open x d/x O_CREAT|O_RDWR 0644
		fresh d
		utimes d 0 1 0 1 0
		rename d/x d/y
		fresh d
		utimes d 0 1 0 1 0
		link d/y f2
		fresh d
		unlink d/y
		fresh d
		symlink f s
		utimes s NOFOLLOW 1 0 1 0
		lstat s
		fresh s
		readlink s
		fresh s
		utimes s NOFOLLOW 1 0 1 0
		stat s
		fresh s
		mkdir m 0755
		mount src m tmpfs NOATIME
		open n m/n O_CREAT|O_RDWR 0644
		write n x
		utimes m/n 0 1 0 1 0
		pread n 1 0
		fresh m/n
		mount src m tmpfs REMOUNT|NODIRATIME
		pread n 1 0
		fresh m/n
		mkdir m/d 0755
		utimes m/d 0 1 0 1 0
		readdir m/d
		fresh m/d
		mount src m tmpfs REMOUNT|STRICTATIME
		utimes m/n 0 100 0 1 0
		readdir m/d
		fresh m/d
		utimes m/n 0 1 0 1 0
		open o m/n O_RDONLY|O_NOATIME 0
		pread o 1 0
		fresh m/n
		mount src m tmpfs REMOUNT|RO
		pread n 1 0
		close n
		close o
		mount src m tmpfs REMOUNT|RO
		open n m/n O_RDONLY 0
		pread n 1 0
		fresh m/n
		close n
		umount m 0
	`},
	{"xattr", false, `
		open f f O_CREAT|O_RDWR 0644
		mkdir d 0755
		symlink f s
		symlink nothing dang
		mknod p FIFO|0644 0
		setxattr f user.a one 0
		getxattr f user.a 100
		getxattr f user.a 0
		getxattr f user.a 2
		getxattr f user.b 10
		getxattr f user. 10
		getxattr f '' 10
		getxattr f nonsense 10
		getxattr f foo.bar 10
		getxattr nothing user.a 10
		getxattr dang user.a 10
		setxattr f user.a two CREATE
		setxattr f user.b two REPLACE
		setxattr f user.a two REPLACE
		setxattr f user.b two CREATE
		setxattr f user.c x CREATE|REPLACE
		setxattr f user.d x 4
		setxattr f user.e '' 0
		getxattr f user.e 10
		getxattr f user.e 0
		setxattr f foo.bar x 0
		setxattr f user. x 0
		setxattr f '' x 0
		setxattr f user.{250} x 0
		setxattr f user.{251} x 0
		getxattr f user.{251} 10
		setxattr f trusted.t x 0
		setxattr f security.s x 0
		listxattr f
		setxattr d user.d dir 0
		listxattr d
		setxattr p user.x v 0
		getxattr p user.x 10
		setxattr p trusted.x v 0
		getxattr p trusted.x 10
		setxattr s user.via link 0
		getxattr f user.via 10
		removexattr f user.a
		removexattr f user.a
		removexattr f user.
		removexattr f foo.x
		removexattr f ''
		removexattr nothing user.a
		removexattr p user.x
		listxattr f
		user 1000 1000
		getxattr f trusted.t 10
		getxattr f user.b 10
		removexattr f user.b
		removexattr f trusted.t
	`},
	{"xattr limits", true, `
		open f f O_CREAT|O_RDWR 0644
		setxattr f user.big {16220} 0
		getxattr f user.big 20000
		removexattr f user.big
		setxattr f user.b {16222} 0
		setxattr f user.b {16223} 0
		setxattr f user.c {65536} 0
		setxattr f user.c {65537} 0
		setxattr f trusted.t {100} 0
		user 1000 1000
		listxattr f
	`},
	{"directories", true, `
		stat .
		mkdir d 0755
		mkdir d/sub 0755
		open f d/file O_CREAT|O_RDWR 0644
		symlink x d/link
		stat d
		readdir d
		rename d/file d/renamed
		readdir d
		stat d
		unlink d/link
		mkdir d/b 0755
		mkdir d/a 0755
		mknod d/c FIFO|0644 0
		readdir d
		rename2 d/a d/sub EXCHANGE
		readdir d
		link d/renamed d/hard
		rename d/c d/hard
		readdir d
		stat d
		rename d/a sub
		stat d
		stat sub
		readdir .
	`},
	{"fifo", false, `
		mknod p FIFO|0644 0
		open w p O_WRONLY|O_NONBLOCK 0
		open r p O_RDONLY|O_NONBLOCK 0
		read r 10
		open w p O_WRONLY 0
		read r 10
		write w hello
		read r 3
		write w world
		read r 100
		fill w x 10 0
		pread r 1 0
		lseek r 0 SET
		ftruncate w 0
		fsync w
		fstat w
		fcntl w SETFL O_NONBLOCK
		write w {70000}
		write w {4096}
		write w {100}
		write w {70000}
		read r 65536
		read r 65536
		write w {4097}
		read r 5000
		write r x
		read w 1
		write r ''
		close w
		read r 10
		open b p O_RDWR 0
		write b both
		close r
		read b 10
		fcntl b SETFL O_NONBLOCK
		read b 10
		open w p O_WRONLY|O_NONBLOCK 0
		close b
		write w x
		unlink p
		truncate p 0
		open t p O_RDONLY|O_TRUNC 0
	`},
	{"mounts", false, `
		mkdir m 0755
		mkdir n 0755
		open x x O_CREAT|O_RDWR 0644
		symlink m ln
		mount src nothing tmpfs 0
		mount src x tmpfs 0
		mount src m nofs 0
		mount src m '' 0
		umount m 0
		umount nothing 0
		umount '' 0
		umount m 4096
		mount src ln tmpfs 0
		umount ln UNOFOLLOW
		mkdir m/d 0755
		open f m/f O_CREAT|O_RDWR 0644
		umount m/d 0
		umount m/f 0
		umount m 0
		rmdir m
		rename m o
		rename n m
		rename x m/x
		link x m/x
		link m/f f
		rename2 n m EXCHANGE
		copy f 0 x 0 10
		mount src m tmpfs REMOUNT|RO
		close f
		mount src m/d tmpfs REMOUNT|RO
		mount src m tmpfs REMOUNT|RO
		mkdir m/e 0755
		mkdir m/d 0755
		mkdir m/ 0755
		unlink m/f
		unlink m/nothing
		rmdir m/d
		rmdir m/nothing
		rename m/f m/g
		rename m/nothing m/g
		link m/f m/g
		symlink a m/s
		mknod m/s FIFO|0644 0
		chmod m/f 0600
		chown m/f 1 1
		truncate m/f 0
		utimes m/f 0
		setxattr m/f user.x v 0
		removexattr m/f user.x
		access m/f 2
		access m/f 4
		open f m/f O_RDWR 0
		open f m/f O_RDONLY 0
		open g m/new O_CREAT|O_RDWR 0644
		open g m/f O_CREAT|O_RDWR 0644
		open g m/f O_CREAT|O_RDONLY 0644
		open g m/f O_CREAT|O_EXCL|O_RDONLY 0644
		open g m/f O_TRUNC|O_RDONLY 0
		open g m O_TMPFILE|O_RDWR 0600
		ftruncate f 0
		fchmod f 0600
		mount src m tmpfs REMOUNT
		mkdir m/e 0755
		close f
		close g
		mount src m tmpfs 0
		stat m/f
		umount m 0
		stat m/f
		mount m/d n '' BIND
		mount nothing n '' BIND
		open b n/bound O_CREAT|O_RDWR 0644
		stat m/d/bound
		umount m 0
		rename n/bound m/d/moved
		rename m/d n/x
		umount n 0
		mount m/d n '' BIND
		mount src n '' BIND|REMOUNT|RO
		open c n/other O_CREAT|O_RDWR 0644
		open c m/d/other O_CREAT|O_RDWR 0644
		umount n 0
		close b
		close c
		umount n 0
		umount n 0
		open d m/d O_RDONLY 0
		umount m DETACH
		stat m/d
		openat e d later O_CREAT|O_RDWR 0644
		openat e d ../../x O_RDONLY 0
		fstat d
		close d
		close e
		mount src m tmpfs 0
		chdir m
		umount ../m 0
		umount . 0
		mkdir sub 0755
		mount inner sub tmpfs 0
		chdir sub
		getcwd
		readdir ..
		chdir ../..
		getcwd
		umount m 0
		umount m/sub 0
		umount m EXPIRE
		umount m EXPIRE|DETACH
		mount src m tmpfs NODEV
		mknod m/c CHR|0666 259
		open c m/c O_RDWR 0
		user 1000 1000
		umount m 0
		mount src n tmpfs 0
		user 0 0
		umount m FORCE
		umount m 0
		rmdir m
	`},
	{"copy_file_range", false, `
		open f f O_CREAT|O_RDWR 0644
		fill f a 10000 0
		open g g O_CREAT|O_RDWR 0644
		copy f 0 g 0 10000
		fstat g
		copy f 9000 g 20000 10000
		fstat g
		pread g 200 20900
		copy f 0 f 100 200
		copy f 0 f 5000 200
		copy f 20000 g 0 10
		copy f 0 g 0 0
		open r f O_RDONLY 0
		copy g 0 r 0 10
		open w g O_WRONLY 0
		copy w 0 f 0 10
		open a g O_WRONLY|O_APPEND 0
		copy f 0 a 0 10
		mkdir d 0755
		open d d O_RDONLY 0
		copy d 0 g 0 10
		copy zz 0 g 0 10
		copy f -1 g 0 10
	`},
}

// btrfsMount makes a file system of the kernel's btrfs.
func btrfsMount(t testing.TB, size int64) string {
	t.Helper()
	oracle.Need(t, oracle.Kernel, oracle.Mkfs)
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	oracle.Run(t, oracle.Mkfs, "-q", image)
	dir, _ := oracle.Mount(t, image, "")
	return dir
}

// onHost runs a script in a new directory below dir.
func onHost(t testing.TB, dir, script string, o vfstest.Options) string {
	t.Helper()
	root, err := os.MkdirTemp(dir, "case")
	must(t, err)
	must(t, os.Chmod(root, 0o755))
	out := ""
	must(t, vfstest.OnHost(root, func(sys vfstest.Sys) { out = vfstest.Run(sys, script, o) }))
	return out
}

// TestErrnos compares with a temporary directory of the host, whatever file system that is.
func TestErrnos(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("oracle missing: chroot needs root")
	}
	dir := t.TempDir()
	for _, c := range errnoCases {
		if c.btrfs {
			continue
		}
		t.Run(c.name, func(t *testing.T) { compare(t, dir, c.script, vfstest.Options{}) })
	}
}

// TestErrnosBtrfs compares with the kernel's btrfs, and what directories look like as well.
func TestErrnosBtrfs(t *testing.T) {
	dir := btrfsMount(t, 256<<20)
	for _, c := range errnoCases {
		t.Run(c.name, func(t *testing.T) {
			compare(t, dir, c.script, vfstest.Options{DirNlink: true, DirSize: true, DirOrder: true, Blocks: c.btrfs})
		})
	}
}

func compare(t *testing.T, dir, script string, o vfstest.Options) {
	t.Helper()
	v, p := machine(t, "")
	// What an administrator of the host set.
	protected, _ := os.ReadFile("/proc/sys/fs/protected_hardlinks")
	v.ProtectedHardlinks = len(protected) > 0 && protected[0] == '1'
	ours := vfstest.Run(vfstest.Process(p), script, o)
	// The caches must not matter.
	v2, p2 := machine(t, "")
	v2.ProtectedHardlinks, v2.MaxDentries, v2.MaxInodes = v.ProtectedHardlinks, 0, 0
	for line := range vfstest.Differences(ours, vfstest.Run(vfstest.Process(p2), script, o)) {
		t.Errorf("with small caches: %s", line)
	}
	theirs := onHost(t, dir, script, o)
	if os.Getenv("VFS_SHOW") != "" {
		fmt.Print(ours)
	}
	for line := range vfstest.Differences(ours, theirs) {
		t.Error(line)
	}
}
