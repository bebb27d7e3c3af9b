#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A waiting receiver and those who are no source: connections that hang up,
# rubbish, other protocols, silence. They are hung up on and counted in the log,
# the receiver waits on, and the true source comes through; a second one hears
# "busy" at once; a migration that fails does not end the receiver; a guest that
# is too large is refused before anything moves, with both numbers.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1

cat >stranger.py <<'P'
import os, socket, sys, time
def dial():
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(60); return s
kind = sys.argv[2]
if kind == 'hang-up': dial().close()
elif kind == 'rubbish': s = dial(); s.sendall(os.urandom(4096))
elif kind == 'http': s = dial(); s.sendall(b'GET / HTTP/1.0\r\n\r\n' + b' ' * 60); assert s.recv(100) == b''
elif kind == 'half':
    # Those who crowd in meanwhile may push it out before it has said a word.
    while True:
        try: s = dial(); s.sendall(b'TIDE'); break
        except OSError: pass
    open('half', 'w'); time.sleep(float(sys.argv[3]))
elif kind == 'many':
    all = [dial() for _ in range(100)]; open('many', 'w'); all += [dial() for _ in range(200)]; time.sleep(float(sys.argv[3]))
P

"$TIDEMARK" vm receive --control=far --listen=unix:wire >far.out 2>far.err &
far=$!
pids+=("$far")
until_true 10 grep -q listening far.out || fail "no receiver: $(cat far.err)"
for kind in hang-up rubbish http; do
	timeout 60 python3 stranger.py wire $kind 2>/dev/null
	until_true 5 test -S wire || fail "$kind: the receiver is gone"
done
timeout 5 "$TIDEMARK" vm status --control=wire >/dev/null 2>&1 && fail "it answers as a VM"
kill -0 "$far" || fail "a stranger ended the receiver: $(cat far.err)"
until_true 5 sh -c '[ $(grep -c "no source was closed" far.err) -ge 4 ]' ||
	fail "strangers are not in the log: $(cat far.err)"
# Silent ones, more of them than it looks at at a time, stand at the door now.
python3 stranger.py wire many 60 &
pids+=($!)
python3 stranger.py wire half 60 &
pids+=($!)
until_true 30 test -e half -a -e many || fail "strangers cannot come: $(cat far.err)"
start_near --slots=2
"$TIDEMARK" vm migrate --control="$dir/near" --bandwidth=4M unix:wire >slow 2>&1 &
slow=$!
pids+=("$slow")
until_true 10 sh -c "'$TIDEMARK' vm status --control=near --json | grep -q migrating" ||
	fail "the true source does not come through: $(cat slow)"
sleep 0.5
# A second source: told at once, not after a timeout.
"$TIDEMARK" vm run --control=other --serial=/dev/null --memory=8M --slots=1 --vcpus=1 &
pids+=($!)
until_true 30 "$TIDEMARK" vm status --control=other || fail "no second guest"
SECONDS=0
timeout 60 "$TIDEMARK" vm migrate --control=other unix:wire >busy 2>&1 && fail "two at once"
[ $SECONDS -le 20 ] || fail "a second source waited for $SECONDS s"
grep -q busy busy || fail "the second source is told: $(cat busy)"
# The first is called off: the receiver waits on, and takes the second.
kill -INT "$slow"
wait "$slow"
until_true 10 grep -q 'waiting for the next one' far.err || fail "$(cat far.err)"
timeout 60 "$TIDEMARK" vm migrate --control=other unix:wire >moved 2>&1 || fail "$(cat moved far.err)"
until_true 5 sh -c "'$TIDEMARK' vm status --control=far --json | grep -q '\"running\": true'" ||
	fail "the second guest does not run"
"$TIDEMARK" vm verify --control=far >/dev/null || fail "not verified"
# And who comes after it, though nobody is received any more.
timeout 60 "$TIDEMARK" vm migrate --control=near unix:wire >busy 2>&1 && fail "two guests in one"
grep -q 'busy: a guest runs here already' busy || fail "the third source is told: $(cat busy)"
"$TIDEMARK" vm stop --control=far
wait "$far" || fail "the receiver ended with $?"
echo "ok - strangers, a second source, a failed attempt"

# --- too large ---
rm far.out
"$TIDEMARK" vm receive --control=far --listen=unix:wire --max-memory=16M --once >far.out 2>far.err &
far=$!
pids+=("$far")
until_true 10 grep -q listening far.out || fail "no receiver"
timeout 60 "$TIDEMARK" vm migrate --control=near unix:wire >out 2>&1 && fail "it takes 32M"
grep -q '33554432 bytes of memory or more, and --max-memory is 16777216' out || fail "$(cat out)"
[ "$(state near)" = "running True" ] || fail "the guest does not run on: $(state near)"
wait "$far"
[ $? = 1 ] || fail "--once did not end it"
echo "ok - a guest that is too large is refused with both numbers"

# --- a source that has much to do before it speaks ---
cat >late.py <<'P'
# Connects at once, passes on what the source says 7 s later, but for a byte.
import socket, threading, time
l = socket.socket(socket.AF_UNIX); l.bind('late'); l.listen()
a, _ = l.accept()
b = socket.socket(socket.AF_UNIX); b.connect('wire')
b.sendall(a.recv(1))
time.sleep(7)
def pump(f, t):
    while d := f.recv(65536): t.sendall(d)
    t.shutdown(socket.SHUT_WR)
threading.Thread(target=pump, args=(b, a), daemon=True).start()
pump(a, b)
time.sleep(60)
P
rm far.out
"$TIDEMARK" vm run --control=idle --serial=/dev/null --memory=8M --slots=1 --pattern=idle &
pids+=($!)
until_true 30 "$TIDEMARK" vm status --control=idle || fail "no idle guest"
"$TIDEMARK" vm receive --control=far --listen=unix:wire --once >far.out 2>far.err &
far=$!
pids+=("$far")
until_true 10 grep -q listening far.out || fail "no receiver"
python3 late.py &
pids+=($!)
until_true 10 test -S late || fail "no proxy"
timeout 100 "$TIDEMARK" vm migrate --control=idle unix:late >out 2>&1 ||
	fail "a source that is late: $(cat out far.err)"
"$TIDEMARK" vm stop --control=far
wait "$far" || fail "the receiver ended with $?"
echo "ok - a source that is late is no stranger"

# --- slow channels are not silent ones ---
rm far.out
"$TIDEMARK" vm receive --control=far --listen=unix:wire --stall-timeout=3000 --once >far.out 2>far.err &
far=$!
pids+=("$far")
until_true 10 grep -q listening far.out || fail "no receiver"
timeout 100 "$TIDEMARK" vm migrate --control=near --channels=64 --bandwidth=2M --max-rounds=1 \
	--stop-anyway --max-throttle=0 --stall-timeout=3000 unix:wire >out 2>&1 ||
	fail "64 channels at 2M: $(tail -2 out) $(cat far.err)"
"$TIDEMARK" vm verify --control=far >/dev/null || fail "not verified"
echo "ok - 64 channels share a slow wire"
