#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Every table of tidemark bench runs, gives JSON, and draws; every contestant
# gives the same answer. No figure is judged here. SEED=N for other workloads.
. "$SRC/tests/sh/lib.sh"

cd "$SRC" || exit 1		# recorded traces are looked for beside it
for table in scan cut compact mark slots kinds travel; do
	# What travels is counted in bytes; pictures and pages are of times.
	page=(--report="$dir/$table.html")
	[ "$table" = travel ] && page=()
	"$TIDEMARK" bench "$table" --quick --reps=1 --json --plots="$dir" \
		--seed="${SEED:-7}" "${page[@]}" >"$dir/$table.json" 2>"$dir/err" ||
		fail "bench $table: $(cat "$dir/err")"
	python3 - "$dir/$table.json" "$table" <<'P' || fail "bench $table: JSON"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert len(rows) > 5, len(rows)
about = rows.pop(0)
assert about["table"] == "about" and about["seed"] > 0, about
for r in rows:
    assert r["table"].split("-")[0] in (sys.argv[2], "insert"), r
    assert r.get("agrees", True), r
    for key in r:
        if key.endswith("_ns") and key != "cold_ns":
            assert r[key] is None or r[key] >= 0, r
P
	echo "ok - bench $table"
done
TMPDIR=$dir "$TIDEMARK" bench tracked --quick --reps=1 >"$dir/tracked" 2>"$dir/err" ||
	fail "bench tracked: $(cat "$dir/err")"
grep -q "not tracked .* us/req" "$dir/tracked" || fail "bench tracked: $(cat "$dir/tracked")"
ls -d "$dir"/bench-tracked.* 2>/dev/null && fail "bench tracked left its files"
echo "ok - bench tracked"
"$TIDEMARK" bench nothing 2>"$dir/err" && fail "an unknown table was run"
grep -q "no table 'nothing'" "$dir/err" || fail "$(cat "$dir/err")"
"$TIDEMARK" bench mark --quick --reps=1 --plots="$dir/none" >/dev/null \
	2>"$dir/err" && fail "plots went nowhere"
grep -q "$dir/none" "$dir/err" || fail "$(cat "$dir/err")"
python3 - "$dir" <<'P' || fail "plots"
import glob, sys
import xml.etree.ElementTree as tree
for page in glob.glob(sys.argv[1] + "/*.html"):
    root = tree.parse(page).getroot()
    facts = [t.text for t in root.iter("th")]
    assert "processor" in facts and "kernels" in facts, facts
    assert len(list(root.iter("{http://www.w3.org/2000/svg}svg"))) >= 1, page
    assert len(list(root.iter("table"))) >= 2, page
found = glob.glob(sys.argv[1] + "/*.svg")
assert len(found) >= 5, found
for f in found:
    root = tree.parse(f).getroot()
    assert root.tag.endswith("svg") and len(root) > 10, f
P
echo "ok - plots are SVG"
