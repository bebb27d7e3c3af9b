#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Images that were made to keep a reader busy or to eat its memory: sparse files
# of terabytes with as many tables as fit, each of a few megabytes on disk.
# Every verb ends within seconds of the processor's time and a quarter of a
# gigabyte.
. "${SRC:?}/tests/sh/lib.sh"

cat >"$dir/make.py" <<'P'
import struct, sys
out, what = sys.argv[1:]
TIB = 1 << 40


def header(f, bits, size, l1, l1_at, ref_at, ref_clusters, snaps=0, snaps_at=0, order=4):
    f.seek(0)
    f.write(struct.pack(">IIQIIQIIQQIIQQQQII", 0x514649fb, 3, 0, 0, bits, size, 0, l1, l1_at,
                        ref_at, ref_clusters, snaps, snaps_at, 0, 0, 0, order, 104))


with open(out, "wb") as f:
    if what == "l2-everywhere":  # 2^18 L2 tables of 2 MiB, all holes
        bits, c = 21, 1 << 21
        f.truncate(8 * TIB)
        header(f, bits, 1 << 57, 1 << 18, 16 * c, c, 1)
        f.seek(16 * c)
        f.write(b"".join(struct.pack(">Q", (64 + i) * c) for i in range(1 << 18)))
    elif what == "small-clusters":  # 2^34 clusters of 512 bytes
        f.truncate(8 * TIB)
        header(f, 9, 1 << 20, 64, 1024, 512, 1)
        f.seek(1024)
        f.write(struct.pack(">64Q", *[(100 + i) * 512 for i in range(64)]))
    elif what == "snapshots":  # 16384 of them, each with 32 MiB of L1 table
        c = 65536
        f.truncate(8 * TIB)
        header(f, 16, 1 << 20, 1, 5 * c, c, 1, 16384, 64 * c)
        f.seek(64 * c)
        for i in range(16384):
            at = (1 << 32) + i * (32 << 20)
            f.write(struct.pack(">QIHHIIQII16s", at, 4 << 20, 4, 4, 0, 0, 0, 0, 16, b"") + b"%04x%04x" % (i, i))
    elif what == "one-l1":  # 65536 snapshots with the same L1 table, full of one L2
        c = 65536
        f.truncate(1 << 28)
        header(f, 16, 1 << 20, 1, 5 * c, c, 1, 65536, 64 * c)
        f.seek(64 * c)
        for i in range(65536):
            f.write(struct.pack(">QIHHIIQII16s", 1 << 27, 1 << 17, 4, 4, 0, 0, 0, 0, 16, b"") + b"%04x%04x" % (i, i))
        f.seek(1 << 27)
        f.write(struct.pack(">Q", 7 * c) * (1 << 17))
    elif what == "refblocks":  # a full refcount table, all blocks in holes
        bits, c = 16, 65536
        f.truncate(8 * TIB)
        header(f, bits, 1 << 20, 1, 5 * c, 256 * c, 128)
        f.seek(256 * c)
        f.write(b"".join(struct.pack(">Q", (1024 + i) * c) for i in range(1 << 20)))
    elif what.startswith("one-block"):  # every entry names one full block of bits
        bits, size, clusters = (21, 8 << 20, 1) if what == "one-block" else (12, 8 * TIB, 2048)
        c = 1 << bits
        f.truncate(size)
        header(f, bits, 1 << 20, 1, 16 << 20 if clusters > 1 else 3 * c, c, clusters, order=0)
        f.seek(c)
        f.write(struct.pack(">Q", (1 + clusters) * c) * (clusters * c // 8))
        f.write(b"\xff" * c)
    elif what.startswith("leaks"):  # 8192 counts of which every third is not zero
        order, c = int(what[5:]), 65536
        f.truncate(1 << 30)
        header(f, 16, 1 << 20, 1, 2 * c, c, 1, order=order)
        blocks = max(1, 16384 * (1 << order) // 8 // c)
        f.seek(c)
        f.write(struct.pack(f">{blocks}Q", *[(3 + i) * c for i in range(blocks)]))
        f.seek(3 * c)
        bits = "".join(format(1 << i % (1 << order) if i >= 8192 and not i % 3 else 0, f"0{1 << order}b")
                       for i in range(16384))
        step = 8 if order < 3 else len(bits)
        for at in range(0, len(bits), step):  # narrow counts fill a byte from its low end
            part = bits[at:at + step]
            if order < 3:
                part = "".join(part[k:k + (1 << order)] for k in range(8 - (1 << order), -1, -(1 << order)))
            f.write(int(part, 2).to_bytes(len(part) // 8, "big"))
P

# Of the processor: on a busy machine much more passes on the clock.
seconds=60
for what in l2-everywhere small-clusters snapshots one-l1 refblocks one-block one-block-4k; do
	rm -f "$dir/x.qcow2"
	python3 "$dir/make.py" "$dir/x.qcow2" $what 2>"$dir/err" || {
		grep -q "File too large" "$dir/err" && { echo "SKIP: no files of 8 TiB here"; exit 77; }
		fail "$what: $(cat "$dir/err")"
	}
	for verb in info "map --force --svg=$dir/p.svg" "map --guest" repair check; do
		start=$(date +%s%N)
		# shellcheck disable=SC2086
		(
			limit_memory 262144
			ulimit -t $seconds
			exec timeout 900 "$TIDEMARK" qcow2 $verb "$dir/x.qcow2"
		) >"$dir/out" 2>"$dir/err"
		code=$?
		ms=$((($(date +%s%N) - start) / 1000000))
		[ $code -le 3 ] || fail "$what: $verb: ended with $code after $ms ms: $(tail -3 "$dir/err")"
		[ $code != 1 ] || grep -q . "$dir/err" || fail "$what: $verb gives no reason"
		echo "ok - $what: $verb: $code, $ms ms"
	done
done

# Counts of clusters that nothing refers to are looked at 64 at a time: of each
# width, no leak is missed, and none is seen that is not there.
for order in 0 1 2 3 4 5 6; do
	rm -f "$dir/x.qcow2"
	python3 "$dir/make.py" "$dir/x.qcow2" leaks$order || fail "leaks$order"
	"$TIDEMARK" qcow2 check --json "$dir/x.qcow2" >"$dir/out"
	[ "$(field "$dir/out" leaks)" = 2731 ] ||
		fail "counts of $((1 << order)) bits: $(field "$dir/out" leaks) leaks, not 2731"
	if command -v qemu-img >/dev/null; then
		qemu-img check --output=json -f qcow2 "$dir/x.qcow2" >"$dir/out" 2>/dev/null
		[ "$(field "$dir/out" leaks)" = 2731 ] || fail "the reference tool counts otherwise"
	fi
	said=$("$TIDEMARK" qcow2 check "$dir/x.qcow2" | grep -c '^leak')
	[ "$said" = 200 ] || fail "$said leaks are said"
	echo "ok - counts of $((1 << order)) bits, every third not zero"
done
