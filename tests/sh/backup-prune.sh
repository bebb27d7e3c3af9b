#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Pruning: what a policy keeps is what it was, with the reference tool too; a
# prune that is killed at any step loses nothing; a rotten point is not merged.
# And a point is mounted, from which another program reads.
. "$SRC/tests/sh/lib.sh"

/usr/bin/python3 -c 'import nbd' 2>/dev/null || { echo "SKIP: no python3-libnbd"; exit 77; }
cd "$dir" || exit 1
mkdir live refs
truncate -s 20M disk.raw
"$TIDEMARK" serve --socket=s --control=c --live-folder=live --format=raw \
	--quiet disk=disk.raw >out 2>err &
pids+=($!)
until_true 10 grep -q listening out || fail "no server: $(cat err)"
uri="nbd+unix:///disk?socket=$dir/s"

cat >scribble.py <<'P'
import nbd, random, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
r = random.Random(int(sys.argv[2]))
for i in range(25):
    n = r.randrange(1, 200000)
    at = r.randrange((20 << 20) - n)
    if i % 5 == 0:
        h.zero(n, at)
    else:
        h.pwrite(r.randbytes(n), at)
h.flush()
P
for i in 1 2 3 4 5 6 7 8 9 10; do
	/usr/bin/python3 scribble.py "$uri" $i || fail "writing"
	full=
	[ $i = 4 ] && full=--full
	"$TIDEMARK" backup "$uri" dest --quiet $full >made 2>&1 ||
		{ grep -q "without libnbd" made && { echo "SKIP: built without libnbd"; exit 77; }
		fail "backup: $(cat made)"; }
	cp disk.raw refs/$i
done

numbers() { "$TIDEMARK" backup list "$1" --json | python3 -c 'import json,sys; print(*[p["number"] for p in json.load(sys.stdin)["points"]])'; }
agree() {	# folder
	"$TIDEMARK" backup verify "$1" --quiet >verdict 2>&1 || fail "$2: $(cat verdict)"
	for n in $(numbers "$1"); do
		"$TIDEMARK" restore "$1" --to=back --point="$n" --force --quiet >/dev/null ||
			fail "$2: point $n"
		cmp -s back refs/"$n" || fail "$2: point $n is another disk"
		command -v qemu-img >/dev/null || continue
		f=$(printf %06d.qcow2 "$n")
		qemu-img check -q "$1/$f" || fail "$2: qemu-img check of $n"
		qemu-img compare -q -f raw -F qcow2 refs/"$n" "$1/$f" || fail "$2: qemu-img compare of $n"
	done
}

agree dest "before"
"$TIDEMARK" backup prune dest --keep-last=3 --dry-run >would || fail "dry run"
[ "$(wc -l <would)" = 7 ] && [ "$(numbers dest | wc -w)" = 10 ] || fail "a dry run: $(cat would)"
"$TIDEMARK" backup prune dest 2>/dev/null && fail "without a policy"

# Points that follow each other, the full one, and a chain that has ended.
cp -r dest one
"$TIDEMARK" backup prune one --keep-last=4 --quiet >/dev/null || fail prune
[ "$(numbers one)" = "7 8 9 10" ] || fail "kept: $(numbers one)"
[ "$(ls one | grep -c qcow2)" = 4 ] || fail "files: $(ls one)"
agree one "keep-last=4"
"$TIDEMARK" backup prune one --keep-last=1 --quiet >/dev/null || fail prune
agree one "keep-last=1"
echo "ok - what is kept is what it was"

# By days and weeks: the times are set as if they were a night each.
cp -r dest days
python3 - "$TIDEMARK" <<'P'
import json, subprocess, sys
m = json.load(open("days/manifest.json"))
for i, p in enumerate(m["body"]["points"]):
    p["created"] = 1700000000 + i * 2 * 86400
