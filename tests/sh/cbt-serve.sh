#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Changed block tracking of a served disk, by the command and by clients that
# people have: checkpoints, bitmaps, diff, NBD contexts; kill -9 in the middle;
# what another wrote meanwhile; qcow2; a folder where no store can be.
# KILLS=2000 for a campaign.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
cd "$dir" || exit 1
t() { timeout 120 "$@"; }
tool() { t "$TIDEMARK" "$@"; }

sum() {
	tool diff --control=c "$@" --json >diff.json || fail "diff $*"
	python3 -c 'import json; d = json.load(open("diff.json")); assert d["complete"]
print(sum(r["size_bytes"] for r in d["changed"]))'
}
is() {
	[ "$1" = "$2" ] || fail "$3: $1, not $2"
}
io() {
	t qemu-io -f raw -c "$1" "nbd+unix:///d?socket=$PWD/s" >/dev/null || fail "qemu-io $1"
}

truncate -s 64M a.raw
serve --format=raw d=a.raw
io "write -P 1 0 64k"
tool checkpoint create --control=c d k1 || fail create
is "$(sum d --since=k1)" 0 "nothing since k1"
io "write -P 2 1M 100k"
io "discard 10M 64k"
tool bitmap add --control=c d fine --granularity=512 || fail add
io "write -P 3 20M 1k"
is "$(sum d --since=k1)" 262144 "since k1"
is "$(sum d --bitmap=fine)" 1024 "fine"
tool diff --control=c d --since=k1 | grep -qx "1048576 131072" || fail "diff as text: $(tool diff --control=c d --since=k1)"
tool diff --control=c d --since=k1 --svg=p.svg || fail svg
python3 - <<'P' || fail "the picture"
import re, xml.dom.minidom
xml.dom.minidom.parse("p.svg")
changed = [int(n) for n in re.findall(r"offset \d+: (\d+) bytes changed", open("p.svg").read())]
assert len(changed) == 8192 and sum(changed) == 262144, (len(changed), sum(changed))
P
tool checkpoint create --control=c d k2 || fail create
is "$(sum d --since=k1 --until=k2)" 262144 "between"
is "$(sum d --since=k2)" 0 "since k2"
tool checkpoint create --control=c d k2 2>err2 && fail "a name twice"
grep -q "already" err2 || fail "$(cat err2)"
tool diff --control=c d --since=none --json 2>err2 >out2 && fail "of nothing"
grep -q "no checkpoint or bitmap 'none'" err2 || fail "$(cat err2)"
echo "ok - checkpoints and bitmaps by the command"

if command -v nbdinfo >/dev/null; then
	t nbdinfo --map=qemu:dirty-bitmap:k1 "nbd+unix:///d?socket=$PWD/s" >map || fail "nbdinfo"
	awk '$3 == 1 {n += $2} END {print n}' map >n
	is "$(cat n)" 262144 "by nbdinfo"
	t nbdinfo --list "nbd+unix://?socket=$PWD/s" | grep -q 'qemu:dirty-bitmap:fine' || fail "not listed"
	t qemu-img map --output=json --image-opts \
		"driver=nbd,server.type=unix,server.path=s,export=d,x-dirty-bitmap=qemu:dirty-bitmap:k1" >map
	python3 -c 'import json
print(sum(e["length"] for e in json.load(open("map")) if not e["data"]))' >n
	is "$(cat n)" 262144 "by qemu-img"
	echo "ok - contexts, by nbdinfo and qemu-img"
else
	echo "ok - contexts # SKIP no nbdinfo"
fi

# Who asks and does not read what he is told holds up nobody.
{ echo "tidemark-bitmap 1 size 67108864 granularity 512"
	for ((n = 0; n < 67108864; n += 4096)); do echo "$n 512"; done; } >many
tool bitmap import --control=c d many many || fail "import of many runs"
mkfifo go
timeout 60 python3 - <<'P' >slow.out &
import json, socket
s = socket.socket(socket.AF_UNIX)
s.connect("c")
s.sendall(b'{"command": "diff", "disk": "d", "name": "many"}\n')
s.recv(1, socket.MSG_PEEK)
print("asked", flush=True)
open("go").read()
P
slow=$!
pids+=("$slow")
until_true 30 grep -q asked slow.out || fail "the slow reader"
tool checkpoint create --control=c d meanwhile || fail "create beside a slow reader"
io "write 40M 4k"
tool checkpoint delete --control=c d meanwhile || fail "delete beside a slow reader"
io "write -z 40M 4k"
echo >go
wait "$slow" || fail "the slow reader ended"
tool bitmap remove --control=c d many || fail "removing it"
is "$(sum d --since=k1)" 327680 "with a slow reader"
echo "ok - a slow reader"

