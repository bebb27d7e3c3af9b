#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Single fields that are wrong, one by one: what check says of them beside the
# reference tool, what repair makes of them, and that everything that could be
# read still can.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
cd "$dir" || exit 1

# edit FILE: python on stdin with d (bytearray), g(offset, bytes), p(offset,
# value, bytes), and where things are: l1, l2, M (offset of an entry), snap
edit() {
	{
		cat <<P
d = bytearray(open('$1', 'rb').read())
def g(o, n=8): return int.from_bytes(d[o:o + n], 'big')
def p(o, v, n=8): d[o:o + n] = v.to_bytes(n, 'big')
M = 0xfffffffffffe00; l1 = g(40); l2 = g(l1) & M; snap = g(64); rt = g(48)
P
		cat
		echo "open('$1', 'wb').write(d)"
	} | python3 - || fail "edit"
}
fresh() { # SIZE [OPTIONS]
	rm -f a.q
	qemu-img create -q -f qcow2 ${2:+-o "$2"} a.q "$1" || fail "create"
}
io() { qemu-io -f qcow2 "$@" >/dev/null || fail "qemu-io $*"; }
reads() { # FILE PATTERN RANGE
	qemu-io -f qcow2 -r -c "read -P $2 $3" "$1" >rd.out 2>&1
	grep -q '^read' rd.out && ! grep -q 'verification failed' rd.out
}
theirs() { qemu-img check -f qcow2 "$1" >q.out 2>&1; echo $?; }
ours() { "$TIDEMARK" qcow2 check "$1" >t.out 2>&1; echo $?; }
# mended WHAT [OPTION]: repair ends clean, for the reference tool, too
mended() {
	"$TIDEMARK" qcow2 repair ${2:+"$2"} a.q >r.out 2>&1 || fail "$1: repair ended with $?: $(cat r.out)"
	[ "$(theirs a.q)" = 0 ] || fail "$1: the reference tool: $(cat q.out)"
}

# --- entries of the refcount table that mean nothing ---
for v in 0x100000 0x7fffffffffff0000 0xffffffffffff0000 0x1000000000 0x200 0x1 0x80 0x40000; do
	for option in "" --accept-loss; do
		fresh 64M
		io -c 'write -P 7 0 256k' a.q
		echo "p(rt + 8, $v)" | edit a.q
		[ "$(ours a.q)" = 2 ] || fail "refcount table entry $v is not seen"
		mended "refcount table entry $v" $option
		reads a.q 7 '0 256k' || fail "refcount table entry $v: $(cat rd.out)"
	done
done
# The one that counts the file: no in-place way.
fresh 64M
io -c 'write -P 7 0 256k' a.q
echo "p(rt, 0x123400)" | edit a.q
mended "the first entry"
reads a.q 7 '0 256k' || fail "the first entry: $(cat rd.out)"
echo "ok - entries of the refcount table"

# --- entries of the snapshot table, one field wrong in one of three ---
three() {
	fresh 64M "${1:-}"
	for n in 1 2 3; do
		io -c "write -P $n 0 128k" a.q
		qemu-img snapshot -c "name-$n" a.q
	done
	io -c 'write -P 9 0 64k' a.q
}
all_three() { # WHAT: three snapshots with their names, and what they hold
	qemu-img snapshot -l a.q | awk '/name-/ { print $1 $2 }' | tr '\n' ' ' >list
	[ "$(cat list)" = '1name-1 2name-2 3name-3 ' ] || fail "$1: the list is: $(cat list)"
	reads a.q 9 '0 64k' || fail "$1: the disk: $(cat rd.out)"
	for n in 1 2 3; do
		cp a.q s.q
		qemu-img snapshot -a "name-$n" s.q || fail "$1: snapshot $n"
		reads s.q $n '0 128k' || fail "$1: snapshot $n: $(cat rd.out)"
	done
}
cat >entry.py <<'P'
def entry(i):
    at = snap
    while i:
        at = (at + 40 + g(at + 36, 4) + g(at + 12, 2) + g(at + 14, 2) + 7) & ~7
        i -= 1
    return at
P
for which in 0 1 2; do
	for field in '12,g(e+12,2)^0x1000,2' '12,g(e+12,2)^0x20,2' '14,g(e+14,2)^0x100,2' \
		'14,0xffff,2' '36,g(e+36,4)^0x40000,4' '36,0xffffffff,4' '36,2000,4' \
		'12,0xffffffff,4' '8,0,4'; do
		three
		{ cat entry.py; echo "e = entry($which); p(e + $field)"; } | edit a.q
		what="entry $which: $field"
		# Behind the last one is nothing that could tell.
		[ "$which$field" = '212,g(e+12,2)^0x20,2' ] && continue
		[ "$(ours a.q)" = 2 ] || fail "$what is not seen: $(cat t.out)"
		mended "$what"
		all_three "$what"
	done
	# What is odd, and does no harm.
	for field in '12,0,2' '40+g(e+36,4),0,1'; do
		three
		{ cat entry.py; echo "e = entry($which); p(e + $field)"; } | edit a.q
		[ "$(ours a.q)$(theirs a.q)" = 00 ] || fail "entry $which: $field: $(cat t.out)"
		grep -q '^note.*snapshot' t.out || fail "entry $which: $field: nothing said"
	done
	# Its L1 table cannot be found: given up, but only it, and only if accepted.
	three
	{ cat entry.py; echo "e = entry($which); p(e, g(e) ^ 0x800)"; } | edit a.q
	"$TIDEMARK" qcow2 repair a.q >r.out && fail "an L1 table in nowhere: repaired"
	mended "an L1 table in nowhere" --accept-loss
	grep -q "name-$((which + 1)).*given up" r.out || fail "an L1 table in nowhere: $(cat r.out)"
	[ "$(qemu-img snapshot -l a.q | grep -c name-)" = 2 ] || fail "more than one is gone"
	reads a.q 9 '0 64k' || fail "an L1 table in nowhere: the disk"
done
# Version 3 wants 16 bytes of extra data.
three
python3 - <<'P' || fail "extra data"
d = bytearray(open('a.q', 'rb').read())
g = lambda o, n=8: int.from_bytes(d[o:o + n], 'big')
at, out = g(64), b''
for i in range(3):
    x, n = g(at + 36, 4), g(at + 12, 2) + g(at + 14, 2)
    entry = bytes(d[at:at + 40 + x + n])
    if i != 1:
        entry = entry[:36] + bytes(4) + entry[40 + x:]
    out += entry + bytes(-len(entry) % 8)
    at = (at + 40 + x + n + 7) & ~7
d[g(64):g(64) + 1024] = out + bytes(1024 - len(out))
open('a.q', 'wb').write(d)
P
[ "$(ours a.q)" = 2 ] || fail "missing extra data is not seen"
mended "missing extra data"
all_three "missing extra data"
echo "ok - entries of the snapshot table"
