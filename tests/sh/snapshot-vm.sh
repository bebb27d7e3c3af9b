#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Guests of tidemark's own VMM: snapshots of a running one, each of them brought
# back whole, lazily and from a shared file, and the guest's own verification of
# every page that it wrote; whoever paused one hangs up, sleeps, or is killed.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
tm=$TIDEMARK

# run NAME OPTIONS...: a guest on the control socket NAME, its number in $vm.
run() {
	rm -f "$1.out"
	"$tm" vm run --control="$1" --serial=/dev/null "${@:2}" >"$1.out" 2>"$1.err" &
	vm=$!
	pids+=("$vm")
	# Refused for want of a privilege is the caller's to see.
	until_true 30 begun "$1" && kill -0 "$vm" ||
		grep -q unprivileged_userfaultfd "$1.err" || fail "$1: $(cat "$1.err")"
}
begun() {
	"$tm" vm status --control="$1" || ! kill -0 "$vm"
}
verified() {
	"$tm" vm verify --control="$1" >verdict || fail "$1: $(cat verdict)"
}
over() {
	"$tm" vm stop --control="$1" >/dev/null
	wait "$vm" || fail "$1 ended with $?: $(cat "$1.err")"
}

# Who asks, and how he leaves: tests talk to the socket themselves.
cat >talk.py <<'P'
import json, socket
class Talk:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(path)
        self.f = self.s.makefile('rw')
    def ask(self, command, **more):
        self.f.write(json.dumps(dict(more, command=command)) + '\n')
        self.f.flush()
        return json.loads(self.f.readline())
P

for accel in kvm process; do
	if [ $accel = kvm ] && ! [ -w /dev/kvm ]; then
		echo "# no /dev/kvm"
		continue
	fi
	run near --accel=$accel --memory=48M --slots=3 --hole --vcpus=2 --pattern=mixed --rate=20000
	"$tm" snapshot create --vm=near --to=$accel --every=50ms --count=3 a >out 2>err ||
		fail "create: $(cat err)"
	[ "$(grep -c delta out)" = 2 ] || fail "it says: $(cat out)"
	"$tm" snapshot create --vm=near --pid=$vm --to=$accel last >out 2>err || fail "create: $(cat err)"
	"$tm" snapshot create --vm=near --pid=$$ --to=$accel not 2>err && fail "of another process"
	grep -q "another process's" err || fail "it says: $(cat err)"
	verified near
	over near
	"$tm" snapshot verify $accel >out || fail "verify: $(cat out)"

	for name in a-000001 last; do
		run far --accel=$accel --snapshot=$accel/$name
		grep -q '^runs after' far.out || fail "it says: $(cat far.out)"
		verified far
		over far
	done
	run far --accel=$accel --snapshot=$accel/last --lazy
	if grep -q unprivileged_userfaultfd far.err; then
		echo "# lazily: $(cat far.err)"
	else
		until_true 60 grep -q '^all there' far.out || fail "it says: $(cat far.out)"
		verified far
		# Nothing is left in the way of the next one.
		"$tm" snapshot create --vm=far --to=$accel again >out 2>err || fail "again: $(cat err)"
		over far
	fi
	"$tm" snapshot restore $accel last --memory=mem --force >out || fail restore
	cp mem before
	run far --accel=$accel --snapshot=$accel/last --memory-file=mem
	verified far
	"$tm" snapshot create --vm=far --to=$accel shared >out 2>err || fail "shared: $(cat err)"
	verified far
	over far
	cmp mem before || fail "it wrote to the file"
	run far --accel=$accel --snapshot=$accel/shared
	verified far
	over far
	echo "ok - $accel: there and back, whole, lazily and from a shared file"
done

# --- the order of a run that touches little ---
run near --memory=16M --pattern=idle
"$tm" snapshot create --vm=near --to=idle one >out 2>err || fail "create: $(cat err)"
over near
run far --snapshot=idle/one --lazy --order=order
if ! grep -q unprivileged_userfaultfd far.err; then
	until_true 60 test -s order || fail "no order was written"
	verified far
	over far
	run far --snapshot=idle/one --lazy --order=order
	until_true 60 grep -q '^all there' far.out || fail "it says: $(cat far.out)"
	verified far
	over far
fi

# --- whoever paused it ---
run near --accel=process --memory=32M --pattern=uniform --rate=3000
python3 - <<'P' || fail "see above"
import sys, time
sys.path.insert(0, '.')
from talk import Talk
other = Talk('near')
def state():
    s = other.ask('status')
    return s['state'], s['running']
