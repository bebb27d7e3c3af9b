#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Snapshots of a stock QEMU that knows nothing of us, while its guest runs: each
# is brought back and goes on, memory and processor of one moment; the memory is
# what QEMU itself says it is; whoever dies while snapshotting leaves the guest
# running; damage is found; pruning keeps what it promises.
. "${SRC:?}/tests/sh/lib.sh"
. "$SRC/tests/sh/qemu.sh"
cd "$dir" || exit 1
shm=$(mktemp -d -p /dev/shm 2>/dev/null) || shm=$dir
trap 'finish; rm -rf "$shm"' EXIT
tm=$TIDEMARK

boot_image 60000
start_qemu vm memory-backend-memfd,size=64M,share=on
lives vm
vm=$qemu
# Pages of code that no file has, and mappings that are write-protected (uw).
ours() { grep -c 'r-xp 00000000 00:00 0 *$\|^VmFlags:.* uw' "/proc/$vm/smaps"; }
before=$(ours)

timeout 60 "$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=chain --every=300ms \
	--count=6 --json run >out 2>err || fail "create: $(cat err)"
[ "$(wc -l <out)" = 6 ] || fail "$(cat out)"
python3 - out <<'P' || fail "see above"
import json, sys
rows = [json.loads(l) for l in open(sys.argv[1])]
assert rows[0]['base'] and not any(r['base'] for r in rows[1:]), 'deltas'
pauses = sorted(r['paused_us'] / 1000 for r in rows)
for r in rows[1:]:
    assert r['live_pages'] < r['memory_pages'] / 2, 'a delta looked at everything'
print('# paused for %.1f ms (median; %.1f at most), %.1f of it for the devices; attached in %d us' % (
    pauses[3], pauses[-1], sorted(r['devices_us'] / 1000 for r in rows)[3], rows[0]['attach_us']))
P
lives vm
echo "ok - six snapshots of a running guest"

# --- the same pause, by QEMU itself ---
qmp vm stop >/dev/null
qmp vm pmemsave "{\"val\": 0, \"size\": 67108864, \"filename\": \"$dir/said\"}" >/dev/null
timeout 60 "$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=chain still >out 2>err ||
	fail "create while paused: $(cat err)"
qmp vm query-status | grep -q '"running": false' || fail "a paused guest was let go on"
qmp vm cont >/dev/null
lives vm
"$tm" snapshot restore chain still --memory=ours >out || fail "restore"
# Between 640 KiB and 1 MiB a guest sees other things than its memory.
cmp -n 655360 said ours || fail "memory is not what QEMU says"
cmp -i 1048576 said ours || fail "memory is not what QEMU says"
echo "ok - equal to what QEMU saved at the same pause"

