#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Names in a header that lead back to the image: check and info say so (that the
# driver opens none of them is in qcow2_open_test). And an L1 table that the file
# does not hold: what there is of it is checked, a field that is proven wrong is
# put right, and nothing else is given up unasked.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
cd "$dir" || exit 1

# named FILE OPTIONS...: an image that names a file which is not there yet
named() {
	local to=$1
	shift
	qemu-img create -q -f qcow2 -u "$@" new.q 1M && mv new.q "$to" || fail "create $to"
}
# says FILE KEY TEXT: both verbs
says() {
	timeout 60 "$TIDEMARK" qcow2 check "$1" >out 2>err
	[ $? = 2 ] || fail "check of $1 ends otherwise: $(cat out err)"
	grep -q "reference $3" out || fail "check of $1: $(cat out)"
	timeout 60 "$TIDEMARK" qcow2 info "$1" >out 2>err || fail "info of $1: $(cat err)"
	grep -q "^$2: $3" out || fail "info of $1: $(cat out)"
	timeout 60 "$TIDEMARK" qcow2 info --json "$1" >out || fail "info --json of $1"
	[ "$(field out "$2")" ] || fail "info --json of $1: $(cat out)"
	return 0
}
named self.q -b self.q -F qcow2
says self.q backing_file_fault 'its backing file is the image itself'
named raw.q -b raw.q -F raw
says raw.q backing_file_fault 'its backing file is the image itself'
named link.q -b linked.q -F qcow2
ln link.q linked.q
says link.q backing_file_fault 'its backing file is the image itself'
named two.q -b three.q -F qcow2
named three.q -b two.q -F qcow2
named one.q -b two.q -F qcow2
says two.q backing_file_fault 'the files below it lead in a circle'
says one.q backing_file_fault 'the files below it lead in a circle'
qemu-img create -q -f qcow2 -o data_file=datX.q new.q 1M
rm datX.q
sed -i 's/datX\.q/data.q/' new.q
mv new.q data.q
says data.q data_file_fault 'its data file is the image itself'
qemu-img create -q -f qcow2 -o data_file=both -u -b both -F raw both.q 1M || fail "create both.q"
says both.q backing_file_fault 'its backing file is its data file'
# What is good, or not there, is not spoken of.
named far.q -b gone.q -F qcow2
named high.q -b far.q -F qcow2
for f in far.q high.q; do
	"$TIDEMARK" qcow2 check $f >out || fail "check of $f: $(cat out)"
	"$TIDEMARK" qcow2 info $f | grep -q fault && fail "info of $f knows too much"
done
mkfifo pipe
named pipe.q -b pipe -F qcow2
timeout 20 "$TIDEMARK" qcow2 check pipe.q >out || fail "a pipe below is waited for: $(cat out)"
echo "ok - names that lead back are said, and not followed"

# --- an L1 table that the file does not hold ---
put() { # FILE OFFSET VALUE BYTES
	python3 - "$@" <<'P'
import sys
name, at, value, n = sys.argv[1], *(int(a, 0) for a in sys.argv[2:])
with open(name, 'r+b') as f:
    f.seek(at); f.write(value.to_bytes(n, 'big'))
P
}
reads() { # FILE PATTERN RANGE
	qemu-io -f qcow2 -r -c "read -P $2 $3" "$1" >rd.out 2>&1
	grep -q '^read' rd.out && ! grep -q 'verification failed' rd.out
}
l1=$((3 * 65536))
qemu-img create -q -f qcow2 good.q 4G
qemu-io -f qcow2 -c 'write -P 7 0 256k' -c 'write -P 8 3G 64k' good.q >/dev/null
# One bit of its length or of its place: every count proves the other value.
for bend in "36 0x80000008 4" "36 0x100008 4" "40 $((l1 | 1 << 40)) 8" "40 $((l1 | 1 << 30)) 8"; do
	cp good.q a.q
	# shellcheck disable=SC2086
	put a.q $bend
	"$TIDEMARK" qcow2 check a.q >out 2>err
	rc=$?
	case $bend in
	*80000008*) # longer than any may be: the header is refused
		[ $rc = 1 ] || fail "an L1 table of 2^31 entries: $rc"
		continue
		;;
	esac
	[ $rc = 2 ] && grep -q 'L1 table.*past the end' out || fail "$bend: $rc: $(cat out err)"
	"$TIDEMARK" qcow2 map --guest a.q >out || fail "map of $bend"
	"$TIDEMARK" qcow2 repair a.q >out 2>err || fail "repair of $bend: $(cat out err)"
	cmp -s a.q good.q || fail "$bend: not put right: $(cat out)"
