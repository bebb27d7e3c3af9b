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

# --- two claims on one cluster: what can be read is not given up ---
kept() { # WHAT PATTERN RANGE: as it was before, after --accept-loss
	reads a.q "$2" "$3" || fail "$1: could not be read before: $(cat rd.out)"
	[ "$(ours a.q)" = 2 ] || fail "$1: is not seen"
	cp a.q b.q
	"$TIDEMARK" qcow2 repair b.q >r.out
	reads b.q "$2" "$3" || fail "$1: lost by plain repair: $(cat r.out)"
	mended "$1" --accept-loss
	reads a.q "$2" "$3" || fail "$1: lost: $(cat r.out rd.out)"
}
eight() {
	fresh 1G
	for i in 0 64 128 192 256 320 384 448; do io -c "write -P 7 ${i}M 64k" a.q; done
	io -c 'write -P 9 512M 64k' a.q
}
for at in 0 64M 448M; do
	eight
	echo 'p(g(l1 + 8) & M, 1 << 63 | l2)' | edit a.q
	kept "an L2 entry that names an L2 table" 7 "$at 64k"
done
# The reverse: an L1 entry that names guest data, here of an empty range.
for what in 'g(l2) & M' 'rt' 'g(rt)' l1; do
	eight
	io -c 'write -P 9 300M 128k' a.q
	echo "p(l1 + 8, 1 << 63 | ($what) & M)" | edit a.q
	kept "an L1 entry that names $what" 7 '0 64k'
	# A refcount table may be read as a table of the guest, and is rebuilt.
	[ "$what" = rt ] || grep -q '^loss *guest offsets 536870912 to 1073741824:' r.out ||
		fail "L1 entry names $what: the loss is not said: $(cat r.out)"
done
for what in 'g(l2) & M' l2 l1 rt; do
	fresh 64M
	io -c 'write -P 5 0 128k' a.q
	qemu-img snapshot -c s a.q
	io -c 'write -P 6 0 128k' a.q
	echo "p(snap, $what)" | edit a.q
	kept "a snapshot's L1 table at $what" 6 '0 64k'
done
fresh 64M
io -c 'write -P 1 0 512' a.q
qemu-img snapshot -c foo a.q
io -c 'write -P 2 0 512' a.q
echo 'p(l2 + 8, 1 << 63 | g(g(snap)) & M)' | edit a.q
kept "an L2 entry that names the L2 table of a snapshot" 2 '0 512'
qemu-img snapshot -a foo a.q
reads a.q 1 '0 512' || fail "the snapshot's data is lost: $(cat rd.out)"
# Compressed data that claim more than they need.
fresh 8M cluster_size=2M
io -c 'write -c -P 0x11 0 2M' -c 'write -c -P 0x11 2M 2M' a.q
echo 'for i in 0, 1: p(l2 + 8 * i, g(l2 + 8 * i) | 0x7fe0000000000000)' | edit a.q
cp a.q c.q
kept "compressed data past the end" 0x11 '0 4M'
cp c.q a.q
io -c 'write -P 0x22 4M 4M' a.q
kept "compressed data, written behind" 0x11 '0 4M'
reads a.q 0x22 '4M 4M' || fail "what was written behind: $(cat rd.out)"
# A compressed cluster whose bytes an L2 table claims, too.
fresh 1G
io -c 'write -c -P 0x11 0 64k' -c 'write -P 9 600M 64k' a.q
echo 'b = 54; e = g(l2); t = g(l1 + 8) & M; p(l2, e & ~(255 << b) & ~((1 << b) - 1) | t - 512 | 255 << b); d[t - 512:t] = d[t - 512:t]' | edit a.q
"$TIDEMARK" qcow2 repair --accept-loss a.q >r.out
reads a.q 9 '600M 64k' || fail "an L2 table below compressed data: $(cat r.out)"
[ "$(theirs a.q)" = 0 ] || fail "an L2 table below compressed data: $(cat q.out r.out)"
echo "ok - two claims on one cluster"

# --- entries that are wrong, and yet can be read: mended without a question ---
readable() { # WHAT PATTERN RANGE
	reads a.q "$2" "$3" || fail "$1: could not be read before: $(cat rd.out)"
	[ "$(ours a.q)" = 2 ] || fail "$1: is not seen: $(cat t.out)"
	mended "$1"
	reads a.q "$2" "$3" || fail "$1: lost: $(cat r.out rd.out)"
}
for bit in 'l2,56' 'l2,61' 'l2,1' 'l2,8' 'l1,56' 'l1,62' 'l1,0' 'l1,8'; do
	fresh 64M
	io -c 'write -P 7 0 128k' a.q
	echo "p(${bit%,*}, g(${bit%,*}) ^ 1 << ${bit#*,})" | edit a.q
	readable "reserved bit $bit" 7 '0 128k'
