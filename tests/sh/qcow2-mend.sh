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
