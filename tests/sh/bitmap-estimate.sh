#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What 'bitmap estimate' says of a trace is what a model in another language,
# which has sets of blocks and no bitmaps, says of it; recorded traces have as
# many dirty blocks as the hypervisor's own bitmaps had; what is no trace is
# refused, with the line.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
cat >model.py <<'P'
import json, random, subprocess, sys
tool, HEAD = sys.argv[1], 20
CHUNKS = [32, 128, 256, 512, 1024, 2048, 4096, 16384, 131072, 1 << 20]
def bulk(dirty, blocks, chunk, marked):
    per, sent, zeroes, last = chunk * 8, 0, False, None
    ones = {}
    for b in dirty: ones[b // per] = ones.get(b // per, 0) + 1
    for c in sorted(marked):
        n = min(per, blocks - c * per)
        if c - 1 != last: zeroes = False
        if ones.get(c, 0): sent += HEAD + (0 if ones[c] == n else (n + 7) // 8); zeroes = False
        elif not zeroes: sent += HEAD; zeroes = True
        last = c
    return sent
def model(rows, size, gran, backups, rounds):
    blocks = -(-size // gran)
    span = max(r[0] for r in rows)
    def parts(n):
        at = 0
        for p in range(n):
            end = float("inf") if p + 1 == n else span // n * (p + 1)
            took = []
            while at < len(rows) and rows[at][0] <= end: took.append(rows[at]); at += 1
            yield p, took
    def blocks_of(r):
        return range(r[1] // gran, -(-min(r[1] + r[2], size) // gran)) if r[1] < size else ()
    copied = sum(min(size, gran * len({b for r in took for b in blocks_of(r)})) for _, took in parts(backups))
    moves = {}
    for chunk in CHUNKS:
        dirty, sent, stop = set(), 0, 0
        marked = set(range(-(-blocks // (chunk * 8))))
        for p, took in parts(rounds * 2):
            new = {b for r in took for b in blocks_of(r)} - dirty
            dirty |= new
            marked |= {b // (chunk * 8) for b in new}
            if p + 1 >= rounds:
                stop = bulk(dirty, blocks, chunk, marked); sent += stop; marked = set()
        moves[chunk] = (sent, stop)
    return copied, (blocks + 7) // 8, moves
for seed in range(6):
    r = random.Random(seed)
    size = r.randrange(1 << 20, 300 << 20) // 512 * 512
    rows = [(i * 100 + r.randrange(50), r.randrange(size), r.choice([512, 4096, 70000])) for i in range(300)]
    with open("t.csv", "w") as f:
        f.write("t_us,op,offset,length\n")
        for t, a, n in rows: f.write(f"{t},{r.choice(['write', 'zero', 'trim'])},{a},{n}\n")
        f.write(f"{rows[-1][0]},flush,0,0\n")
    backups, rounds = r.randrange(1, 9), r.randrange(1, 9)
    got = json.loads(subprocess.run([tool, "bitmap", "estimate", "--json", f"--size={size}", f"--backups={backups}",
                                     f"--rounds={rounds}", "t.csv"], check=True, capture_output=True).stdout)
    for g in got["granularities"]:
        if g["granularity_bytes"] not in (4096, 65536, 1 << 21): continue
        want = model(rows, size, g["granularity_bytes"], backups, rounds)
        have = (g["backup_bytes"], g["bitmap_bytes"], {m["chunk_bytes"]: (m["sent_bytes"], m["stop_bytes"]) for m in g["moves"]})
        assert have == want, (seed, g["granularity_bytes"], have, want)
print("ok - 6 random traces, as a model says")
P
python3 model.py "$TIDEMARK" || fail "see above"
"$TIDEMARK" bitmap estimate t.csv --svg=t.svg >out || fail estimate
grep -q "^recommended: blocks of [0-9]*K; the bitmap is small" out || fail "$(cat out)"
python3 -c 'import xml.dom.minidom; xml.dom.minidom.parse("t.svg")' || fail "the picture"
"$TIDEMARK" bitmap estimate t.csv --svg=t.svg >out 2>err && fail "over a picture"
zstd -q t.csv -o packed
"$TIDEMARK" bitmap estimate packed >again || fail "a packed trace"
"$TIDEMARK" bitmap estimate t.csv >plain && cmp plain again || fail "packed is another"
head -c 500 packed >cut
"$TIDEMARK" bitmap estimate cut >/dev/null 2>err && fail "half a packed trace"
grep -q "it ends in the middle" err || fail "$(cat err)"
bad() {
	printf "$1" >bad
	"$TIDEMARK" bitmap estimate bad 2>err >out && fail "taken: $1"
	grep -q "$2" err || fail "$1: $(cat err)"
}
bad '' "line 0: it is empty"
bad 'x\n' "line 1: it is not"
bad 't_us,op,offset,length\n1,write,0\n' "line 2: it is no row"
bad 't_us,op,offset,length\n1,write,0,512x\n' "line 2: it is no row"
bad 't_us,op,offset,length\n1,write,18446744073709551615,512\n' "line 2: it is no row"
bad 't_us,op,offset,length\n1,flush,0,0\n' "it writes nothing"
echo "ok - what is no trace is refused"

[ -d "$recorded/traces/blk" ] || { echo "ok - recorded traces # SKIP there are none beside the checkout"; exit 0; }
cat >golden.py <<'P'
import json, pathlib, subprocess, sys
n = 0
for folder in sorted(pathlib.Path(sys.argv[2]).iterdir()):
    gold = json.loads(subprocess.run(["zstd", "-qdc", folder / "guest.golden.json.zst"], check=True, capture_output=True).stdout)["extents"]
    size = json.load(open(folder / "manifest.json"))["disk_bytes"]
    got = json.loads(subprocess.run([sys.argv[1], "bitmap", "estimate", "--json", "--backups=1", f"--size={size}",
                                     str(folder / "guest.csv.zst")], check=True, capture_output=True).stdout)
    have = {g["granularity_bytes"]: g["backup_bytes"] for g in got["granularities"]}
    for key, bytes_ in dict(g4k=4096, g64k=65536, g2m=1 << 21).items():
        if key in gold:
            want = sum(e[1] for e in gold[key]); n += 1
            assert have[bytes_] == want, (folder, key, have[bytes_], want)
assert n
print("ok -", n, "bitmaps of recorded traces")
P
python3 golden.py "$TIDEMARK" "$recorded/traces/blk" || fail "see above"
