#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# qcow2 guard: for every run of metadata of an image, writes of one byte at its
# first byte, its last, and the bytes on either side of it: the map says of
# each what it must hit. Twelve sections, as a table. And a guest whose mapping
# was bent towards metadata is found out.
. "${SRC:?}/tests/sh/lib.sh"

command -v zstd >/dev/null || { echo "SKIP: no zstd"; exit 77; }

cat >"$dir/matrix.py" <<'P'
import json, subprocess, sys
tool, tally = sys.argv[1], {}
for image in sys.argv[2:]:
    m = json.loads(subprocess.run([tool, "qcow2", "map", "--json", image],
                                  check=True, capture_output=True).stdout)
    data = {"data", "compressed data"}
    runs = [(r["offset"], r["offset"] + r["length"], set(r["uses"]) - data) for r in m["runs"]]
    end = runs[-1][1]

    def at(byte):
        for a, b, kinds in runs:
            if a <= byte < b:
                return kinds
        return set()

    for a, b, kinds in runs:
        if not kinds:
            continue
        for where, byte in ("before", a - 1), ("first", a), ("last", b - 1), ("after", b):
            if byte < 0:
                continue
            row = f"t_us,op,offset,length\n0,write,{byte},1\n"
            out = subprocess.run([tool, "qcow2", "guard", "--file", "--json", image, "-"],
                                 input=row.encode(), capture_output=True)
            o = json.loads(out.stdout)
            want = at(byte)
            got = {k for k, n in o["by_kind"].items() if n}
            assert got == want, (image, where, byte, got, want)
            assert out.returncode == (2 if want else 0), (image, byte, out.returncode)
            for k in kinds:
                t = tally.setdefault(k, {}).setdefault(where, [0, 0])
                t[0] += k in got
                t[1] += 1
print("# %-20s %14s %14s %14s %14s" % ("hits of its kind", "before", "first byte", "last byte", "after"))
for k, t in tally.items():
    print("# %-20s" % k, " ".join("%8d of %3d" % tuple(t.get(w, (0, 0))) for w in ("before", "first", "last", "after")))
    assert t["first"][0] == t["first"][1] and t["last"][0] == t["last"][1], k
    for w in "before", "after":
        assert t.get(w, (0, 0))[0] == 0, (k, w)
print("sections:", len(tally))
P

list=()
for name in bitmaps-4 snap2-v2; do
	zstd -qdc "$SRC/tests/data/qcow2/$name.qcow2.zst" >"$dir/$name"
	list+=("$dir/$name")
done
want=11
images=$recorded/images
if [ -f "$images/images.tar.zst" ]; then
	zstd -qdc --long=27 "$images/images.tar.zst" | tar x -C "$dir" luks.qcow2
	list+=("$dir/luks.qcow2")
	want=12
else
	echo "# SKIP: the LUKS image is not there: 11 sections of 12"
fi
python3 "$dir/matrix.py" "$TIDEMARK" "${list[@]}" >"$dir/out" || fail "matrix"
cat "$dir/out"
grep -q "^sections: $want$" "$dir/out" || fail "not all $want sections were tried"

# An L1 entry that leads to the refcount table: guest writes that go there.
zstd -qdc "$SRC/tests/data/qcow2/bad-l1-to-reftable.qcow2.zst" >"$dir/bad"
printf 't_us,op,offset,length\n5,write,4096,512\n6,trim,0,65536\n7,flush,0,0\n' >"$dir/trace"
"$TIDEMARK" qcow2 guard --json "$dir/bad" "$dir/trace" >"$dir/o"
[ $? = 2 ] || fail "a guest write onto a refcount block was not seen"
[ "$(field "$dir/o" hits)" = 1 ] || fail "hits: $(cat "$dir/o")"
grep -q '"refcount block": 1' "$dir/o" || fail "wrong kind: $(cat "$dir/o")"
printf 't_us,op,offset,length\n5,write,nonsense\n' >"$dir/trace"
"$TIDEMARK" qcow2 guard "$dir/bad" "$dir/trace" 2>"$dir/err"
[ $? = 1 ] || fail "nonsense was taken for a trace"
grep -q "line 2" "$dir/err" || fail "$(cat "$dir/err")"
echo "ok - guest writes through a bent table are found out"
