#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Backups of servers that know nothing of checkpoints: what is in the folder is
# what the disk was, for qemu-img and for restore; what is damaged is found and
# named; what an ended run left is removed.
. "$SRC/tests/sh/lib.sh"

cd "$dir" || exit 1
python3 - <<'P'
import random
r = random.Random(5)
with open("disk.raw", "wb") as f:
    f.truncate(96 << 20)
    for i in range(120):
        f.seek(r.randrange(90 << 20))
        n = r.randrange(1, 200000)
        f.write(r.randbytes(n) if i % 2 else b"a line of text\n" * (n // 15))
    f.seek(50 << 20)
    f.write(bytes(4 << 20))		# written zeroes
    f.truncate((96 << 20) + 512)	# ends inside of a chunk
P

serve() {
	"$TIDEMARK" serve --socket=s --durability=none --format=raw \
		--quiet disk=disk.raw >out &
	server=$!
	pids+=("$server")
	until_true 10 grep -q listening out || fail "the server did not start"
}
uri="nbd+unix:///disk?socket=$dir/s"

serve
"$TIDEMARK" backup "$uri" dest --json >made 2>err
code=$?
if [ $code = 1 ] && grep -q "without libnbd" err; then
	echo "SKIP: built without libnbd"
	exit 77
fi
[ $code = 0 ] || fail "backup: $(cat err)"
echo "ok - a full backup"

python3 - <<'P' || fail "what it says: $(cat made)"
import json
m = json.load(open("made"))["disks"][0]
p = m["point"]
assert m["why_full"] and p["kind"] == "full" and p["number"] == 1
assert p["size_bytes"] == (96 << 20) + 512 and not p["instant"]
assert 0 < p["stored_bytes"] < p["data_bytes"]
P
if command -v qemu-img >/dev/null; then
	qemu-img check -q dest/000001.qcow2 || fail "qemu-img check"
	qemu-img compare -q -f raw -F qcow2 disk.raw dest/000001.qcow2 ||
		fail "qemu-img compare"
	echo "ok - qemu-img finds the same disk"
fi
"$TIDEMARK" restore dest --to=back.raw --verify --quiet || fail "restore"
cmp -s back.raw disk.raw || fail "what was restored is another disk"
[ $(($(stat -c %b back.raw) * 512)) -lt $((60 << 20)) ] || fail "it has no holes"
"$TIDEMARK" restore dest --to=back.raw --quiet 2>err && fail "written over"
grep -q "is there already" err || fail "$(cat err)"
"$TIDEMARK" restore dest --to=back.qcow2 --format=qcow2 --quiet || fail "to qcow2"
"$BUILD/tests/support/disk-tool" read back.qcow2 back2.raw
cmp -s back2.raw disk.raw || fail "the qcow2 file is another disk"
echo "ok - restored to raw and to qcow2"

# Stored as it is, and smaller.
for how in none zstd:-5 zstd:12; do
	"$TIDEMARK" backup "$uri" "$how" --compress=$how --json >made.$how 2>err ||
		fail "$how: $(cat err)"
	"$TIDEMARK" restore $how --to=back.$how --verify --quiet >/dev/null || fail "restore $how"
	cmp -s back.$how disk.raw || fail "$how: another disk"
	rm back.$how
done
python3 - <<'P' || fail "what is stored"
import json
def stored(how):
    p = json.load(open("made" + how))["disks"][0]["point"]
    return p["stored_bytes"], p["data_bytes"]
assert stored(".none")[0] == stored(".none")[1]
assert stored(".zstd:12")[0] <= stored("")[0] < stored(".none")[0]
assert stored("")[0] <= stored(".zstd:-5")[0] < stored(".none")[0]
P
for how in zstd: zstd:0 zstd:20 zstd:-8 zstd:3x zlib ""; do
	"$TIDEMARK" backup "$uri" never --compress="$how" 2>err
	code=$?
	{ [ $code = 2 ] && [ ! -e never ]; } || fail "--compress=$how: $code"
done
echo "ok - as much compressed as one likes"

# Onto an export that is full of something else.
head -c $(((96 << 20) + 1024)) /dev/urandom >target.raw
"$TIDEMARK" serve --socket=t --durability=none --format=raw --quiet \
	disk=target.raw >tout &
pids+=($!)
until_true 10 grep -q listening tout
"$TIDEMARK" restore dest --to="nbd+unix:///disk?socket=$dir/t" --verify \
	--quiet || fail "to an export"
cmp -s -n "$(stat -c %s disk.raw)" target.raw disk.raw || fail "the export differs"
truncate -s 1M small.raw
"$TIDEMARK" serve --socket=u --durability=none --format=raw --quiet \
	disk=small.raw >uout &
pids+=($!)
until_true 10 grep -q listening uout
"$TIDEMARK" restore dest --to="nbd+unix:///disk?socket=$dir/u" --quiet 2>err &&
	fail "onto a smaller one"
grep -q "1048576 bytes" err || fail "$(cat err)"
echo "ok - restored to an export"

# A server of another kind, and one connection.
if command -v qemu-nbd >/dev/null; then
	cp disk.raw other.raw
	qemu-nbd -t -r -f raw -k "$dir/q" -x other other.raw &
	pids+=($!)
	until_true 30 qemu-img info "nbd+unix:///other?socket=$dir/q" || fail "no qemu-nbd"
	"$TIDEMARK" backup "nbd+unix:///other?socket=$dir/q" foreign --quiet >/dev/null ||
		fail "from qemu-nbd"
	"$TIDEMARK" restore foreign --to=foreign.raw --quiet >/dev/null
	cmp -s foreign.raw disk.raw || fail "qemu-nbd: another disk"
	echo "ok - from qemu-nbd"
fi

"$TIDEMARK" backup verify dest --quiet || fail "verify of what is good"
damaged() {	# what is said, status; the folder is in bad/
	"$TIDEMARK" backup verify bad --quiet >out 2>err
	code=$?
	[ $code = 3 ] || fail "$1: exit code $code: $(cat err)"
	grep -q "$1" err || fail "$(cat err) lacks $1"
	"$TIDEMARK" restore bad --to=never.raw --quiet 2>err && fail "$1: restored"
	[ ! -e never.raw ] || fail "$1: a file was left"
}
fresh() { rm -rf bad && cp -r dest bad; }
fresh
python3 - <<'P'
import os, random
n = os.path.getsize("bad/000001.qcow2")
with open("bad/000001.qcow2", "r+b") as f:
    f.seek(n // 2)
    b = f.read(1)
    f.seek(n // 2)
    f.write(bytes([b[0] ^ 1]))
P
damaged "point 1"
fresh
truncate -s -5 bad/000001.digests
damaged "digests are damaged"
fresh
python3 -c 'f=open("bad/000001.digests","r+b"); f.seek(30); f.write(b"x")'
damaged "sum does not fit"
fresh
rm bad/000001.qcow2
damaged "000001.qcow2"
fresh
truncate -s 200 bad/manifest.json
damaged "manifest.json is damaged"
fresh
sed -i 's/"size_bytes": 1/"size_bytes": 2/' bad/manifest.json
damaged "sum does not fit"
echo "ok - what is damaged is found and named"

# Killed in the middle; the next run finds what it left, and goes on.
for wait in 0.05 0.2 0.5; do
	"$TIDEMARK" backup "$uri" dest --bandwidth=8M --quiet &
	run=$!
	sleep $wait
	kill -9 $run
	wait $run 2>/dev/null
	"$TIDEMARK" backup verify dest --quiet >/dev/null || fail "killed: verify"
done
"$TIDEMARK" backup "$uri" dest --quiet >out || fail "after killed ones"
[ "$("$TIDEMARK" backup list dest | wc -l)" = 2 ] || fail "points: $("$TIDEMARK" backup list dest)"
[ "$(ls dest | grep -c qcow2)" = 2 ] || fail "files were left: $(ls dest)"
[ ! -e dest/pending.json ] || fail "something is still pending"
echo "ok - a killed run is undone by the next"

# Called off, and refused.
"$TIDEMARK" backup "$uri" dest --bandwidth=256K --quiet 2>err &
run=$!
until_true 60 test -e dest/pending.json || fail "a run does not begin"
"$TIDEMARK" backup "$uri" dest --quiet 2>busy && fail "two at once"
grep -q "somebody works on it" busy || fail "$(cat busy)"
kill -INT $run
wait $run && fail "called off, and well?"
grep -q "called off" err || fail "$(cat err)"
[ "$(ls dest | grep -c qcow2)" = 2 ] || fail "called off: files were left"
mkdir full && touch full/something
"$TIDEMARK" backup "$uri" full --quiet 2>err && fail "into a strange folder"
grep -q "not empty" err || fail "$(cat err)"
echo "ok - called off, refused"

# A bandwidth is not passed; how near it comes is a matter of the machine.
"$TIDEMARK" backup "$uri" slow --bandwidth=4M --json --quiet >slow.json || fail "slow"
python3 - <<'P' || fail "bandwidth"
import json
d = json.load(open("slow.json"))["disks"][0]
s = d["elapsed_ns"] / 1e9
read = d["point"]["data_bytes"] + d["point"]["zero_bytes"]
print("# %.2f MB/s" % (read / s / 1e6))
assert read / s < 1.05 * (4 << 20), read / s
P
echo "ok - the bandwidth is held"
exit 0
