#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What a recording or a command line brings is shown, not obeyed: in text and
# errors with escapes, in JSON as JSON. An answer that cannot be written is a
# failed command, for each command that answers.
. "${SRC:?}/tests/sh/lib.sh"

mkdir "$dir/trace"
printf '\1\2\3\4\5\6\7\10' >"$dir/trace/000.written.bits"
cat >"$dir/trace/manifest.json" <<'J'
{ "workload": "a\", \"x\": 1\u001b[2J\nforged: line", "description": "\u202eback",
  "pages": 64, "page_size": 4096 }
J
"$TIDEMARK" trace info "$dir/trace" >"$dir/out" || fail "trace info"
grep -q 'x1b\[2J' "$dir/out" || fail "no escape: $(cat -v "$dir/out")"
grep -q '^forged' "$dir/out" && fail "a line was forged"
LC_ALL=C grep -q "$(printf '\342\200\256')" "$dir/out" && fail "text is turned round"
for c in info replay; do
	"$TIDEMARK" trace $c --json "$dir/trace" >"$dir/json" || fail "trace $c --json"
	python3 - "$dir/json" <<'P' || fail "trace $c --json: $(cat "$dir/json")"
import json, sys
j = json.load(open(sys.argv[1]))
assert j['workload'] == 'a", "x": 1\x1b[2J\nforged: line' and 'x' not in j
P
done
echo "ok - a recording's words"

"$TIDEMARK" qcow2 info "$(printf '%s/no\033[31m\nsuch' "$dir")" 2>"$dir/err"
[ $? = 1 ] || fail "exit code"
[ "$(wc -l <"$dir/err")" = 1 ] || fail "an error of several lines: $(cat -v "$dir/err")"
grep -q 'x1b\[31m.x0asuch' "$dir/err" || fail "error: $(cat -v "$dir/err")"
echo "ok - a name in an error"

start_near --slots=1
while read -r c; do
	# shellcheck disable=SC2086
	"$TIDEMARK" $c >/dev/full 2>"$dir/err"
	[ $? = 1 ] && grep -q 'could not be written' "$dir/err" || fail "$c >/dev/full: $(cat "$dir/err")"
done <<C
sources
sources --json
trace info $dir/trace
trace info --json $dir/trace
trace replay $dir/trace
trace replay --json $dir/trace
vm status --control=$dir/near
vm status --json --control=$dir/near
vm verify --json --control=$dir/near
completion
completion fish
qcow2 --help
C
"$TIDEMARK" vm stop --control="$dir/near"
echo "ok - answers that cannot be written"
