#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A Linux guest in a stock QEMU that works all the time and checks itself: its
# snapshots, half of them while it runs, half in a pause of its owner's, in which
# QEMU writes its memory itself (pmemsave): those must be the same. Each is brought
# back into a new QEMU, goes on working, and finds what it wrote before.
# SNAPSHOTS (2; CAMPAIGN: 20), WORK (writer; CAMPAIGN: redis, if scripts/guest-redis
# brought one), ACCEL (tcg; kvm where it can run a kernel).
. "${SRC:?}/tests/sh/lib.sh"
. "$SRC/tests/sh/qemu.sh"
for p in cpio busybox; do
	command -v $p >/dev/null || { echo "skip: there is no $p"; exit 77; }
done
need_guest_kernel
cd "$dir" || exit 1
shm=$(mktemp -d -p /dev/shm 2>/dev/null) || shm=$dir
trap 'finish; rm -rf "$shm"' EXIT
tm=$TIDEMARK
accel=${ACCEL:-tcg}
work=${WORK:-writer}
redis=${TIDEMARK_GUEST_REDIS:-$BUILD/guest-redis}
if [ -n "${CAMPAIGN:-}" ]; then
	"$SRC/scripts/guest-redis" "$redis" && work=${WORK:-redis}
fi
[ -d "$redis" ] && [ "$work" = redis ] || redis=
snapshots=${SNAPSHOTS:-${CAMPAIGN:+20}}
snapshots=${snapshots:-2}
bytes=$((192 << 20))
"$SRC/tests/support/linux-guest" initrd $redis || fail "no initrd"
truncate -s 512 boot.img

linux() { # NAME MEMORY-BACKEND [OPTIONS...]
	start_qemu "$1" "$2" -accel "$accel" -kernel "$kernel/vmlinuz" -initrd initrd \
		-append "console=ttyS0 quiet panic=-1 rdinit=/init work=$work" -no-reboot "${@:3}"
}
said() { # NAME: how often it said that it had done something
	grep -c 'GUEST [vs]er' "$1.serial"
}
works() { # NAME SECONDS
	local n
	n=$(said "$1")
	until_true "$2" eval "[ \$(said $1) -gt $((n + 1)) ] || grep -q wrong $1.serial" ||
		fail "the guest $1 does nothing: $(tail -3 "$1.serial" "$1.err")"
	! grep -q wrong "$1.serial" || fail "$(cat "$1.serial")"
}
linux vm "memory-backend-memfd,size=$bytes,share=on"
first=$qemu
if [ "$accel" = kvm ] && ! until_true 60 grep -q 'GUEST up' vm.serial; then
	echo "skip: KVM here does not get a kernel to run in 60 s"
	exit 77
fi
until_true 240 grep -q 'GUEST up' vm.serial || fail "no Linux: $(cat vm.serial vm.err)"
works vm 240

# --- one run, one snapshot each time it is let go on; every other one in a pause ---
python3 - "$tm" "$qemu" "$snapshots" "$bytes" <<'P' || fail "see above"
import json, os, signal, subprocess, sys, time
sys.path.insert(0, '.')
from qmp import Monitor
tm, pid, count, size = sys.argv[1], *map(int, sys.argv[2:])
m = Monitor('vm.mon')
ours = subprocess.Popen([tm, 'snapshot', 'create', f'--pid={pid}', '--qmp=vm.qmp', '--to=chain',
    '--every=300ms', f'--count={count}', '--json', 'linux'], stdout=subprocess.PIPE, text=True)
# What is no memory: the hole for a display, and ROMs that may hide some.
HOLE, END = 0xa0000, 0x100000
try:
    for n in range(count):
        paused = n % 2
        if paused:
            m.ask('stop')
        ours.send_signal(signal.SIGCONT)
        said = json.loads(ours.stdout.readline())
        # At the last one it is over.
        ours.send_signal(signal.SIGSTOP)
        if not paused:
            continue
        m.ask('pmemsave', val=0, size=size, filename=os.path.abspath('ref'))
        m.ask('cont')
        subprocess.run([tm, 'snapshot', 'restore', 'chain', said['name'], '--memory=back', '--force'],
            check=True, stdout=subprocess.DEVNULL)
        ref, back = open('ref', 'rb').read(), open('back', 'rb').read()
        assert len(ref) == len(back) == size
        if ref[:HOLE] != back[:HOLE] or ref[END:] != back[END:]:
            differ = [i for i in range(0, size, 4096) if ref[i:i + 4096] != back[i:i + 4096]]
            sys.exit(f"{said['name']}: {len(differ)} pages are not what QEMU wrote itself")
    ours.send_signal(signal.SIGCONT)
    assert ours.wait(60) == 0
finally:
    ours.kill()
P
works vm 60
kill -9 "$first"
echo "ok - $snapshots snapshots, those in a pause as QEMU wrote them ($work)"

# --- each of them back ---
"$tm" snapshot verify chain >out || fail "$(cat out)"
n=0
for name in $("$tm" snapshot list chain | awk '{print $1}'); do
	"$tm" snapshot restore chain "$name" --memory="$shm/ram" --devices=devices --force >out ||
		fail "restore $name"
	linux "$name" "memory-backend-file,size=$bytes,mem-path=$shm/ram,share=on" -incoming defer
	python3 - "$name" <<'P' || fail "$name did not come back: $(cat "$name.err")"
import sys
from qmp import Monitor
m = Monitor(sys.argv[1] + '.mon')
m.ask('migrate-set-capabilities', capabilities=[dict(capability='x-ignore-shared', state=True)])
m.ask('migrate-incoming', uri='exec:cat devices')
m.until(['paused', 'running', 'postmigrate'])
m.ask('cont')
P
	works "$name" 120
	kill -9 "$qemu"
	n=$((n + 1))
done
[ "$n" = "$snapshots" ] || fail "$n of $snapshots"
echo "ok - $n came back, went on, and found all they had written"
exit 0