kill -9 "$server"; wait "$server" 2>/dev/null
serve --format=raw d=a.raw
is "$(sum d --since=k1)" 327680 "after kill -9"
is "$(sum d --bitmap=fine)" 5120 "fine, after kill -9"
io "write 40M 4k"
finish_server
[ -e a.raw.tidemark ] || fail "no store"
ls live | grep -q . && fail "a live file after a clean end"
serve --format=raw d=a.raw
is "$(sum d --since=k1)" 327680 "after a clean end"
tool bitmap disable --control=c d fine && tool bitmap clear --control=c d fine || fail "clear"
tool bitmap merge --control=c d fine k1 || fail merge
is "$(sum d --bitmap=fine)" 327680 "merged"
tool bitmap rename --control=c d fine coarse && tool bitmap info --control=c d coarse | grep -q disabled || fail rename
tool bitmap export --control=c d coarse exported || fail export
head -1 exported | grep -qx "tidemark-bitmap 1 size 67108864 granularity 512" || fail "$(head -1 exported)"
tool bitmap export --control=c d coarse exported 2>err2 && fail "over a file"
tool bitmap import --control=c d again exported || fail import
is "$(sum d --bitmap=again)" 327680 "imported"
for bad in "0 0" "x 1" "67108864 1" "0 67108865" "-1 5" "1 18446744073709551616" "0 512 "; do
	{ head -1 exported; echo "$bad"; } >bad
	tool bitmap import --control=c d bad bad 2>err2 && fail "imported '$bad'"
	grep -q "bad: line 2: " err2 || fail "$(cat err2)"
done
tool bitmap import --control=c d bad a.raw 2>err2 && fail "imported a disk"
tool bitmap list --control=c d | grep -q "^bad" && fail "a bad bitmap stays"
tool bitmap remove --control=c d coarse && tool bitmap remove --control=c d again || fail remove
tool checkpoint delete --control=c d k1 || fail delete
is "$(sum d --since=k2)" 65536 "k2 without k1"
tool ctl --control=c status | grep -q '"state": "on"' || fail ctl
tool ctl --control=c nonsense 2>err2 && fail "nonsense"
finish_server
# Nobody serves it: the same on its store.
tool checkpoint create --disk=a.raw --live-folder=live off || fail "offline: $?"
tool checkpoint list --disk=a.raw --live-folder=live | grep -q '^off .*recording' || fail "offline list"
is "$(tool diff --disk=a.raw --live-folder=live --since=k2 | awk '{n += $2} END {print n}')" 65536 "offline diff"
printf x | dd of=a.raw bs=1 seek=30000000 conv=notrunc status=none
serve --format=raw d=a.raw
grep -q "changed while nobody tracked it" err || fail "a foreign write: $(cat err)"
tool diff --control=c d --since=k2 2>err2 && fail "a foreign write is trusted"
grep -q "inconsistent: the disk was changed while nobody" err2 || fail "$(cat err2)"
tool checkpoint delete --control=c d k2 || fail "an inconsistent one stays"
finish_server
echo "ok - clean ends, kills, offline, foreign writes"

t qemu-img create -qf qcow2 b.qcow2 64M
serve --format=qcow2 --durability=power d=b.qcow2
tool checkpoint create --control=c d k || fail "qcow2"
io "write 3M 4k"
is "$(sum d --since=k)" 65536 "qcow2"
tool ctl --control=c status | grep -q '"durability": "power"' || fail "power"
kill -9 "$server"; wait "$server" 2>/dev/null
rm -f live/*
serve --format=qcow2 --durability=power d=b.qcow2
n=$(sum d --since=k)
[ "$n" -ge 65536 ] && [ "$n" -le 8388608 ] || fail "power mode without its live file: $n"
finish_server
echo "ok - qcow2, power durability"

mkdir shut && truncate -s 1M shut/e.raw
serve --format=raw --store=none/x d=shut/e.raw
grep -q "served UNTRACKED" err || fail "silent: $(cat err)"
io "write 0 4k"
tool checkpoint create --control=c d k 2>err2 && fail "of what is not tracked"
grep -q "not tracked: none/x" err2 || fail "$(cat err2)"
finish_server
mkdir stores
serve --format=raw --store=stores d=shut/e.raw f=a.raw
io "write 0 4k"
tool checkpoint create --control=c d,f k || fail "stores in a folder"
finish_server
[ -e stores/d.tidemark ] && [ -e stores/f.tidemark ] || fail "stores in a folder: $(ls stores)"
tool serve --socket=s --quiet --format=raw --store=stores/d.tidemark d=shut/e.raw f=a.raw 2>err2 && fail "one store for two disks"
grep -q "a folder, or there is one disk" err2 || fail "$(cat err2)"
rm -f shut/e.raw.tidemark
serve --format=raw --read-only d=shut/e.raw
[ -e shut/e.raw.tidemark ] && fail "a store for a disk that is only read"
finish_server
echo "ok - without a store the disk is served"

# The module is the system's python's, which need not be the first in PATH.
python=
for p in python3 /usr/bin/python3; do
	"$p" -c 'import nbd' 2>/dev/null && python=$p
done
[ -n "$python" ] || { echo "ok - kills # SKIP no python3-libnbd"; exit 0; }
seed=${SEED:-1}
for mode in process power; do
	mkdir "k.$mode"
	timeout $((60 + ${KILLS:-12} * 2)) "$python" "$SRC/tests/support/cbt_kills.py" "$TIDEMARK" "$dir/k.$mode" \
		"${KILLS:-12}" "$seed" --durability=$mode || fail "kills, $mode"
done
echo "ok - killed in the middle, ${KILLS:-12} times in each mode"
