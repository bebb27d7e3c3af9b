#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Images that were made to keep a reader busy or to eat its memory: sparse files
# of terabytes with as many tables as fit, each of a few megabytes on disk.
# Every verb ends within seconds and a quarter of a gigabyte.
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
P

seconds=20
for what in l2-everywhere small-clusters snapshots one-l1 refblocks; do
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
			exec timeout $seconds "$TIDEMARK" qcow2 $verb "$dir/x.qcow2"
		) >"$dir/out" 2>"$dir/err"
		code=$?
		ms=$((($(date +%s%N) - start) / 1000000))
		[ $code -le 3 ] || fail "$what: $verb: ended with $code after $ms ms: $(tail -3 "$dir/err")"
		[ $code != 1 ] || grep -q . "$dir/err" || fail "$what: $verb gives no reason"
		echo "ok - $what: $verb: $code, $ms ms"
	done
done
