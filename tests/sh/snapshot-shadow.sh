#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A shadow of a running QEMU's memory: it is copied while its owner has it
# paused, and the incremental snapshot of that same pause must bring back just
# that: a page that was written and not seen would differ. Between any two such
# pauses one snapshot is taken of the guest while it runs, so that what it writes
# under our hands is looked for, too. How much was said to be written and was
# not comes out as a figure. ROUNDS (2; CAMPAIGN: 200), ACCEL (tcg, kvm).
. "${SRC:?}/tests/sh/lib.sh"
. "$SRC/tests/sh/qemu.sh"
cd "$dir" || exit 1
rounds=${ROUNDS:-${CAMPAIGN:+200}}
boot_image "${RATE:-3000}"
start_qemu vm memory-backend-memfd,size=64M,share=on -accel "${ACCEL:-tcg}"
lives vm 60
timeout "${SECONDS_AT_MOST:-3600}" python3 - "$TIDEMARK" "$qemu" "${rounds:-2}" <<'P' || fail "see above"
import glob, hashlib, json, mmap, os, signal, subprocess, sys, time
sys.path.insert(0, '.')
from qmp import Monitor
tidemark, pid, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
m = Monitor('vm.mon')
memory = next(f for f in glob.glob(f'/proc/{pid}/fd/*') if 'memory-backend-memfd' in os.readlink(f))
PAGE = 4096

def digests(path):
    b = open(path, 'rb').read()
    return [hashlib.blake2b(b[i:i + PAGE], digest_size=8).digest() for i in range(0, len(b), PAGE)]

ours = subprocess.Popen([tidemark, 'snapshot', 'create', f'--pid={pid}', '--qmp=vm.qmp', '--to=chain',
    '--every=250ms', '--keep=12', '--json', 'shadow'], stdout=subprocess.PIPE, text=True)
def step():
    """One snapshot; then it sleeps until the next, and is stopped there."""
    ours.send_signal(signal.SIGCONT)
    pages = 0
    while True:
        said = json.loads(ours.stdout.readline())
        ours.send_signal(signal.SIGSTOP)
        pages += said['live_pages'] + said['paused_pages']
        if not [n for n in os.listdir('chain') if n.endswith('.part')]:
            return said['name'], pages
        # It was slow to be stopped, and is at the next one already.
        ours.send_signal(signal.SIGCONT)
def restored(name):
    r = subprocess.run([tidemark, 'snapshot', 'restore', 'chain', name, '--memory=back', '--force'],
        capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr)
    return digests('back')
def differ(a, b):
    return sum(x != y for x, y in zip(a, b))

try:
    step()
    said = changed = 0
    for n in range(rounds):
        before, _ = step()  # while it runs
        time.sleep(0.05)
        m.ask('stop')
        new, pages = step()
        now = digests(memory)
        m.ask('cont')
        missed = differ(now, restored(new))
        if missed:
            sys.exit(f'round {n}: {missed} pages were written and not seen')
        said += pages
        changed += differ(now, restored(before))
    if not changed:
        sys.exit('the guest wrote nothing')
    print(f'# {rounds} pauses, {len(now)} pages each, missed 0; {said} were said to be written, '
        f'{changed} of them had changed: {100 * (said - changed) / said:.1f} % false')
finally:
    ours.kill()
P
lives vm
echo "ok - no page missed"
exit 0