done
# The file ends within the table: what is there can be read all the same.
table() { # IMAGE: with its L1 table as the last thing of the file, cut after 4
	python3 - "$1" <<'P'
import sys
with open(sys.argv[1], 'r+b') as f:
    d = f.read(); l1 = int.from_bytes(d[40:48], 'big'); end = len(d)
    rb = 2 * 65536 # the first refcount block
    t = d[l1:l1 + 64]; f.seek(end); f.write(t[:32])
    f.seek(40); f.write(end.to_bytes(8, 'big'))
    for c, n in (l1 // 65536, 0), (end // 65536, 1):
        f.seek(rb + 2 * c); f.write(n.to_bytes(2, 'big'))
P
}
cp good.q a.q
table a.q
"$TIDEMARK" qcow2 check a.q >out && fail "a table that is cut is fine"
grep -q 'ends past the end' out || fail "a table that is cut: $(cat out)"
"$TIDEMARK" qcow2 map --guest a.q >out || fail "map of a table that is cut"
grep -q 'damaged' out || fail "map hides what is missed: $(cat out)"
cp a.q b.q
"$TIDEMARK" qcow2 repair b.q >out && fail "repair gives it up unasked"
grep -q 'kept: of 8 entries of the L1 table 4 can be its own' out || fail "repair: $(cat out)"
"$TIDEMARK" qcow2 repair --accept-loss a.q >out || fail "accept-loss: $(cat out)"
grep -q 'loss *guest offsets 2147483648 to 4294967296' out || fail "the loss is not listed: $(cat out)"
qemu-img check -q -f qcow2 a.q || fail "the reference tool is not content"
reads a.q 7 '0 256k' || fail "what could be read is gone: $(cat rd.out)"
# Longer than the disk needs, over all that comes behind it or even the file's
# end; another fault beside it, so that no count proves anything.
for entries in 0x80000 0x3000 0x8000; do
	cp good.q a.q
	put a.q 36 $entries 4
	put a.q $((l1 + 8)) 0x7f00000000000200 8
	"$TIDEMARK" qcow2 repair a.q >out && fail "$entries entries: repaired unasked: $(cat out)"
	reads a.q 7 '0 256k' || fail "$entries entries: repair lost something: $(cat rd.out)"
	"$TIDEMARK" qcow2 repair --accept-loss a.q >out || fail "$entries entries: $(cat out)"
	grep -q 'of which the disk needs 8' out || fail "$entries entries: $(cat out)"
	qemu-img check -q -f qcow2 a.q || fail "$entries entries: the reference tool is not content"
	reads a.q 7 '0 256k' && reads a.q 8 '3G 64k' || fail "$entries entries: data is lost: $(cat out rd.out)"
done
# Nothing of it is there, and nothing proves another place.
cp good.q a.q
put a.q 40 $((5 << 40)) 8
put a.q $l1 0 8
"$TIDEMARK" qcow2 check a.q >out && fail "a table far away is fine"
cp a.q b.q
"$TIDEMARK" qcow2 repair b.q >out && fail "repair gives all up unasked"
cmp -s a.q b.q || fail "repair wrote in doubt"
"$TIDEMARK" qcow2 repair --accept-loss a.q >out || fail "accept-loss: $(cat out)"
grep -q 'loss *guest offsets 0 to 4294967296' out || fail "the loss is not listed: $(cat out)"
qemu-img check -q -f qcow2 a.q || fail "the reference tool is not content"
echo "ok - an L1 table past the end: checked, proven, or given up when asked"