def runs():
    for _ in range(3000):
        if state() == ('running', True):
            return
        time.sleep(0.01)
    raise SystemExit(f'it is {state()}')
t = Talk('near')
assert t.ask('pause') == {'paused': True}
assert state() == ('paused', False)
assert 'cannot be' in Talk('near').ask('pause')['error']
assert 'by itself' in other.ask('resume', force=True)['error']
written = other.ask('status')['pages_written']
time.sleep(0.1)
assert other.ask('status')['pages_written'] == written
said = t.ask('continue')
assert said['stood_ns'] > 90e6 and bytes.fromhex(said['state'])
runs()
t.ask('pause'); t.f.close(); t.s.close()
runs()
t = Talk('near')
t.ask('pause')
assert 'takes "continue" only' in t.ask('status')['error']
runs()
assert t.ask('pause', limit_ms=200) == {'paused': True}
import json
said = json.loads(t.f.readline())
assert 'by itself' in said['error'], said
runs()
assert 'limit_ms' in t.ask('pause', limit_ms=0)['error']
assert other.ask('verify')['verified']
P
for i in 1 2 3 4 5 6; do
	"$tm" snapshot create --vm=near --to=killed --every=1ms x >/dev/null 2>&1 &
	victim=$!
	sleep "0.$(printf %03d $((i * 31)))"
	kill -9 "$victim" 2>/dev/null
	wait "$victim" 2>/dev/null
	until_true 30 sh -c "'$tm' vm status --control=near | grep -q running" || fail "kill $i: it stands"
done
verified near
"$tm" snapshot verify killed >out || fail "after kills: $(cat out)"
over near
echo "ok - it goes on, however the one who paused it left"

# --- one that cannot be made does not end a run ---
run near --accel=process --memory=32M --pattern=uniform --rate=3000
"$tm" snapshot create --vm=near --to=goes-on --every=50ms --json on >made 2>err &
maker=$!
pids+=("$maker")
until_true 30 test -s made || fail "nothing was made: $(cat err)"
python3 - <<'P' || fail "see above"
import sys, time
sys.path.insert(0, '.')
from talk import Talk
for _ in range(3000):
    t = Talk('near')
    if 'error' not in t.ask('pause', limit_ms=60000):
        break
    time.sleep(0.01)
for _ in range(3000):
    if 'going on' in open('err').read():
        break
    time.sleep(0.01)
else:
    sys.exit('nothing was reported')
P
n=$(wc -l <made)
until_true 30 eval '[ "$(wc -l <made)" -gt $((n + 1)) ]' || fail "it made no more"
kill -INT "$maker"
wait "$maker" && fail "it says that nothing failed"
grep -q 'were not made' err || fail "it says: $(cat err)"
verified near
over near
"$tm" snapshot verify goes-on >out || fail "verify: $(cat out)"
"$tm" snapshot create --vm=near --to=goes-on --every=50ms none 2>err && fail "of nobody"
echo "ok - a run goes on after a snapshot that could not be made"

# --- what is no snapshot of it, and one that is damaged ---
"$tm" vm run --control=far --serial=/dev/null --snapshot=killed/none 2>err && fail "of nothing"
"$tm" vm run --control=far --serial=/dev/null --lazy 2>err && fail "--lazy of nothing"
grep -q 'of --snapshot' err || fail "it says: $(cat err)"
python3 -c 'import time; x = bytearray(b"x" * (8 << 20)); open("ready", "w"); time.sleep(600)' &
pids+=($!)
other=$!
until_true 30 test -e ready
"$tm" snapshot create --pid=$other --to=others p >/dev/null 2>err || fail "a process: $(cat err)"
"$tm" vm run --control=far --serial=/dev/null --snapshot=others/p 2>err && fail "of a process"
grep -q "not a guest's" err || fail "it says: $(cat err)"
# Some of what is stored is of no use any more: so it is hit in many places.
python3 - process/*.tides <<'P'
import sys
for name in sys.argv[1:]:
    b = bytearray(open(name, 'rb').read())
    for at in range(8192, len(b) * 6 // 10, 4096):
        b[at] ^= 1
    open(name, 'wb').write(b)
P
for how in "" --lazy; do
	timeout 60 "$tm" vm run --control=far --serial=/dev/null --accel=process \
		--snapshot=process/last $how >out 2>err
	code=$?
	grep -q unprivileged_userfaultfd err && continue
	[ $code = 3 ] || fail "a damaged one ($how): $code, $(cat out err)"
done
echo "ok - refusals"
exit 0
