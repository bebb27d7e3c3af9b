#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# bench disk runs on an image of ours, and all contestants finish. No figure is
# judged here. And QEMU and we keep each other away from an image that is being
# written.
. "$SRC/tests/sh/lib.sh"

command -v qemu-img >/dev/null || { echo "SKIP: no qemu-img"; exit 77; }
truncate -s 8M "$dir/raw"
"$TIDEMARK" bench disk --quick --reps=1 --json --image="$dir/raw" \
	>"$dir/json" 2>"$dir/err" || fail "bench disk: $(cat "$dir/err")"
python3 - "$dir/json" <<'P' || fail "bench disk: JSON"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert rows.pop(0)["table"] == "about"
assert len(rows) == 16, len(rows)
for r in rows:
    assert r["table"] == "disk" and r["agrees"] and r["median_ns"] > 0, r
P
echo "ok - every contestant finished"
"$TIDEMARK" bench disk --quick --image="$dir/none" 2>"$dir/err" &&
	fail "an image that is not there was measured"
grep -q "$dir/none" "$dir/err" || fail "$(cat "$dir/err")"
echo "ok - a missing image is named"

command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
mkfifo "$dir/go"
qemu-io -f raw "$dir/raw" <"$dir/go" >"$dir/out" 2>&1 &
pids+=($!)
exec 3>"$dir/go"
# Its prompt: it has the image. Had we been first, it would have given up.
until_true 20 grep -q qemu-io "$dir/out" || fail "qemu-io did not start"
"$TIDEMARK" bench disk --quick --reps=1 --image="$dir/raw" >"$dir/err" 2>&1
grep -q "raw is in use" "$dir/err" || fail "QEMU writes it, and we opened it"
exec 3>&-
echo "ok - an image that QEMU writes is in use"
