#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Points as streams of `rbd export-diff`, and such streams as disks: here among
# ourselves and with streams written by hand; rbd.sh has the real ones.
. "$SRC/tests/sh/lib.sh"
cd "$dir" || exit 1

truncate -s 5M disk.raw
serve --format=raw disk=disk.raw
uri="nbd+unix:///disk?socket=$dir/s"
command -v qemu-io >/dev/null || {
	echo "skip: there is no qemu-io"
	exit 77
}
write() {
	local args=() at n byte
	for word in "$@"; do
		IFS=: read -r at n byte <<<"$word"
		[ "$byte" = 0 ] && args+=(-c "write -z $at $n") ||
			args+=(-c "write -P $byte $at $n")
	done
	qemu-io -f raw "$uri" "${args[@]}" >out 2>&1 &&
		! grep -qi "failed\|error" out || fail "qemu-io: $(cat out)"
}
write 0:100000:1 1000000:70000:2 3000000:1000000:3
"$TIDEMARK" backup "$uri" dest --quiet >out 2>err
grep -q "without libnbd" err && {
	echo "skip: built without libnbd"
	exit 77
}
cp disk.raw 1.raw
write 50000:10:4 3100000:500000:0 4900000:1000:5
"$TIDEMARK" backup "$uri" dest --quiet >out || fail "backup"
cp disk.raw 2.raw
# Shorter, and longer again: what was behind the end is gone.
"$TIDEMARK" ctl --control=c resize disk=disk size_bytes=3500000 shrink=true \
	>out 2>err || fail "$(cat err)"
"$TIDEMARK" backup "$uri" dest --quiet >out || fail "backup"
"$TIDEMARK" ctl --control=c resize disk=disk size_bytes=6000000 \
	>out 2>err || fail "$(cat err)"
write 5900000:1000:6
"$TIDEMARK" backup "$uri" dest --quiet >out || fail "backup"
cp disk.raw 4.raw
finish_server

out() {
	"$TIDEMARK" backup export-diff dest --quiet "$@" || fail "export $*"
}
out --point=1 --to=1.diff
out --from=1 --point=2 --to=1-2.diff
out --from=2 --point=4 --to=- >2-4.diff
out --from=1 --point=4 --to=1-4.diff
out --point=4 --to=4.diff
[ "$(stat -c %s 1-2.diff)" -lt 900000 ] || fail "1-2.diff has too much"
import() {
	local to=$1
	shift
	"$TIDEMARK" backup import-diff --quiet --to="$to" "$@" >out 2>err
}
import a 1.diff && cmp a 1.raw || fail "1: $(cat err)"
import b 1.diff 1-2.diff && cmp b 2.raw || fail "1, 2: $(cat err)"
import c1 1.diff 1-2.diff 2-4.diff && cmp c1 4.raw || fail "1, 2, 4: $(cat err)"
import d 1.diff 1-4.diff && cmp d 4.raw || fail "1, 4: $(cat err)"
import e - <4.diff && cmp e 4.raw || fail "4: $(cat err)"
import f.qcow2 --format=qcow2 1.diff 1-4.diff || fail "$(cat err)"
"$TIDEMARK" qcow2 check f.qcow2 >out || fail "check: $(cat out)"
if command -v qemu-img >/dev/null; then
	qemu-img compare -q -f raw -F qcow2 4.raw f.qcow2 || fail "f.qcow2"
fi
echo "ok - points become streams, and streams disks"

refused() {
	local text=$1 code=$2
	shift 2
	"$TIDEMARK" backup "$@" >out 2>err
	[ $? = "$code" ] || fail "$*: $(cat err)"
	grep -q -- "$text" err || fail "$*: $(cat err)"
	[ ! -e new ] || fail "$*: something is there"
}
refused "what changed since 'point-1'" 1 import-diff --to=new 1-2.diff
refused "begins at 'point-2'" 1 import-diff --to=new 1.diff 2-4.diff
refused "begins at ''" 1 import-diff --to=new 1.diff 1.diff
refused "there already" 1 import-diff --to=a 1.diff
refused "nowhere.diff: No such file" 1 import-diff --to=new nowhere.diff
refused "does not stand on" 1 export-diff dest --from=2 --point=1 --to=new
refused "does not stand on" 1 export-diff dest --from=2 --point=2 --to=new
refused "no such point" 1 export-diff dest --from=9 --to=new
refused "names the point of --from" 2 export-diff dest --from-snap=x --to=new
refused "Give FOLDER" 2 export-diff dest
refused "Give STREAM" 2 import-diff --to=new
refused "raw or qcow2" 2 import-diff --format=vmdk --to=new 1.diff

python3 - <<'P'
from struct import pack
def v1(tag, *numbers, data=b""):
    return tag + b"".join(pack("<Q", n) for n in numbers) + data
def v2(tag, body):
    return tag + pack("<Q", len(body)) + body
def snap(tag, name):
    return tag + pack("<I", len(name)) + name
size, end = v1(b"s", 8192), b"e"
put = lambda name, *parts: open(name + ".bad", "wb").write(b"".join(parts))
one, two = b"rbd diff v1\n", b"rbd diff v2\n"
put("magic", b"rbd diff v3\n", size, end)
put("empty")
put("short", one, size, v1(b"w", 0, 100, data=b"x" * 99))
put("noend", one, size)
put("nosize", one, end)
put("outside", one, size, v1(b"w", 8000, 200, data=b"x" * 200), end)
put("wraps", one, size, v1(b"z", 2**64 - 1, 2), end)
put("unknown", one, size, b"q", end)
put("name", one, b"t" + pack("<I", 2**32 - 1), size, end)
put("late", one, size, v1(b"z", 0, 1), snap(b"t", b"x"), end)
put("length", two, v2(b"s", pack("<Q", 8192)),
    b"w" + pack("<QQQ", 17, 0, 100) + b"x" * 100, end)
put("skips", two, v2(b"s", pack("<Q", 8192)), b"?" + pack("<Q", 2**62), end)
open("v2.diff", "wb").write(two + v2(b"t", pack("<I", 1) + b"x") +
    v2(b"s", pack("<Q", 8192)) + v2(b"?", b"whatever") + b"p" + pack("<Q", 8) + b"\0" +
    v2(b"w", pack("<QQ", 10, 5) + b"hello") + v2(b"!", b"") +
    v2(b"z", pack("<QQ", 12, 1)) + end)
open("v2.raw", "wb").write((b"\0" * 10 + b"he\0lo").ljust(8192, b"\0"))
P
import g v2.diff && cmp g v2.raw || fail "version 2: $(cat err)"
said() {
	refused "$2" 3 import-diff --to=new --quiet "$1.bad"
}
said magic "not a stream of rbd"
said empty "ends in the middle"
said short "at byte 38: the stream ends"
said noend "ends in the middle"
said nosize "how large"
said outside "outside of the image"
said wraps "outside of the image"
said unknown "unknown kind"
said name "no snapshot has a name"
said late "none of its kind"
said length "not that of its data"
said skips "ends in the middle"
echo "ok - damaged streams are named, and nothing is made of them"
