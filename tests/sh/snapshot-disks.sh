#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Memory and disk as one moment: a guest writes each count to its memory, then to
# its disk, which Tidemark serves. Whatever snapshot is there, also after whoever
# made it was killed, has both, within one step; and the VM runs on.
. "${SRC:?}/tests/sh/lib.sh"
. "$SRC/tests/sh/qemu.sh"
cd "$dir" || exit 1
tm=$TIDEMARK
mkdir live
truncate -s 4M disk.raw
"$tm" serve --socket=s --control=ctl --live-folder=live --format=raw disk=disk.raw >serve.out 2>&1 &
pids+=("$!")
until_true 30 test -S s || fail "no server: $(cat serve.out)"
"$tm" checkpoint list --control=ctl disk >out 2>err || {
	echo "skip: no checkpoints here: $(cat err)"
	exit 77
}
uri="nbd+unix:///disk?socket=$dir/s"
boot_image 20000 -DDISK
start_qemu vm memory-backend-memfd,size=64M,share=on \
	-drive "file=$uri,format=raw,if=ide,index=1"
vm=$qemu
grow() { [ "$(stat -c %s vm.serial)" -gt "$1" ]; }
lives vm 120

take() { exec "$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=chain --disk="$uri" --disks-to=backup "$@"; }
timeout 200 "$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=chain --disk="$uri" --disks-to=backup \
	--every=100ms --count=5 --json run >out 2>err || {
	grep -q 'without libnbd' err && { echo "skip: $(cat err)"; exit 77; }
	fail "create: $(cat err)"
}
lives vm 120

# both NAME: the counts of memory and disk
both() {
	python3 - "$tm" "$1" <<'P'
import json, os, struct, subprocess, sys
tm, name = sys.argv[1:3]
def run(*a): return subprocess.run([tm, *a], check=True, capture_output=True, text=True).stdout
show = json.loads(run('snapshot', 'show', 'chain', name))
assert len(show['disks']) == 1, show['disks']
d = show['disks'][0]
run('snapshot', 'restore', 'chain', name, '--memory=memory', '--force')
run('restore', d['folder'], f"--point={d['point']}", '--to=image', '--force', '--quiet')
m = struct.unpack('<I', open('memory', 'rb').read()[0x100000:0x100004])[0]
b = open('image', 'rb').read(512)
k = struct.unpack('<I', b[:4])[0]
assert b == b[:4] * 128, 'half a sector'
assert 0 <= m - k <= 1, f'{name}: memory says {m}, the disk {k}'
print(m, k)
P
}
last=-1
for name in $("$tm" snapshot list chain | awk '{print $1}'); do
	both "$name" >counts || fail "see above"
	read -r m _ <counts
	[ "$m" -gt "$last" ] || fail "$name stands at $m, as the one before"
	last=$m
done
echo "ok - five snapshots, each with its disk"

# --- whoever makes it is killed: all of it, or none ---
kills=${KILLS:-10}
start=$(date +%s%N)
(take whole) >out 2>err || fail "create: $(cat err)"
ms=$((($(date +%s%N) - start) / 1000000))
for i in $(seq 1 "$kills"); do
	# Its monitor serves one: whoever the last one left there goes first.
	python3 -c 'from qmp import Monitor; Monitor("vm.qmp")' || fail "no monitor"
	take "k$i" >>killed.out 2>&1 &
	victim=$!
	sleep "$(awk "BEGIN { print $ms * ($i * 61 % 100) / 90000 }")"
	kill -9 "$victim" 2>/dev/null
	wait "$victim" 2>/dev/null
	runs() { qmp vm query-status | grep -q '"running": true'; }
	until_true 30 runs || fail "kill $i left the guest paused"
done
lives vm 120
# What was left is finished or undone by the next one.
timeout 100 "$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=chain --disk="$uri" \
	--disks-to=backup last >out 2>err || fail "after the kills: $(cat err)"
"$tm" snapshot verify chain >out || fail "$(cat out)"
for name in $("$tm" snapshot list chain | awk '$1 ~ /^(k|last)/ {print $1}'); do
	both "$name" >/dev/null || fail "see above"
done
"$tm" checkpoint list --control=ctl --json disk | python3 -c '
import json, sys
assert not any(c["pending"] for c in json.load(sys.stdin)["checkpoints"])' || fail "one is pending"
"$tm" backup verify backup >out 2>&1 || fail "the backup: $(cat out)"
echo "ok - $kills deaths: $("$tm" snapshot list chain | grep -c ^k) are there, each with its disk"

# --- a server that cannot: nothing is made ---
qemu-nbd --version >/dev/null 2>&1 && {
	truncate -s 1M other.raw
	qemu-nbd -k "$dir/other" -f raw -t other.raw >/dev/null 2>&1 &
	pids+=("$!")
	until_true 30 test -S other || fail "no qemu-nbd"
	"$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=none \
		--disk="nbd+unix:///?socket=$dir/other" --disks-to=backup2 x >out 2>err && fail "it went"
	grep -q 'checkpoints' err || fail "it says: $(cat err)"
	[ -z "$("$tm" snapshot list none)" ] || fail "there is one"
	lives vm 120
	echo "ok - a disk without checkpoints is refused"
}
exit 0
