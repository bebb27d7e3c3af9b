#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Images of a Ceph cluster: served, tracked, backed up and restored, and always
# what `rbd export` says they are. With CAMPAIGN: three OSDs and two copies of
# everything, one OSD killed on the way.
. "$SRC/tests/sh/lib.sh"
cd "$dir" || exit 1

no() {
	"$TIDEMARK" serve --socket=s "$1" >out 2>err && fail "$1 was served"
	if grep -q "built without librbd\|could not be loaded" err; then
		echo "skip: $(cat err)"
		exit 77
	fi
	grep -q "$2" err || fail "of $1: $(cat err)"
}
no rbd:pool "which image of which pool"
no rbd:pool/ "a name is missing"
no rbd:pool/image@ "a name is missing"
no rbd:pool/image:conf "a key and a value"
no rbd:pool/space/image@s/x "a snapshot can only be read"
no rbd:pool/image:conf=/nowhere "/nowhere: reading it: No such file"
echo "ok - names are read as QEMU reads them, and errors name the fault"

. "$SRC/tests/sh/ceph.sh"
copies=1
[ -z "${CAMPAIGN:-}" ] || copies=2
start_ceph $((copies * 2 - 1)) $copies
rbd create rbd/disk --size 64M || fail "rbd create"
uri="nbd+unix:///disk?socket=$dir/s"

# same FILE IMAGE: what rbd itself says is in it.
same() {
	rm -f exported
	rbd export --no-progress "$2" exported || fail "rbd export $2"
	cmp "$1" exported || fail "$1 is not what $2 holds"
}

write() {
	qemu-io -f raw "$uri" "$@" >qemu-io.out 2>&1 &&
		! grep -qi "failed\|error" qemu-io.out ||
		fail "qemu-io: $(cat qemu-io.out)"
}

serve --store=store rbd:rbd/disk
write -c "write -P 1 0 3M" -c "write -f -P 2 10M 64k" \
	-c "write -P 3 $((20 << 20 | 512)) 5000" -c "write -P 4 30M 8M" \
	-c "write -z 31M 64k" -c "discard 34M 4M" -c "read -P 1 0 3M" \
	-c "read -P 0 31M 64k" -c "read -P 2 10M 64k" -c flush
echo "ok - an image is served"

"$TIDEMARK" backup "$uri" backup --json >made 2>err || fail "$(cat err)"
"$TIDEMARK" restore backup --to=one.raw --verify --quiet >>out || fail "restore"
rbd snap create --no-progress rbd/disk@one || fail "rbd snap create"
same one.raw rbd/disk@one
write -c "write -P 5 1M 1M" -c "write -P 6 50M 100k" -c "discard 10M 64k"
"$TIDEMARK" backup "$uri" backup --json >made 2>err || fail "$(cat err)"
python3 - <<'P' || fail "$(cat made)"
import json
p = json.load(open("made"))["disks"][0]["point"]
assert p["kind"] == "incremental", p
assert 1 << 20 <= p["data_bytes"] + p["zero_bytes"] < 2 << 20, p
P
"$TIDEMARK" restore backup --to=two.raw --verify --quiet >>out || fail "restore"
same two.raw rbd/disk
same one.raw rbd/disk@one
echo "ok - full and incremental backups are what rbd export says"

cat >verify.fio <<F
[global]
ioengine=nbd
uri=$uri
rw=randwrite
bs=16k
iodepth=8
size=64M
io_size=16M
verify=crc32c
do_verify=1
[job]
F
if fio --enghelp 2>/dev/null | grep -qw nbd; then
	[ $copies = 1 ] || echo rate_iops=100 >>verify.fio
	fio verify.fio >fio.out 2>&1 &
	fio=$!
	if [ $copies = 2 ]; then
		sleep 2
		kill -0 "$fio" 2>/dev/null || fail "fio was too quick"
		kill -9 "${osd_pids[2]}"
	fi
	wait "$fio" || fail "fio: $(tail -5 fio.out)"
	echo "ok - fio reads back what it wrote"
