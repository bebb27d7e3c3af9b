#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Repair where one damaged field puts everything in doubt: nothing is freed, or
# the field is put right by proof. And where the file cannot be made longer:
# refcounts are built anew in free clusters.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
cd "$dir" || exit 1

poke() { # FILE OFFSET HEXBYTES
	python3 - "$@" <<'P'
import sys
with open(sys.argv[1], 'r+b') as f:
    f.seek(int(sys.argv[2])); f.write(bytes.fromhex(sys.argv[3]))
P
}
reads() { # FILE PATTERN RANGE
	qemu-io -f qcow2 -r -c "read -P $2 $3" "$1" | grep -q '^read' &&
		! qemu-io -f qcow2 -r -c "read -P $2 $3" "$1" | grep -q 'Pattern verification failed'
}

# --- the bit "external data file" on an image that names none ---
qemu-img create -q -f qcow2 a.q 64M
qemu-io -f qcow2 -c 'write -P 7 0 256k' a.q >/dev/null
cp a.q good.q
poke a.q 79 04
"$TIDEMARK" qcow2 check a.q >out && fail "check finds nothing wrong"
grep -q 'none is named' out || fail "check does not say what is wrong: $(cat out)"
cp a.q before.q
"$TIDEMARK" qcow2 repair a.q >out && fail "repair is content"
grep -q 'nothing is freed' out || fail "repair does not say why: $(cat out)"
cmp -s a.q before.q || fail "repair wrote in doubt"
"$TIDEMARK" qcow2 repair --accept-loss a.q >out || fail "accept-loss: $(cat out)"
cmp -s a.q good.q || fail "accept-loss did not put back the one bit"
# The other reading does not fit either: then nothing is touched at all.
cp good.q a.q
poke a.q 79 04
poke a.q 131082 0003
cp a.q before.q
"$TIDEMARK" qcow2 repair --accept-loss a.q >out && fail "repair is sure of a riddle"
cmp -s a.q before.q || fail "something was given up in doubt: $(cat out)"
echo "ok - a data file that is not named: nothing is freed"

# --- a count of snapshots that is too small ---
qemu-img create -q -f qcow2 s.q 16M
for n in 7 8; do
	qemu-io -f qcow2 -c "write -P $n 0 1M" s.q >/dev/null
	qemu-img snapshot -c "s$n" s.q
done
qemu-io -f qcow2 -c 'write -P 9 0 1M' s.q >/dev/null
cp s.q good.q
for n in 0 1; do
	cp good.q s.q
	poke s.q 60 0000000$n
	"$TIDEMARK" qcow2 repair s.q >out || fail "$n of 2 snapshots: $(cat out)"
	cmp -s s.q good.q || fail "$n of 2 snapshots: not put right"
done
# With another fault beside it no reading fits: leaks stay leaks.
cp good.q s.q
poke s.q 60 00000000
poke s.q 65536 0000000000000000
leaks() { "$TIDEMARK" qcow2 check "$1" | tail -1 | cut -d, -f2; }
"$TIDEMARK" qcow2 repair s.q >out
grep -q 'kept: the snapshot table goes on\|kept:' out || fail "not in doubt: $(cat out)"
poke s.q 60 00000002
qemu-img snapshot -l s.q | grep -q s7 || fail "the table is gone"
echo "ok - snapshots that the header forgot"

# --- no longer file ---
lose_table() { # IMAGE: its refcount table's only entry
	python3 - "$1" <<'P'
import os, sys
f = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(f, bytes(8), int.from_bytes(os.pread(f, 8, 48), 'big'))
P
}
try_rebuild() { # IMAGE
	qemu-img create -q -f qcow2 -o cluster_size=4k "$1" 64M
	qemu-io -f qcow2 -c 'write -P 7 0 20M' "$1" >/dev/null
}
judge() { # IMAGE WHAT
	"$TIDEMARK" qcow2 repair "$1" >out 2>err || fail "$2: $(tail -2 out err)"
	qemu-img check -q -f qcow2 "$1" || fail "$2: the reference tool is not content"
	reads "$1" 7 '0 20M' || fail "$2: the data is another"
}
truncate -s 24M device
if loop=$(losetup -f --show device 2>/dev/null); then
	trap 'losetup -d "$loop"; finish' EXIT
	try_rebuild "$loop"
	lose_table "$loop"
	judge "$loop" "a block device"
	echo "ok - refcounts rebuilt on a block device"
else
	echo "ok - refcounts rebuilt on a block device # SKIP no loop device"
fi
mkdir full
if mount -t tmpfs -o size=28M none full 2>/dev/null; then
	trap 'umount full; [ -n "$loop" ] && losetup -d "$loop"; finish' EXIT
	try_rebuild full/x.q
	# Free clusters inside, and not a byte outside.
	qemu-io -f qcow2 -c 'discard 16M 2M' full/x.q >/dev/null
	qemu-io -f qcow2 -c 'write -P 7 16M 1M' full/x.q >/dev/null
	cp --sparse=never full/x.q y.q
	cat y.q >full/x.q
	cat /dev/zero >full/rest 2>/dev/null
	lose_table full/x.q
	"$TIDEMARK" qcow2 repair full/x.q >out 2>err || fail "a full file system: $(tail -2 out err)"
	qemu-img check -q -f qcow2 full/x.q || fail "a full file system: not clean"
	reads full/x.q 7 '0 16M' || fail "a full file system: the data is another"
	echo "ok - refcounts rebuilt on a full file system"
else
	echo "ok - refcounts rebuilt on a full file system # SKIP cannot mount"
fi
