#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The clients that people have, against `tidemark serve`: libnbd's tools,
# qemu-img, qemu-io, fio, and what each says of a raw and a qcow2 disk.
. "$SRC/tests/sh/lib.sh"
for tool in nbdinfo nbdcopy qemu-img qemu-io fio; do
	command -v $tool >/dev/null || { echo "SKIP: no $tool"; exit 77; }
done
cd "$dir"
t() { timeout 60 "$@"; }

truncate -s 64M a.raw
qemu-io -f raw -c 'w -P 5 1M 3M' -c 'w -P 7 20M 100k' a.raw >/dev/null
qemu-img create -q -f raw base.raw 32M
qemu-io -f raw -c 'w -P 1 0 1M' base.raw >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw b.qcow2
qemu-io -f qcow2 -c 'w -P 9 2M 1M' -c 'w -z 4M 1M' b.qcow2 >/dev/null

"$TIDEMARK" serve --socket="$dir/s" raw=a.raw chain=b.qcow2 >out 2>err &
server=$!
pids+=("$server")
until_true 10 grep -q listening out || fail "no server: $(cat err)"
u="nbd+unix:///raw?socket=$dir/s" q="nbd+unix:///chain?socket=$dir/s"

# What there is.
t nbdinfo --list "nbd+unix://?socket=$dir/s" >list || fail "nbdinfo --list"
grep -q 'export="raw"' list && grep -q 'export="chain"' list || fail "$(cat list)"
[ "$(t nbdinfo --size "nbd+unix:///?socket=$dir/s")" = 67108864 ] ||
	fail "the empty name is the first disk"
t nbdinfo --json "$u" >info || fail "nbdinfo"
for can in can_multi_conn can_fua can_zero can_fast_zero can_trim can_df can_cache; do
	grep -q "\"$can\": true" info || fail "$can: $(cat info)"
done
t nbdinfo "nbd+unix:///nothing?socket=$dir/s" >/dev/null 2>&1 &&
	fail "an export that is not there"

# Where it is allocated, and how deep.
t nbdinfo --map "$u" >map || fail "map"
grep -Eq '1048576 +3145728 +0 +data' map && grep -Eq ' 3 +hole,zero' map ||
	fail "$(cat map)"
t nbdinfo --map=qemu:allocation-depth "$q" >depth || fail "depth"
grep -Eq ' 0 +1048576 +2' depth && grep -Eq '2097152 +1048576 +1 ' depth ||
	fail "$(cat depth)"

# Contents, both ways, over several connections.
t nbdcopy --connections=4 --requests=64 "$u" copy.raw || fail "nbdcopy out"
cmp copy.raw a.raw || fail "nbdcopy read something else"
for n in 1 2 3 4 5; do
	t qemu-img compare -U -f raw -F raw "$u" a.raw >/dev/null || fail "compare $n"
done
t qemu-img convert -f raw -O qcow2 "$q" flat.qcow2 || fail "convert"
t qemu-img compare -U -F qcow2 flat.qcow2 b.qcow2 >/dev/null || fail "chain differs"
t qemu-img map --output=json "$q" >/dev/null || fail "qemu-img map"
head -c 8M /dev/urandom >new.raw
truncate -s 64M new.raw
t nbdcopy --connections=4 new.raw "$u" || fail "nbdcopy in"
t qemu-img compare -U -f raw -F raw "$u" new.raw >/dev/null || fail "not what was copied in"

# Each command, checked by content.
t qemu-io -f raw -c 'w -P 5 1M 64k' -c 'w -f -P 6 1088k 4k' -c 'w -z 2M 64k' \
	-c 'w -z -u 4M 1M' -c 'discard 3M 64k' -c flush -c 'r -P 5 1M 64k' \
	-c 'r -P 6 1088k 4k' -c 'r -P 0 2M 64k' -c 'r -P 0 4M 1M' "$u" >io ||
	fail "qemu-io: $(cat io)"
! grep -qi 'failed\|error' io || fail "$(cat io)"
t fio --name=t --ioengine=nbd --uri="$u" --rw=randwrite --bs=4k --iodepth=16 \
	--size=8M --verify=crc32c --do_verify=1 --output=fio.out ||
	fail "fio: $(tail -5 fio.out)"
t fio --name=t --ioengine=nbd --uri="$q" --rw=randrw --bs=16k --iodepth=8 \
	--size=8M --verify=crc32c --output=fio.out || fail "fio on qcow2"

# The end: clean, and the socket is gone.
kill "$server"
wait "$server" || fail "exit status $?: $(cat err)"
[ ! -e s ] || fail "the socket was left behind"
qemu-img check -q b.qcow2 || fail "the image is not clean"

# Socket activation, as libnbd's own tests start a server.
if python3 -c 'import nbd' 2>/dev/null || /usr/bin/python3 -c 'import nbd' 2>/dev/null; then
	t /usr/bin/python3 - "$TIDEMARK" <<-'END' || fail "socket activation"
		import nbd, sys
		h = nbd.NBD()
		h.set_export_name("raw")
		h.connect_systemd_socket_activation([sys.argv[1], "serve", "--read-only", "raw=a.raw"])
		assert h.is_read_only() and h.get_size() == 64 << 20
		h.pread(4096, 1 << 20)
		try:
		    h.set_strict_mode(0)
		    h.pwrite(b"x" * 512, 0)
		    sys.exit("a write on a read-only export")
		except nbd.Error as e:
		    assert e.errno == "EPERM", e
		h.shutdown()
	END
fi

# Paths of others are left alone; a dead socket is replaced.
echo precious >file
t "$TIDEMARK" serve --socket=file a.raw >/dev/null 2>err && fail "took a file's place"
grep -q precious file || fail "a file was unlinked"
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("dead")'
rm out # the first server's
"$TIDEMARK" serve --socket=dead a.raw >out 2>err &
pids+=($!)
until_true 10 grep -q listening out || fail "a dead socket: $(cat err)"
[ "$(stat -c %a dead)" = 600 ] || fail "mode $(stat -c %a dead)"
t "$TIDEMARK" serve --socket=dead --read-only b.qcow2 >/dev/null 2>err2 && fail "took a live socket"
t nbdinfo --size "nbd+unix://?socket=$dir/dead" >/dev/null || fail "the live one was hurt"
t "$TIDEMARK" serve --listen=tcp:0.0.0.0:0 b.qcow2 >/dev/null 2>err2 && fail "in the clear"
grep -q -- --plain err2 || fail "$(cat err2)"
# TCP on loopback, at a port that the system chose.
t "$TIDEMARK" serve --listen=tcp:127.0.0.1:0 --read-only b.qcow2 >tcp 2>err &
pids+=($!)
until_true 10 grep -q listening tcp || fail "tcp: $(cat err)"
port=$(sed 's/.*tcp:127.0.0.1://' tcp)
t nbdinfo --size "nbd://127.0.0.1:$port" >/dev/null || fail "tcp: $(cat tcp)"

# Who may connect: the kernel says who it is.
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$dir"
	as_nobody() {
		python3 - "$1" <<-'END'
			import os, socket, sys
			os.setgroups([])
			os.setgid(65534)
			os.setuid(65534)
			s = socket.socket(socket.AF_UNIX)
			s.settimeout(60)
			s.connect(sys.argv[1])
			sys.exit(0 if s.recv(18) else 1)
		END
	}
	"$TIDEMARK" serve --socket=u1 --allow-uid=65533 --read-only b.qcow2 >u1.out 2>u1.err &
	pids+=($!)
	"$TIDEMARK" serve --socket=u2 --allow-uid=1,65534 --read-only b.qcow2 >u2.out 2>&1 &
	pids+=($!)
	until_true 10 grep -q listening u1.out || fail "$(cat u1.err)"
	until_true 10 grep -q listening u2.out || fail "$(cat u2.out)"
	as_nobody u1 2>/dev/null && fail "a stranger was let in"
	# The log is written by a thread of its own, after the door was shut.
	until_true 30 grep -q 'event=refused uid=65534' u1.err ||
		fail "and nothing said: $(cat u1.err)"
	as_nobody u2 || fail "an allowed user was refused"
fi
echo ok
