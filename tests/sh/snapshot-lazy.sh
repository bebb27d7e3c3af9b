#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A stock QEMU that runs before its memory is there: whole restores as the rival,
# lazily, lazily with the order of the run before; whoever serves it is killed;
# fifty of one snapshot share what they do not change; exports.
. "${SRC:?}/tests/sh/lib.sh"
. "$SRC/tests/sh/qemu.sh"
cd "$dir" || exit 1
shm=$(mktemp -d -p /dev/shm 2>/dev/null) || shm=$dir
trap 'finish; rm -rf "$shm"' EXIT
tm=$TIDEMARK

boot_image 20000
start_qemu vm memory-backend-memfd,size=64M,share=on
lives vm 60
timeout 100 "$tm" snapshot create --pid="$qemu" --qmp=vm.qmp --to=chain one >out 2>err ||
	fail "create: $(cat err)"
kill -9 "$qemu"
"$tm" snapshot restore chain one --memory="$shm/ram" --devices=devices >out || fail restore

# --- exports ---
"$tm" snapshot export chain one --to=x.raw || fail "export raw"
cmp x.raw "$shm/ram" || fail "raw"
"$tm" snapshot export chain one --format=elf --to=core || fail "export elf"
"$tm" snapshot export chain one --format=firecracker --to=fc || fail "export firecracker"
cmp fc "$shm/ram" || fail "firecracker"
"$tm" snapshot export chain one --format=qemu --to=q 2>err && fail "export qemu"
grep -q 'restore --memory' err && [ ! -e q ] || fail "it says: $(cat err)"
python3 - "$shm/ram" <<'P' || fail "the core file"
import struct, sys
core, ram = open('core', 'rb').read(), open(sys.argv[1], 'rb').read()
assert core[:7] == b'\x7fELF\x02\x01\x01' and struct.unpack_from('<H', core, 16)[0] == 4
off, = struct.unpack_from('<Q', core, 32); n, = struct.unpack_from('<H', core, 56)
loads = [struct.unpack_from('<IIQQQQQQ', core, off + 56 * i) for i in range(n)]
loads = [l for l in loads if l[0] == 1]
assert len(loads) == 1 and loads[0][5] == len(ram)
assert core[loads[0][2]:] == ram
open('address', 'w').write(hex(loads[0][3]))
P
if command -v gdb >/dev/null; then
	# The boot sector is where a PC puts it.
	gdb -batch -nx --core=core -ex "x/2xb $(cat address)+0x7dfe" >gdb.out 2>&1
	grep -q '0x55.*0xaa' gdb.out || fail "gdb says: $(cat gdb.out)"
fi
echo "ok - raw, a core file for gdb, Firecracker's memory file"

# --- lazily ---
wait_for_devices() {
	start_qemu "$1" "${2:-memory-backend-memfd,size=64M,share=on}" -incoming defer
}
lazily() {
	wait_for_devices "$1"
	timeout 100 "$tm" snapshot restore chain one --lazy --pid="$qemu" --qmp="$1.qmp" \
		--json "${@:2}" >"$1.out" 2>err || {
		grep -q 'vm.unprivileged_userfaultfd' err && { echo "skip: $(cat err)"; exit 77; }
		fail "$1: $(cat err)"
	}
	lives "$1" 60
	ls -l "/proc/$qemu/fd" | grep -q userfaultfd && fail "a userfaultfd is left"
	grep -q ' um' <(grep VmFlags "/proc/$qemu/smaps") && fail "a registration is left"
	kill -9 "$qemu"
}
lazily first --order=order
[ -s order ] || fail "no order was written"
lazily second --order=order
python3 - <<'P' || fail "see above"
import json
first, second = (json.load(open(n + '.out')) for n in ('first', 'second'))
for n, r in ('first', first), ('with its order', second):
    print('# %s: runs after %.1f ms, %d faults, %d pages brought in, complete after %.1f ms' % (
        n, r['running_us'] / 1000, r['faults'], r['prefetched_pages'], r['complete_us'] / 1000))
assert first['faults'] > 0 and first['complete_us'] and second['complete_us']
P
echo "ok - runs before its memory is there"

# --- who does not wait is refused, and unharmed ---
start_qemu other memory-backend-memfd,size=64M,share=on
lives other 60
"$tm" snapshot restore chain one --lazy --pid="$qemu" --qmp=other.qmp 2>err && fail "into a running one"
grep -q 'incoming defer' err || fail "it says: $(cat err)"
lives other 60
kill -9 "$qemu"
wait_for_devices small memory-backend-memfd,size=32M,share=on
"$tm" snapshot restore chain one --lazy --pid="$qemu" --qmp=small.qmp 2>err && fail "too small"
grep -q 'not as large' err || fail "it says: $(cat err)"
kill -0 "$qemu" || fail "it was ended"
kill -9 "$qemu"
echo "ok - refusals"

# --- whoever serves is killed: the guest ends, and never saw a page made up ---
for i in 1 2 3 4 5 6; do
	wait_for_devices "k$i"
	"$tm" snapshot restore chain one --lazy --pid="$qemu" --qmp="k$i.qmp" >/dev/null 2>&1 &
	victim=$!
	sleep "0.$(printf %03d $((i * 47)))"
	kill -9 "$victim" 2>/dev/null
	wait "$victim" 2>/dev/null
	# It waits untouched, or has ended, or was complete and runs.
	settled() {
		! kill -0 "$qemu" 2>/dev/null || grep -q '^State:.Z' "/proc/$qemu/status" ||
			! ls -l "/proc/$qemu/fd" | grep -q userfaultfd
	}
	until_true 30 settled || fail "kill $i: it hangs"
	grep -q X "k$i.serial" && fail "kill $i: it counted wrong"
	kill -9 "$qemu" 2>/dev/null
done
echo "ok - six deaths of the one who serves"

# --- several of one snapshot: private mappings of its memory ---
vms=${VMS:-3}
group=()
for i in $(seq 1 "$vms"); do
	start_qemu "s$i" "memory-backend-file,size=64M,mem-path=$shm/ram,share=off" -incoming defer
	group+=("$qemu")
done
for i in $(seq 1 "$vms"); do
	python3 - "s$i" <<'P' || fail "s$i did not come back: $(cat "s$i.err")"
import sys
from qmp import Monitor
m = Monitor(sys.argv[1] + '.mon')
m.ask('migrate-set-capabilities', capabilities=[dict(capability='x-ignore-shared', state=True)])
m.ask('migrate-incoming', uri='exec:cat devices')
m.until(['paused', 'running', 'postmigrate'])
m.ask('cont')
P
done
for i in $(seq 1 "$vms"); do lives "s$i" 100; done
cmp "$shm/ram" x.raw || fail "they wrote to the snapshot's memory"
python3 - "$shm/ram" "${group[@]}" <<'P'
import re, sys
private = shared = 0
for pid in sys.argv[2:]:
    on = False
    for line in open(f'/proc/{pid}/smaps'):
        if re.match(r'[0-9a-f]+-', line): on = line.rstrip().endswith(sys.argv[1])
        elif on and line.startswith('Anonymous:'): private += int(line.split()[1])
print(f'# {len(sys.argv) - 2} VMs of 64 MiB: {private >> 10} MiB of their own')
P
echo "ok - $vms VMs of one memory"
exit 0
