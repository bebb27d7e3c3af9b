#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# tidemark qcow2 create: what it makes is clean for its own check and for
# qemu-img, with every option; what the format forbids is refused.
. "$SRC/tests/sh/lib.sh"

cd "$dir" || exit 1
n=0
makes() {	# options...
	rm -f i.qcow2
	"$TIDEMARK" qcow2 create i.qcow2 "$@" || fail "create $*"
	"$TIDEMARK" qcow2 check i.qcow2 >out || fail "check after $*: $(cat out)"
	if command -v qemu-img >/dev/null; then
		qemu-img check -q i.qcow2 >out 2>&1 ||
			fail "qemu-img check after $*: $(cat out)"
	fi
	n=$((n + 1))
}
refuses() {	# what must be said; options...
	want=$1
	shift
	rm -f i.qcow2
	"$TIDEMARK" qcow2 create i.qcow2 "$@" 2>err && fail "accepted: $*"
	grep -q -- "$want" err || fail "$*: $(cat err)"
	[ ! -e i.qcow2 ] || fail "$*: a file was left"
}

makes 10G
makes 0
makes 1
makes 64T --cluster-size=2M
for c in 512 4K 64K 2M; do
	for r in 1 2 4 8 16 32 64; do
		makes 1G --cluster-size=$c --refcount-bits=$r
	done
done
makes 1G --version=2
makes 1G --extended-l2 --zstd --lazy-refcounts
truncate -s 5M base.raw
makes 10M --backing=base.raw --backing-format=raw
makes --backing=base.raw --backing-format=raw
"$TIDEMARK" qcow2 info --json i.qcow2 >info || fail info
grep -q 5242880 info || fail "the backing file's size was not taken"
mv i.qcow2 mid.qcow2
makes --backing=mid.qcow2 --backing-format=qcow2
makes 3M --data-file="$dir/data.raw"
[ "$(stat -c %s data.raw)" = 3145728 ] || fail "the data file's size"
# Relative to the image's folder; or, as the reference tool names it, to ours.
mkdir sub
"$TIDEMARK" qcow2 create sub/own.qcow2 3M --data-file=beside.raw || fail own
[ -f sub/beside.raw ] || fail "the data file is not beside the image"
if command -v qemu-img >/dev/null; then
	truncate -s 3M copy
	qemu-img create -q -f qcow2 -o data_file=here.raw sub/theirs.qcow2 3M ||
		fail "qemu-img create"
	"$BUILD/tests/support/disk-tool" scribble sub/theirs.qcow2 copy 5 ||
		fail "a data file named from the working directory"
	qemu-img compare -q -F raw sub/theirs.qcow2 copy ||
		fail "it differs for the reference tool"
fi
refuses 'power of two' 1G --cluster-size=3000
refuses 'refcounts' 1G --refcount-bits=3
refuses 'version 2 has no' 1G --version=2 --refcount-bits=8
makes 1G --version=2 --refcount-bits=16
refuses 'version' 1G --version=4
refuses '16 KiB' 1G --cluster-size=4K --extended-l2
refuses 'no size' 1Q
refuses 'size is needed'
refuses 'backing-format' 1G --backing=base.raw
refuses '32 MiB' 64T --cluster-size=512
touch there
"$TIDEMARK" qcow2 create there 1G 2>err && fail "a file was overwritten"
grep -qi 'there is there already' err || fail "$(cat err)"
echo "$n images"