open("body", "w").write(json.dumps(m["body"], sort_keys=True, separators=(",", ":")))
P
if command -v xxhsum >/dev/null && sum=$(xxhsum -H128 body 2>/dev/null); then
	python3 - "${sum%% *}" <<'P'
import json, sys
m = json.load(open("days/manifest.json"))
m["body"], m["xxh3_128"] = json.load(open("body")), sys.argv[1]
json.dump(m, open("days/manifest.json", "w"))
P
	"$TIDEMARK" backup prune days --keep-daily=2 --keep-weekly=3 --quiet >/dev/null ||
		fail "by days"
	[ "$(numbers days)" = "3 6 9 10" ] || fail "by days and weeks: $(numbers days)"
	agree days "by days"
	echo "ok - days and weeks"
fi

# Killed before and after steps: every fifth here, all of them by CAMPAIGN=1.
stride=${STRIDE:-5} steps=0
[ -z "${CAMPAIGN:-}" ] || stride=1
if [ -z "${SANITIZED:-}" ]; then
	for late in "" 1; do
		at=1
		while :; do
			rm -rf cut
			cp -r dest cut
			( [ -n "$late" ] && export KILL_AFTER=1
			LD_PRELOAD=$BUILD/tests/support/kill_at.so KILL_AT=$at \
				exec "$TIDEMARK" backup prune cut --keep-last=2 --quiet ) >/dev/null 2>&1 &
			wait $! 2>/dev/null
			code=$?
			"$TIDEMARK" backup verify cut --quiet >verdict 2>&1 || fail "step $at: $(cat verdict)"
			last=
			for n in $(numbers cut); do last=$n; done
			[ "$last" = 10 ] || fail "step $at: the newest is $last"
			for n in 9 10; do
				"$TIDEMARK" restore cut --to=back --point=$n --force --quiet >/dev/null || fail "step $at: point $n"
				cmp -s back refs/$n || fail "step $at: point $n is another disk"
			done
			[ $code = 0 ] && break
			if [ $((steps % 4)) = 0 ]; then
				"$TIDEMARK" backup prune cut --keep-last=2 --quiet >/dev/null || fail "step $at: again"
				[ "$(numbers cut)" = "9 10" ] && [ "$(ls cut | grep -c qcow2)" = 2 ] || fail "step $at: $(ls cut)"
			fi
			steps=$((steps + 1))
			at=$((at + stride))
		done
	done
	echo "ok - killed at $steps steps"
fi

# What is rotten is not merged into what is well.
cp -r dest rot
python3 -c '
import os
n = os.path.getsize("rot/000006.qcow2") // 3
f = open("rot/000006.qcow2", "r+b"); f.seek(n); b = f.read(); f.seek(n); f.write(bytes(x ^ 255 for x in b))'
"$TIDEMARK" backup verify rot --point=6 --quiet >/dev/null 2>&1 && fail "rot was not seen"
"$TIDEMARK" backup prune rot --keep-last=2 --quiet >/dev/null 2>err && fail "rot was merged"
[ "$(numbers rot | wc -w)" -gt 2 ] || fail "points went: $(numbers rot)"
echo "ok - what is rotten stays where it is, and is named"

"$TIDEMARK" backup mount dest --all --socket=m >mout 2>err &
mount=$!
pids+=($mount)
until_true 10 grep -q listening mout || fail "mount: $(cat err)"
/usr/bin/python3 - "$dir" <<'P' || fail "what is mounted"
import nbd, sys
for n in 1, 4, 10:
    h = nbd.NBD()
    h.connect_uri(f"nbd+unix:///{n}?socket={sys.argv[1]}/m")
    assert h.is_read_only()
    want = open(f"refs/{n}", "rb").read()
    assert h.get_size() == len(want)
    assert h.pread(len(want), 0) == want
P
"$TIDEMARK" backup prune dest --keep-last=1 2>err && fail "pruned under a mount"
grep -q "somebody works on it" err || fail "$(cat err)"
kill $mount
wait $mount || fail "mount ended with $?"
echo "ok - mounted"
exit 0