fi
if [ $copies = 2 ]; then
	kill -9 "${osd_pids[2]}" 2>/dev/null
	timeout 60 ceph osd stat | grep -q "3 osds: 2 up" ||
		fail "the cluster: $(timeout 60 ceph osd stat)"
	echo "ok - one of three OSDs died under it"
fi
"$TIDEMARK" backup "$uri" backup --json >made 2>err || fail "$(cat err)"
"$TIDEMARK" backup verify backup --against="$uri" >out 2>&1 ||
	fail "verify: $(cat out)"

# Who has it open to write keeps other writers out, not snapshots and resizes.
"$TIDEMARK" restore backup --to=rbd:rbd/disk --force 2>err &&
	fail "written over while it is served"
grep -q "another client has it" err || fail "$(cat err)"
rbd resize --no-progress rbd/disk --size 80M || fail "rbd resize"
printf '{"command": "resize", "disk": "disk"}\n' | python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect("c")
s.sendall(sys.stdin.buffer.read()); print(s.recv(65536).decode())' >answer
grep -q "\"size_bytes\": *$((80 << 20))" answer || fail "$(cat answer)"
write -c "write -P 7 79M 1M"
"$TIDEMARK" backup "$uri" backup --json >made 2>err || fail "$(cat err)"
kill -9 "$server"
wait "$server" 2>/dev/null
serve --store=store rbd:rbd/disk
"$TIDEMARK" backup "$uri" backup --json >made 2>err || fail "$(cat err)"
python3 - <<'P' || fail "after a kill: $(cat made)"
import json
assert json.load(open("made"))["disks"][0]["point"]["kind"] == "incremental"
P
finish_server
echo "ok - a resize is noticed, and a killed server goes on where it was"

"$TIDEMARK" restore backup --to=rbd:rbd/back --verify --quiet >>out || fail "restore"
"$TIDEMARK" restore backup --to=last.raw --quiet >>out || fail "restore"
same last.raw rbd/back
same last.raw rbd/disk
"$TIDEMARK" restore backup --to=rbd:rbd/back 2>err && fail "written over"
grep -q "is there already" err || fail "$(cat err)"
"$TIDEMARK" restore backup --to=rbd:rbd/back --format=qcow2 2>err &&
	fail "qcow2 in an image"
grep -q "restored as raw" err || fail "$(cat err)"
"$TIDEMARK" restore backup --to=rbd:rbd/back --point=2 --force --verify \
	--quiet >>out || fail "restore over it"
same two.raw rbd/back
"$TIDEMARK" restore backup --to=rbd:rbd/first --force --quiet >>out ||
	fail "restore over a smaller one"
same last.raw rbd/first
"$TIDEMARK" restore backup --to="rbd:rbd/other:conf=$CEPH_CONF:id=admin" \
	--quiet >>out || fail "restore by another name"
same last.raw rbd/other
rbd ls rbd | sort | tr '\n' ' ' | grep -qx "back disk first other " ||
	fail "what is left: $(rbd ls rbd)"
echo "ok - restored to new images and over old ones"

# Streams: ours into an image, point after point, and Ceph's into a file.
export_diff() {
	"$TIDEMARK" backup export-diff backup --quiet "$@" || fail "export-diff"
}
import_diff() {
	"$TIDEMARK" backup import-diff --quiet "$@" >>out || fail "import-diff"
}
rbd create rbd/stream --size 1M || fail "rbd create"
export_diff --point=1 --to=- | rbd import-diff --no-progress - rbd/stream ||
	fail "rbd import-diff"
export_diff --from=1 --point=2 --to=2.diff
rbd import-diff --no-progress 2.diff rbd/stream || fail "rbd import-diff"
same one.raw rbd/stream@point-1
same two.raw rbd/stream@point-2
export_diff --from=2 --to-snap=end --to=end.diff
rbd import-diff --no-progress end.diff rbd/stream || fail "rbd import-diff"
same last.raw rbd/stream@end
rbd snap create --no-progress rbd/disk@last || fail "rbd snap create"
rbd export-diff --no-progress rbd/disk@one 1.diff || fail "rbd export-diff"
rbd export-diff --no-progress rbd/disk@last --from-snap one 1-last.diff ||
	fail "rbd export-diff"
