#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# bench gap: every page that is sent arrives (the bench checks it and fails
# else), each socket and way has its verdict, and the ranges counted at the
# receiver are those of the trace. No timing is judged.
. "$SRC/tests/sh/lib.sh"
cd "$SRC" || exit 1

"$TIDEMARK" bench gap --quick --json >"$dir/out" 2>"$dir/err" ||
	fail "bench gap: $(cat "$dir/err")"
"$TIDEMARK" trace info --json tests/data/trace-zipf >"$dir/info" ||
	fail "trace info"
python3 - "$dir/out" "$dir/info" "$dir/err" <<'P' || fail "the rows of bench gap"
import json, sys

rows = [json.loads(line) for line in open(sys.argv[1])]
assert rows.pop(0)["table"] == "about"
rounds = json.load(open(sys.argv[2]))["rounds"]
middle = rounds[len(rounds) // 2]
noisy = open(sys.argv[3]).read().count("too noisy")
pairs = [(s, w) for s in ("unix", "tcp")
         for w in ("table", "call", "frame", "answer")]
verdicts = 0
for pair in pairs:
    mine = [r for r in rows if (r["socket"], r["way"]) == pair]
    said = [r for r in mine if "break_even_pages" in r]
    verdicts += len(said)
    if not said:
        continue
    assert said[0]["page_ns"] > 0 and said[0]["range_ns"] >= 0, said
    assert any("apart_pages" in r for r in mine), pair
    tried = sorted((r for r in mine if r.get("map") == "zipf"),
                   key=lambda r: r["gap_pages"])
    assert tried[0]["gap_pages"] == 0, tried[0]
    assert tried[0]["ranges"] >= middle["ranges"], (tried[0], middle)
    assert tried[0]["pages"] == middle["pages"], (tried[0], middle)
    if pair[1] != "frame":	# frames end after 64 pages
        assert tried[0]["ranges"] == middle["ranges"], (tried[0], middle)
        for a, b in zip(tried, tried[1:]):
            assert a["ranges"] >= b["ranges"], (a, b)
    for a, b in zip(tried, tried[1:]):
        assert a["pages"] <= b["pages"], (a, b)
    assert sum(r["by_model"] for r in tried) == 1
assert verdicts + noisy == len(pairs), (verdicts, noisy)
P
echo "ok - bench gap sends every page, and has a verdict for each wire"