done
fresh 64M
io -c 'write -c -P 7 0 128k' a.q
echo 'p(l2, g(l2) | 1 << 63)' | edit a.q
readable "compressed data with COPIED" 7 '0 128k'
fresh 64M extended_l2=on
io -c 'write -c -P 7 0 128k' a.q
echo 'p(l2 + 8, 5)' | edit a.q
readable "compressed data with subclusters" 7 '0 128k'
fresh 64M extended_l2=on
io -c 'write -P 7 0 128k' a.q
echo 'p(l2 + 8, g(l2 + 8) | 1 << 40)' | edit a.q
mended "a subcluster with both bits" --accept-loss
reads a.q 7 '0 128k' || fail "a subcluster with both bits: $(cat rd.out)"
echo "ok - entries that can be read"

# --- what has to go is said in guest offsets, and first ---
fresh 64M
io -c 'write -P 7 0 1M' a.q
echo 'p(l2 + 8, g(l2 + 8) ^ 512); p(l2 + 16, g(l2 + 16) ^ 512); p(l2 + 40, 1 << 63 | 1 << 50)' | edit a.q
cp a.q b.q
"$TIDEMARK" qcow2 repair --accept-loss --json b.q >r.out || fail "$(cat r.out)"
python3 - <<'P' || fail "losses: $(cat r.out)"
import json
o = json.load(open('r.out'))
got = [(x['offset'], x['length'], x['active']) for x in o['losses']]
assert got == [(65536, 131072, True), (5 * 65536, 65536, True)], got
assert list(o).index('losses') < list(o).index('done')
P
mended "losses" --accept-loss
[ "$(grep -c ^loss r.out)" = 2 ] && head -1 r.out | grep -q '^loss' || fail "losses: $(cat r.out)"
"$TIDEMARK" qcow2 repair --accept-loss --json a.q >r.out
python3 -c 'import json; assert json.load(open("r.out"))["losses"] == []' || fail "no losses"
echo "ok - what goes is said"

# --- what the reference tool does not open, or opens in spite of it ---
fresh 1M
echo 'p(88, 2)' | edit a.q
[ "$(ours a.q)" = 2 ] || fail "a raw data file, but none: $(cat t.out)"
mended "a raw data file, but none"
fresh 0
echo 'p(40, 0xfffffffe); p(36, 0, 4)' | edit a.q
[ "$(ours a.q)" = 1 ] || fail "an unaligned L1 table of no entries: $(cat t.out)"
fresh 64M
echo "d[112:116] = bytes.fromhex('12345678'); p(116, 0x7fffffff, 4); p(8, 0x74)" | edit a.q
[ "$(ours a.q)" = 1 ] || fail "an extension that is cut: $(cat t.out)"
for at in 0x10 0x70; do
	fresh 64M
	echo "p(8, $at)" | edit a.q
	[ "$(ours a.q)" = 0 ] || fail "a backing name of no bytes at $at: $(cat t.out)"
done
echo "ok - headers at their edge"

# --- guard refuses what the driver refuses ---
printf '0,write,65536,512\n' >trace
fresh 64M
io -c 'write -P 7 0 128k' a.q
for bend in 'p(l2 + 8, g(l2 + 8) ^ 512)' 'p(l2 + 8, g(l2 + 8) | 1 << 58)' 'p(l1, g(l2))'; do
	cp a.q c.q
	echo "$bend" | edit c.q
	"$TIDEMARK" qcow2 guard c.q trace >g.out 2>&1
	[ $? = 2 ] || fail "guard is content with $bend: $(cat g.out)"
done
rm -f a.q
qemu-img create -q -f qcow2 -o data_file=d.raw a.q 1M
io -c 'write -P 7 0 256k' a.q
"$TIDEMARK" qcow2 guard a.q trace >g.out || fail "guard beside a data file: $(cat g.out)"
echo 'p(l2 + 8, g(l2 + 8) ^ 0x4000)' | edit a.q
"$TIDEMARK" qcow2 guard a.q trace >g.out && fail "guard: unaligned in a data file: $(cat g.out)"
[ "$(ours a.q)" = 2 ] || fail "unaligned in a data file: $(cat t.out)"
echo "ok - guard"
