#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# One bit of the metadata of a good image flipped, again and again: our check
# and that of the reference tool must come to the same verdict (2 where it does
# not even open the image), and what we repair it must call clean. SEED and
# CASES choose the script.
. "${SRC:?}/tests/sh/lib.sh"

command -v zstd >/dev/null || { echo "SKIP: no zstd"; exit 77; }
command -v qemu-img >/dev/null || { echo "SKIP: no qemu-img to compare with"; exit 77; }

list=()
for name in snap-40 snap2-v2 bitmaps-4 extl2-c64k c512-rb16-v3 c4k-rb1-v3 zero-discard; do
	zstd -qdc "$SRC/tests/data/qcow2/$name.qcow2.zst" >"$dir/$name"
	list+=("$dir/$name")
done
cat >"$dir/differ.py" <<'P'
import collections, json, os, random, subprocess, sys
tool, out, images = sys.argv[1], sys.argv[2], sys.argv[3:]
seed, cases = int(os.environ.get("SEED", "7")), int(os.environ.get("CASES", "60"))
print(f"# SEED={seed} CASES={cases}")
rng, tally = random.Random(seed), collections.Counter()


def run(*args):
    return subprocess.run(("timeout", "60") + args, capture_output=True,
                          encoding="utf-8", errors="replace")


def metadata(image):
    runs = json.loads(run(tool, "qcow2", "map", "--json", image).stdout)["runs"]
    skip = {"data", "compressed data", "bitmap data"}
    return [r for r in runs if r["uses"] and not set(r["uses"]) & skip]


maps, bad = {i: metadata(i) for i in images}, 0
for case in range(cases):
    image = rng.choice(images)
    data = bytearray(open(image, "rb").read())
    kind = rng.choice(sorted({u for r in maps[image] for u in r["uses"]}))
    r = rng.choice([r for r in maps[image] if kind in r["uses"]])
    low, high = r["offset"], min(len(data), r["offset"] + r["length"])
    if kind == "header":
        low, high = 20, 100  # no name of a backing file, no header length
    used = [i for i in range(low, min(high, low + 65536)) if data[i]]
    if kind == "header":  # a count of snapshots that reaches into zeroes passes there
        used = [i for i in used if not 60 <= i < 64]
    at = rng.choice(used) if used and rng.random() < .8 else rng.randrange(low if kind != "header" else 64, high)
    data[at] ^= 1 << rng.randrange(8)
    open(out, "wb").write(data)
    ours = run(tool, "qcow2", "check", out)
    theirs = run("qemu-img", "check", "-f", "qcow2", out)
    a, b = ours.returncode, theirs.returncode
    tally[a, b] += 1
    what = f"{os.path.basename(image)}: {kind} at {at}: ours {a}, theirs {b}"
    # A table that cannot be where the header says: we do not go on.
    if a != b and (a, b) not in {(2, 1), (1, 2)}:
        bad += 1
        print("not ok -", what, ours.stdout[:200], theirs.stderr[:200])
    fixed = run(tool, "qcow2", "repair", out)
    if fixed.returncode == 0 and run("qemu-img", "check", "-f", "qcow2", out).returncode:
        bad += 1
        print("not ok -", what, "and repaired, but not for the reference tool")
    if max(a, fixed.returncode) > 3:
        bad += 1
        print("not ok -", what, "ended with", a, fixed.returncode)
print("# (ours, theirs):", dict(tally))
sys.exit(bad != 0)
P
python3 "$dir/differ.py" "$TIDEMARK" "$dir/x.qcow2" "${list[@]}" || fail "verdicts differ"
echo "ok - verdicts agree"