import_diff --to=from-ceph.raw 1.diff 1-last.diff
cmp from-ceph.raw last.raw || fail "streams of Ceph's are another disk"
import_diff --to=rbd:rbd/again 1.diff 1-last.diff
same last.raw rbd/again
# Version 2 stands in an export of all snapshots: the first is from nothing.
rbd export --no-progress --export-format 2 rbd/disk all || fail "rbd export"
python3 - <<'P'
all = open("all", "rb").read()
open("v2.diff", "wb").write(all[all.index(b"rbd diff v2\n"):])
P
import_diff --to=v2.raw v2.diff
cmp v2.raw one.raw || fail "a stream of version 2 is another disk"
echo "ok - streams of points and of snapshots go both ways"

# Snapshots, each a disk of its own that says what changed since older ones.
snap="nbd+unix:///snap?socket=$dir/s"
serve --durability=none --read-only snap=rbd:rbd/disk@one
qemu-img compare -q -f raw -F raw one.raw "$snap" ||
	fail "a snapshot is another disk"
"$TIDEMARK" backup "$snap" by-snap --quiet >>out || fail "backup of @one"
finish_server
rbd snap create --no-progress rbd/disk@almost || fail "rbd snap create"
serve rbd:rbd/disk --store=store
write -c "write -P 9 5M 4k" -c "discard 32M 4M"
finish_server
rbd snap create --no-progress rbd/disk@end || fail "rbd snap create"
serve --durability=none --read-only snap=rbd:rbd/disk@end
"$TIDEMARK" backup "$snap" by-snap --bitmap=one --json >made 2>err ||
	fail "backup since @one: $(cat err)"
"$TIDEMARK" restore by-snap --to=end.raw --verify --quiet >>out ||
	fail "restore of @end"
same end.raw rbd/disk@end
"$TIDEMARK" backup "$snap" by-snap --bitmap=almost --json >made 2>err ||
	fail "backup since @almost: $(cat err)"
python3 - <<'P' || fail "what changed since @almost: $(cat made)"
import json
p = json.load(open("made"))["disks"][0]["point"]
assert p["kind"] == "incremental", p
# Of two objects, one of which is gone.
assert 4096 <= p["data_bytes"] + p["zero_bytes"] <= 8 << 20, p
P
"$TIDEMARK" backup "$snap" by-snap --bitmap=last --json >made 2>err ||
	fail "backup since @last: $(cat err)"
"$TIDEMARK" backup "$snap" by-snap --bitmap=later 2>err && fail "of no snapshot"
finish_server
echo "ok - a snapshot is served, with what changed since older ones"

# Stripes over several objects: what is where comes in another order.
rbd create rbd/striped --size 64M --stripe-unit 64K --stripe-count 4 ||
	fail "rbd create"
serve --store=striped disk=rbd:rbd/striped
write -c "write -P 1 128k 64k" -c "write -P 2 20M 300k"
"$TIDEMARK" backup "$uri" striped-backup --quiet >>out || fail "striped"
finish_server
rbd snap create --no-progress rbd/striped@a || fail "rbd snap create"
serve --store=striped disk=rbd:rbd/striped
write -c "write -P 3 1M 128k" -c "write -P 4 33M 64k"
finish_server
"$TIDEMARK" restore striped-backup --to=striped.raw --verify --quiet >>out ||
	fail "restore"
same striped.raw rbd/striped@a
rbd snap create --no-progress rbd/striped@b || fail "rbd snap create"
serve --durability=none --read-only snap=rbd:rbd/striped@b
"$TIDEMARK" backup "$snap" striped-backup --bitmap=a --quiet >>out ||
	fail "backup since @a"
finish_server
"$TIDEMARK" restore striped-backup --to=b.raw --verify --quiet >>out ||
	fail "restore"
same b.raw rbd/striped@b
echo "ok - striped images, too"