# --- bring each back ---
back() {
	rm -f "$shm/back.ram" devices back.*
	"$tm" snapshot restore chain "$1" --memory="$shm/back.ram" \
		--devices=devices >out 2>err || fail "restore $1: $(cat err)"
	start_qemu back "memory-backend-file,size=64M,mem-path=$shm/back.ram,share=on" \
		-incoming defer
	python3 - <<'P' || fail "$1 did not come back: $(cat back.err)"
from qmp import Monitor
m = Monitor('back.mon')
m.ask('migrate-set-capabilities', capabilities=[dict(capability='x-ignore-shared', state=True)])
m.ask('migrate-incoming', uri='exec:cat devices')
m.until(['paused', 'running', 'postmigrate'])
m.ask('cont')
P
	lives back
	kill -9 "$qemu"
	wait "$qemu" 2>/dev/null
}
for name in $("$tm" snapshot list chain --json | python3 -c '
import json, sys
for s in json.load(sys.stdin)["snapshots"]: print(s["name"])'); do
	back "$name"
done
echo "ok - all seven go on from where they were, and count right"

running() { qmp vm query-status | grep -q '"running": true'; }

# --- somebody dies while he snapshots ---
start=$(date +%s%N)
"$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=killed whole >out 2>err || fail "create: $(cat err)"
ms=$((($(date +%s%N) - start) / 1000000))
kills=${KILLS:-10}
for i in $(seq 1 "$kills"); do
	# Its monitor serves one: whoever the last one left there goes first.
	python3 -c 'from qmp import Monitor; Monitor("vm.qmp")' || fail "no monitor"
	"$tm" snapshot create --pid="$vm" --qmp=vm.qmp --to=killed --every=10ms \
		"k$i" >>killed.out 2>&1 &
	victim=$!
	sleep "$(awk "BEGIN { print $ms * ($i * 37 % 100) / 90000 }")"
	kill -9 "$victim"
	wait "$victim" 2>/dev/null
	until_true 60 running || fail "kill $i left the guest paused: $(qmp vm query-status)"
done
qmp_state=$(qmp vm query-status)
case $qmp_state in *'"running": true'*) ;; *) fail "the guest is left as $qmp_state" ;; esac
lives vm
left_alone() { [ "$(ours)" = "$before" ]; }
until_true 60 left_alone || fail "$before mappings became $(ours)"
ls -l "/proc/$vm/fd" | grep -q userfaultfd && fail "a userfaultfd is left"
qmp vm query-migrate-capabilities | grep -q '"state": true, "capability": "x-ignore-shared"' &&
	fail "the capability is left on"
"$tm" snapshot verify killed >out || fail "a snapshot with a name is damaged: $(cat out)"
echo "ok - $kills deaths: the guest runs, $("$tm" snapshot list killed | wc -l) snapshots are good"

# --- damage, prune ---
cp -r chain damaged
python3 - "$tm" <<'P' || fail "see above"
import os, random, subprocess, sys
path = 'damaged/run-000003.tides'
good = open(path, 'rb').read()
random.seed(7)
places = [0, 9, 24, 56, 100, 160, 184, 191, 192, 250, len(good) - 1, len(good) - 8, len(good) - 100]
places += [random.randrange(len(good)) for _ in range(60)]
for at in places:
    bad = bytearray(good); bad[at] ^= 1 << random.randrange(8)
    open(path, 'wb').write(bad)
    r = subprocess.run([sys.argv[1], 'snapshot', 'verify', 'damaged', 'run-000003'], capture_output=True, text=True)
    if r.returncode != 3: sys.exit(f'a flip at {at} of {len(good)}: exit {r.returncode} {r.stdout}')
for n in (0, 100, len(good) // 2, len(good) - 1):
    open(path, 'wb').write(good[:n])
    r = subprocess.run([sys.argv[1], 'snapshot', 'restore', 'damaged', 'run-000004', '--memory=x', '--force'], capture_output=True, text=True)
    if r.returncode != 3 or os.path.exists('x'): sys.exit(f'cut at {n}: exit {r.returncode}')
P
echo "ok - every flip is found"
for n in 5 6; do "$tm" snapshot restore chain run-00000$n --memory="want$n" >out || fail restore; done
"$tm" snapshot prune chain --keep=3 >out || fail "prune"
[ "$(cat out)" = "4 removed" ] || fail "$(cat out)"
for n in 5 6; do
	"$tm" snapshot restore chain run-00000$n --memory="got$n" >out || fail "restore after prune"
	cmp "want$n" "got$n" || fail "prune changed run-00000$n"
done
"$tm" snapshot verify chain >out || fail "$(cat out)"
"$tm" snapshot restore chain run-000001 --memory=x 2>/dev/null && fail "it is there still"
back run-000006
echo "ok - pruned"

# --- private memory: its devices are not to be had, and that is said ---
start_qemu private memory-backend-ram,size=64M
lives private
"$tm" snapshot create --pid="$qemu" --qmp=private.qmp --to=p a 2>err && fail "private memory"
grep -q 'share=on' err || fail "it says: $(cat err)"
"$tm" snapshot create --pid="$qemu" --qmp=private.qmp --to=p --memory-only a >out 2>err ||
	fail "memory only: $(cat err)"
lives private
echo "ok - private memory"
