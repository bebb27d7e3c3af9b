#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What a command makes is never over a file that is there, unless --force says
# so; then the old one goes in one step, and only a regular file that nobody
# has open. The error names the path.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1

# stays FILE COMMAND...: refused with the file's name, and nothing changed.
stays() {
	local file=$1
	shift
	cp -p "$file" kept
	"$TIDEMARK" "$@" >out 2>err
	[ $? = 1 ] || fail "$*: exit $?, not 1"
	cmp -s "$file" kept || fail "$*: $file was changed"
	grep -q "$file.*--force" err || fail "$*: $(cat err)"
	[ -z "$(ls ./*.tmp 2>/dev/null)" ] || fail "$*: something is left"
}

echo precious >image
stays image qcow2 create image 1M
"$TIDEMARK" qcow2 create --force image 1M || fail "create --force"
"$TIDEMARK" qcow2 check image >/dev/null || fail "not an image now"
ln -s image link
"$TIDEMARK" qcow2 create --force link 1M 2>err && fail "through a link"
grep -q 'link is no regular file' err || fail "$(cat err)"
mkfifo pipe
timeout 60 "$TIDEMARK" qcow2 create --force pipe 1M 2>err
[ $? = 1 ] && [ -p pipe ] || fail "a pipe: $(cat err)"
echo "ok - qcow2 create"

"$TIDEMARK" serve --socket="$dir/nbd" image >/dev/null 2>&1 &
pids+=($!)
if until_true 10 test -S "$dir/nbd"; then
	cp image kept
	"$TIDEMARK" qcow2 create --force image 2M 2>err && fail "an image in use was replaced"
	cmp -s image kept || fail "an image in use was changed"
	kill "${pids[-1]}"
	echo "ok - not below somebody who has it open: $(cut -c1-60 err)"
fi

truncate -s 512K data
echo precious | dd of=data conv=notrunc status=none
cp data kept
"$TIDEMARK" qcow2 create --data-file=data with 1M 2>err && fail "a short data file was taken"
cmp -s data kept && [ ! -e with ] || fail "a data file was changed"
grep -q 'data is there already.*524288' err || fail "$(cat err)"
truncate -s 1M data
"$TIDEMARK" qcow2 create --data-file=data with 1M || fail "a data file that fits"
[ "$(head -c 8 data)" = precious ] || fail "data are gone"
echo "ok - a data file keeps its bytes and its size"

echo precious >p.svg
stays p.svg qcow2 map --svg=p.svg image
"$TIDEMARK" qcow2 map --force --svg=p.svg image >/dev/null || fail "map --force"
grep -q '</svg>' p.svg || fail "no picture"
"$TIDEMARK" qcow2 map --svg=none/p.svg image >/dev/null 2>err
[ $? = 1 ] && grep -q 'none/p.svg' err || fail "$(cat err)"
mkdir plots
echo precious >plots/mark.svg
stays plots/mark.svg bench mark --quick --reps=1 --plots=plots
echo precious >page.html
stays page.html bench mark --quick --reps=1 --report=page.html
echo "ok - pictures"

start_near --slots=1
mkdir trace
"$TIDEMARK" trace record --control="$dir/near" --rounds=4 --interval=10 trace >out || fail "record"
"$TIDEMARK" trace record --control="$dir/near" --rounds=2 --interval=10 trace 2>err && fail "over a recording"
grep -q 'trace/manifest.json is there already' err || fail "$(cat err)"
"$TIDEMARK" trace info trace | grep -q ' 4 rounds' || fail "the recording was changed"
"$TIDEMARK" trace record --force --control="$dir/near" --rounds=2 --interval=10 trace >out || fail "record --force"
"$TIDEMARK" trace info trace | grep -q ' 2 rounds' || fail "rounds of the old one stayed"
"$TIDEMARK" vm stop --control="$dir/near"
echo "ok - trace record"
