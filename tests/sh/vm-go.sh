#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A receiver that is stopped between READY and DONE, and goes on long after its
# source gave up: GO lies in its socket, and it does not run the guest. The
# source has said UNKNOWN and kept the guest paused; the operator resumes it by
# force, and there is one guest, whole. The receiver takes it the next time.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1

# Carries frames; stops process PID before it hands on READY.
cat >relay.py <<'P'
import os, signal, socket, struct, sys, threading
pid = int(sys.argv[1])
l = socket.socket(socket.AF_UNIX); l.bind('new'); l.listen(8); os.rename('new', 'between')
def whole(s, n):
    b = b''
    while len(b) < n:
        d = s.recv(n - len(b))
        if not d: return None
        b += d
    return b
def pump(a, b, down):
    try:
        while (h := whole(a, 48)):
            kind, length = struct.unpack_from('<H', h, 4)[0], struct.unpack_from('<I', h, 28)[0]
            p = whole(a, length) if length else b''
            if down and kind == 12:
                os.kill(pid, signal.SIGSTOP)
                open('stopped', 'w').close()
            b.sendall(h + p)
    except OSError: pass
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass
while True:
    a, _ = l.accept()
    b = socket.socket(socket.AF_UNIX); b.connect('wire')
    threading.Thread(target=pump, args=(a, b, False), daemon=True).start()
    threading.Thread(target=pump, args=(b, a, True), daemon=True).start()
P
start_near --slots=1
"$TIDEMARK" vm receive --control=far --listen=unix:wire --stall-timeout=2000 >far.out 2>far.err &
far=$!
pids+=("$far")
until_true 10 grep -q listening far.out || fail "no receiver: $(cat far.err)"
python3 relay.py "$far" &
pids+=($!)
until_true 10 test -S between || fail "no relay"
timeout 60 "$TIDEMARK" vm migrate --control=near --stall-timeout=2000 unix:between >out 2>&1
[ $? = 6 ] || fail "the source says: $(cat out)"
test -e stopped || fail "READY never came"
grep -q 'it does not begin to later' out || fail "the source says: $(cat out)"
[ "$(state near)" = "unknown False" ] || fail "the guest is $(state near)"
timeout 30 "$TIDEMARK" vm resume --control=near 2>err && fail "it resumes without --force"
"$TIDEMARK" vm resume --control=near --force || fail "it does not resume"
kill -CONT "$far"
until_true 10 grep -q 'GO was taken later than' far.err || fail "$(cat far.err)"
[ "$(state far)" = "incoming False" ] || fail "the receiver is $(state far)"
sleep 0.5
[ "$(state far)" = "incoming False" ] || fail "the receiver is $(state far) later"
"$TIDEMARK" vm verify --control=near >out || fail "not whole: $(cat out)"
echo "ok - GO is not taken up later"
timeout 60 "$TIDEMARK" vm migrate --control=near unix:wire >out 2>&1 || fail "$(cat out far.err)"
"$TIDEMARK" vm verify --control=far >out || fail "not whole: $(cat out)"
[ "$(state near)" = "moved False" ] || fail "the source is $(state near)"
echo "ok - and the next attempt moves it"
