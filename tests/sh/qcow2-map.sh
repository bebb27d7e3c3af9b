#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# qcow2 map: the runs cover the file without gaps and know its sections; the
# map of the guest's disk says what the reference tool's map says; the picture
# is a picture.
. "${SRC:?}/tests/sh/lib.sh"

command -v zstd >/dev/null || { echo "SKIP: no zstd"; exit 77; }
command -v qemu-img >/dev/null || { echo "SKIP: no qemu-img to compare with"; exit 77; }

cat >"$dir/layout.py" <<'P'
import json, sys
m = json.load(open(sys.argv[1]))
at, seen = 0, set()
for r in m["runs"]:
    assert r["offset"] == at and r["length"] > 0, r
    at += r["length"]
    seen.update(r["uses"])
c = m["cluster_size_bytes"]
size = int(sys.argv[2])
assert at == (size + c - 1) // c * c, (at, size)
assert {"header", "L1 table", "refcount table"} <= seen, seen
for want in sys.argv[3:]:
    assert want in seen, (want, seen)
P

# Our runs against the reference tool's, piece by piece.
cat >"$dir/guest.py" <<'P'
import bisect, json, sys
ours = json.load(open(sys.argv[1]))["runs"]
theirs = json.load(open(sys.argv[2]))
starts = [t["start"] for t in theirs]
at = 0
for r in ours:
    assert r["start"] == at, r
    end = at + r["length"]
    while at < end:
        t = theirs[bisect.bisect(starts, at) - 1]
        if r["type"] == "hole":
            assert not t.get("present", t["data"]) or t["depth"], (r, t)
        elif r["type"] == "zero":
            assert t["zero"] and not t["data"] or "offset" in t, (r, t)
        else:
            assert t["data"] and not t["depth"], (r, t)
            if "offset" in r and "offset" in t:
                assert r["offset"] + at - r["start"] == t["offset"] + at - t["start"], (r, t)
        at = min(end, t["start"] + t["length"])
assert at == theirs[-1]["start"] + theirs[-1]["length"]
P

one() {
	local image=$1 name=$2
	shift 2
	"$TIDEMARK" qcow2 map --json "$image" >"$dir/m" || fail "$name: map"
	python3 "$dir/layout.py" "$dir/m" "$(stat -c %s "$image")" "$@" || fail "$name: layout"
	"$TIDEMARK" qcow2 map --guest --json "$image" >"$dir/g" || fail "$name: map --guest"
	qemu-img map --output=json "$image" >"$dir/q" 2>/dev/null || { echo "# $name: qemu-img map does not open it"; return; }
	python3 "$dir/guest.py" "$dir/g" "$dir/q" || fail "$name: guest map"
	"$TIDEMARK" qcow2 map --force --svg="$dir/p.svg" "$image" || fail "$name: svg"
	python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' "$dir/p.svg" || fail "$name: svg is no XML"
	grep -q "L1 table" "$dir/p.svg" || fail "$name: the picture lacks the L1 table"
	echo "ok - $name"
}

unpack() { zstd -qdc "$SRC/tests/data/qcow2/$1.qcow2.zst" >"$dir/x.qcow2"; }
unpack snap-40 && one "$dir/x.qcow2" snap-40 "snapshot table" "snapshot's L1 table" "snapshot's L2 table"
unpack bitmaps-4 && one "$dir/x.qcow2" bitmaps-4 "bitmap directory" "bitmap table" "bitmap data"
for name in snap2-v2 extl2-c64k c512-rb16-v3 c4k-rb1-v3 zero-discard; do
	unpack $name && one "$dir/x.qcow2" $name "data"
done

images=$recorded/images
if [ ! -f "$images/images.tar.zst" ]; then
	echo "# SKIP: the full set of images is not there"
	exit 0
fi
mkdir "$dir/all" && zstd -qdc --long=27 "$images/images.tar.zst" | tar x -C "$dir/all"
cd "$dir/all" || exit 1
for name in extl2-c64k snap-vmstate backing-chain3 datafile-raw compressed-zlib \
	c512-manyrefblocks c64k-1t-sparse prealloc-metadata c2m-rb64-v3 backing-raw; do
	one $name.qcow2 $name
done
