#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Killed at each system call: whoever attaches to a busy QEMU or snapshots it, and
# the guest goes on, counts right, and keeps nothing of ours; whoever creates,
# merges or prunes snapshots, and each one that was reported restores as before.
# A few of them; with CAMPAIGN three times all calls of the one and each eighth of
# the other, 1,000 times attached, and 300 kills of a chain.
. "${SRC:?}/tests/sh/lib.sh"
. "$SRC/tests/sh/qemu.sh"
cd "$dir" || exit 1
tm=$TIDEMARK
# Leaks cannot be looked for in what is traced.
[ -z "${SANITIZED:-}" ] || export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0"
kill_after=$BUILD/tests/support/kill-after
times=${TIMES:-${CAMPAIGN:+1000}}
stride=${STRIDE:-${CAMPAIGN:+1}}
create_stride=${CREATE_STRIDE:-${CAMPAIGN:+8}}
again=${AGAIN:-${CAMPAIGN:+3}}
kills=${KILLS:-${CAMPAIGN:+300}}

boot_image "${RATE:-3000}"
start_qemu vm memory-backend-memfd,size=64M,share=on -accel "${ACCEL:-tcg}"
lives vm 60
ours() {
	grep -c 'r-xp 00000000 00:00 0 *$\|^VmFlags:.* u[wm]' "/proc/$qemu/smaps"
	ls -l "/proc/$qemu/fd" | grep -c userfaultfd
}
before=$(ours)
unharmed() {
	until_true 30 sh -c "'$tm' top --json --interval=50 $qemu >/dev/null" ||
		fail "$1: it cannot be attached to: $("$tm" top --json --interval=50 "$qemu")"
	[ "$(ours)" = "$before" ] || fail "$1: something is left: $(ours)"
}

# --- attached and let go, again and again ---
for i in $(seq "${times:-3}"); do
	"$tm" top --json --interval=50 "$qemu" || fail "attach $i"
done >looks
lives vm 60
[ "$(ours)" = "$before" ] || fail "something is left: $(ours)"
python3 - <<'P' || fail "see above"
import json
text, at, us = open('looks').read(), 0, []
while at < len(text):
    look, at = json.JSONDecoder().raw_decode(text, at)
    us.append(look['vms'][0]['attach_us'])
    at = len(text) - len(text[at:].lstrip())
us.sort()
print('# %d times attached: stopped for %d us (median), %d (95 %%), %d (worst)' % (
    len(us), us[len(us) // 2], us[int(len(us) * .95)], us[-1]))
P
echo "ok - attached ${times:-3} times"

# --- killed at each call ---
calls() {
	"$kill_after" 0 "$@" 3>count >/dev/null 2>err || fail "$*: $(cat err)"
	cat count
}
running() {
	python3 -c '
from qmp import Monitor
assert Monitor("vm.mon").ask("query-status")["running"]'
}
places=0
kill_all() { # NAME STRIDE COMMAND...
	local name=$1 step=$2 n all
	shift 2
	rm -rf kchain
	all=$(calls "$@")
	for n in $(seq "$((1 + RANDOM % step))" "$step" "$((all - 1))"); do
		for _ in $(seq "${again:-1}"); do
			rm -rf kchain
			"$kill_after" "$n" "$@" >/dev/null 2>&1
			until_true 30 running || fail "$name, call $n: the guest stands"
			[ "$(ours)" = "$before" ] || until_true 30 eval '[ "$(ours)" = "$before" ]' ||
				fail "$name, call $n: something is left: $(ours)"
		done
		places=$((places + 1))
		[ $((places % 25)) != 0 ] || lives vm 60
	done
	unharmed "$name"
	echo "# $name: killed at every ${step}th of $all calls"
}
kill_all top "${stride:-160}" "$tm" top --json --interval=50 "$qemu"
kill_all create "${create_stride:-1500}" "$tm" snapshot create --pid="$qemu" --qmp=vm.qmp --to=kchain k
lives vm 60
[ "$places" -gt 0 ] || fail "killed at no call at all"
echo "ok - killed at $places calls, ${again:-1} times each"
kill -9 "$qemu"

# --- a chain ---
python3 -c 'import os, random
x = bytearray(4 << 20)
open("ready", "w")
while True:
    at = random.randrange(len(x))
    x[at] = (x[at] + 1) & 255
    if not at % 64: os.sched_yield()' &
pids+=($!)
writer=$!
until_true 30 test -e ready
python3 - "$tm" "$kill_after" "$writer" "${kills:-4}" "${SEED:-1}" <<'P' || fail "see above"
import hashlib, os, random, subprocess, sys
tm, kill_after, writer, kills, seed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
rng = random.Random(seed)
known, died, done = {}, 0, 0

def run(*args):
    return subprocess.run([tm, 'snapshot', *args], capture_output=True, text=True)
def digest(name):
    r = run('restore', 'chain', name, '--memory=back', '--force')
    if r.returncode:
        sys.exit(f'{name}, which was reported, does not restore: {r.stderr}')
    return hashlib.sha256(open('back', 'rb').read()).hexdigest()
def names():
    os.makedirs('chain', exist_ok=True)
    return {os.path.splitext(n)[0] for n in os.listdir('chain') if n.endswith('.tides') and not n.startswith('.')}

# How many calls a whole one makes: by the first of its kind, which is not killed.
calls = {}
def killed(what, args):
    at = rng.randrange(40, calls[what]) if what in calls and rng.random() < .8 else 0
    with open('count', 'w') as f:
        r = subprocess.run([kill_after, str(at), tm, 'snapshot', *args], capture_output=True, text=True,
            pass_fds=(3,), preexec_fn=lambda: os.dup2(f.fileno(), 3))
    if not at:
        calls[what] = int(open('count').read())
    return r

made = 0
while died < kills:
    what = rng.choice(['create', 'create', 'merge', 'prune']) if len(known) > 3 else 'create'
    order = list(known)
    if what == 'create':
        made += 1
        args = ['create', f'--pid={writer}', '--to=chain', f'n{made}']
    elif what == 'merge':
        args = ['merge', 'chain', rng.choice(order)]
    else:
        args = ['prune', 'chain', '--keep=3']
    r = killed(what, args)
    died += r.returncode == 137
    done += r.returncode == 0
    if r.returncode not in (0, 137):
        sys.exit(f'{args}: {r.returncode} {r.stderr}')
    there = names()
    if what == 'create' and (f'n{made}' in there):
        # Reported, or not: whoever has a name is whole.
        known[f'n{made}'] = digest(f'n{made}')
    elif what == 'create' and r.returncode == 0:
        sys.exit(f'n{made} was reported and is not there')
    if what == 'prune':
        kept = order[-3:] if r.returncode == 0 else [n for n in order if n in there or n in order[-3:]]
        known = {n: known[n] for n in kept}
    for n in known if what != 'create' else rng.sample(sorted(known), min(2, len(known))):
        if digest(n) != known[n]:
            sys.exit(f'{args}: {n} is another one now')
v = run('verify', 'chain')
if v.returncode:
    sys.exit(f'verify: {v.stdout} {v.stderr}')
print(f'# seed {seed}: {died} kills in create, merge and prune ({done} came through), {made} snapshots begun')
P
echo "ok - what was reported restores"
exit 0
