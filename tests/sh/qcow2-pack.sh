#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Compressed clusters that the driver writes, by several threads and among plain
# writes: the image is clean and equal for its own check and for qemu-img, and
# stays so when a guest then writes all over it.
. "$SRC/tests/sh/lib.sh"

tool=$BUILD/tests/support/disk-tool
cd "$dir" || exit 1

# Text, zeroes and noise, and an end inside of a cluster.
python3 - <<'P'
import random
r = random.Random(7)
with open("raw", "wb") as f:
    for i in range(400):
        kind = r.randrange(4)
        if kind == 0:
            f.write(bytes(16384))
        elif kind == 1:
            f.write(r.randbytes(16384))
        else:
            f.write((b"%d the quick brown fox " % (i // 3) * 2000)[:16384])
    f.write(b"end!" * 128)
P
size=$(stat -c %s raw)

agree() {	# what
	"$TIDEMARK" qcow2 check i.qcow2 >out 2>&1 || fail "$1: $(cat out)"
	"$tool" read i.qcow2 back 2>err || fail "$1: $(cat err)"
	cmp -s back raw || fail "$1: our reader finds something else"
	command -v qemu-img >/dev/null || return 0
	qemu-img check -q i.qcow2 >out 2>&1 || fail "$1, qemu-img: $(cat out)"
	qemu-img compare -q i.qcow2 -f qcow2 -F raw raw >out 2>&1 ||
		fail "$1, qemu-img compare: $(cat out)"
}

cp raw whole
# With counts of one bit no two streams share a cluster.
for o in "" --zstd "--zstd --cluster-size=4K" "--cluster-size=2M" \
	"--cluster-size=512" "--zstd --extended-l2" "--refcount-bits=2" \
	"--refcount-bits=1" "--version=2"; do
	rm -f i.qcow2
	cp whole raw
	# shellcheck disable=SC2086
	"$TIDEMARK" qcow2 create i.qcow2 "$size" $o || fail "create $o"
	"$tool" pack i.qcow2 raw 2>err || fail "pack $o: $(cat err)"
	agree "packed $o"
	"$tool" scribble i.qcow2 raw 11 2>err || fail "scribble $o: $(cat err)"
	agree "scribbled $o"
	"$tool" pack i.qcow2 raw 2>err || fail "pack again $o: $(cat err)"
	agree "packed again $o"
done
"$TIDEMARK" qcow2 create small.qcow2 "$size" --zstd
cp whole raw
"$tool" pack small.qcow2 raw || fail "pack"
got=$(stat -c %b small.qcow2)
[ $((got * 512)) -lt $((size / 2)) ] ||
	fail "$((got * 512)) bytes for $size: nothing was compressed"
command -v qemu-img >/dev/null || echo "without qemu-img: not compared with it"
exit 0
