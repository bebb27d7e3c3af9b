#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# tidemark scan against one bit at a time in Python; traces read, replayed,
# recorded from a running guest with every source, and refused when damaged.
. "$SRC/tests/sh/lib.sh"

cat >"$dir/oracle.py" <<'P'
import json, random, struct, subprocess, sys

tidemark, where = sys.argv[1:]
seed = 20261121
print("# seed", seed)
rng = random.Random(seed)

def bits(data, limit):
    return {i for i in range(min(len(data) * 8, limit))
            if data[i // 8] >> (i % 8) & 1}

def ranges(pages, gap):
    out = []
    for p in sorted(pages):
        if out and p - (out[-1][0] + out[-1][1]) <= gap:
            out[-1][1] = p + 1 - out[-1][0]
        else:
            out.append([p, 1])
    return out

def run(*args):
    return subprocess.run([tidemark, "scan", *args], capture_output=True,
                          check=True).stdout

for step in range(60):
    data = []
    for name in "ab":
        n = rng.choice([0, 1, 7, 8, 9, 500, 513, 4096, 5000])
        kind = rng.random()
        d = bytes(rng.randrange(256) if rng.random() < kind else
                  rng.choice([0, 255]) for _ in range(n))
        open(f"{where}/{name}", "wb").write(d)
        data.append(d)
    limit = rng.choice([0, 1, 63, 64, 65, 3000])
    gap = rng.choice([0, 0, 1, 5, 100])
    two = rng.random() < .5
    # What is behind every file is unknown, which is an error of its own.
    if limit > 8 * max(len(d) for d in data[:1 + two]):
        limit = 0
    want = bits(data[0], limit or 10**9)
    args = [f"{where}/a", f"--pages={limit}", f"--gap={gap}"]
    if two:
        want |= bits(data[1], limit or 10**9)
        args.append(f"{where}/b")
    want = ranges(want, gap)
    text = [[int(x) for x in line.split()]
            for line in run(*args).decode().splitlines()]
    assert text == want, (step, args, text[:5], want[:5])
    j = json.loads(run("--json", *args))
    assert j["ranges"] == want and j["range_count"] == len(want)
    raw = run("--output=binary", "--page-size=64K", "--first=3", *args)
    pairs = list(struct.iter_unpack("<QQ", raw))
    assert pairs == [((f + 3) << 16, c << 16) for f, c in want]
    numbers = [rng.randrange(2000) for _ in range(rng.randrange(300))]
    open(f"{where}/n", "wb").write(struct.pack(f"<{len(numbers)}Q", *numbers))
    j = json.loads(run("--numbers", "--json", f"--gap={gap}", f"{where}/n"))
    assert j["ranges"] == ranges(set(numbers), gap)
P
python3 "$dir/oracle.py" "$TIDEMARK" "$dir" || fail "scan differs"
echo "ok - scan against one bit at a time"

refuses() {	# what must be said; then the command
	want=$1
	shift
	"$TIDEMARK" "$@" >"$dir/out" 2>"$dir/err" && fail "$* was accepted"
	grep -q -- "$want" "$dir/err" || fail "$*: $(cat "$dir/err")"
}
printf 1234567 >"$dir/odd"
printf '\0\0\0\0\0\0\0\0\377\377\377\377\377\0\0\0' >"$dir/high"
refuses 'no whole number' scan --numbers "$dir/odd"
refuses 'at offset 8' scan --numbers --pages=100 "$dir/high"
refuses 'cannot be opened' scan "$dir/none"
refuses 'not a regular file' scan /dev/null
refuses 'text, json or binary' scan --output=xml "$dir/odd"
if [ -e /dev/full ]; then
	"$TIDEMARK" scan "$dir/a" --json >/dev/full 2>"$dir/err" &&
		fail "a full device was not noticed"
fi
echo "ok - scan says what is wrong"

sample=$SRC/tests/data/trace-zipf
"$TIDEMARK" trace info --json "$sample" >"$dir/info"
python3 - "$dir/info" <<'P' || fail "trace info"
import json, sys
j = json.load(open(sys.argv[1]))
assert len(j["rounds"]) == 8 and j["pages"] == 16384
assert all(r["covered"] == r["pages"] for r in j["rounds"])
P
"$TIDEMARK" trace replay "$sample" | grep -q 'every page as recorded' ||
	fail "trace replay"
mkdir "$dir/bad"
cp "$sample/manifest.json" "$dir/bad"
refuses 'it has no rounds' trace info "$dir/bad"
head -c 200 "$sample/rounds.tar.zst" >"$dir/bad/rounds.tar.zst"
refuses 'is not a trace' trace info "$dir/bad"
sed 's/"pages": 16384/"pages": 16385/' "$sample/manifest.json" \
	>"$dir/bad/manifest.json"
cp "$sample/rounds.tar.zst" "$dir/bad"
refuses 'not as many bits' trace info "$dir/bad"
refuses 'manifest.json' trace info "$dir"
echo "ok - traces are read, and refused when damaged"

shared=$recorded/traces/ram
if [ -d "$shared" ]; then
	for t in "$shared"/*/; do
		"$TIDEMARK" trace replay "$t" >"$dir/out" || fail "replay $t"
	done
	echo "ok - traces of real guests"
else
	echo "# no traces of real guests here"
fi

for source in log-manual log-legacy ring uffd; do
	"$TIDEMARK" sources | grep -q "^$source *works" || continue
	rm -rf "$dir/rec"
	mkdir "$dir/rec"
	"$TIDEMARK" vm run --control "$dir/c" --memory 32M --pattern sequential \
		--rate 4000 --source $source --serial /dev/null &
	until_true 30 "$TIDEMARK" vm status --control="$dir/c" || fail "no guest"
	"$TIDEMARK" trace record --control "$dir/c" --rounds 4 --interval 300 \
		"$dir/rec" >"$dir/out" || fail "record with $source"
	"$TIDEMARK" vm verify --control "$dir/c" >"$dir/out" ||
		fail "guest after record with $source"
	"$TIDEMARK" vm stop --control "$dir/c"
	wait
	"$TIDEMARK" trace replay --json "$dir/rec" >"$dir/out" ||
		fail "replay of a record with $source"
	python3 -c 'import json, sys
j = json.load(open(sys.argv[1]))
assert j["rounds"] == 4 and j["pages"] > 400, j' "$dir/out" ||
		fail "record with $source: $(cat "$dir/out")"
	echo "ok - recorded with $source"
done
