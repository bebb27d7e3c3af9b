#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What stands around a guest: paths are never taken or removed unasked, a guest
# that died is said to be dead, and a client that sleeps while it watches a
# migration costs the guest no time.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1

# --- paths ---
printf precious >image
"$TIDEMARK" vm run --control=image --memory=16M --serial=/dev/null 2>err &&
	fail "--control took a regular file"
grep -q 'image exists and is no socket' err || fail "it says: $(cat err)"
"$TIDEMARK" vm receive --control=c --listen=unix:image >out 2>err &&
	fail "--listen took a regular file"
grep -q 'image exists and is no socket' err || fail "it says: $(cat err)"
[ "$(cat image)" = precious ] || fail "the file is gone"
start_near --slots=1
"$TIDEMARK" vm run --control="$dir/near" --memory=16M --serial=/dev/null 2>err &&
	fail "a second VM took the first one's socket"
grep -q 'another process listens there' err || fail "it says: $(cat err)"
[ "$(stat -c %a near)" = 600 ] || fail "the socket's mode is $(stat -c %a near)"
[ "$(state "$dir/near")" = "running True" ] || fail "the first one suffered"
kill -9 "$near"
wait "$near" 2>/dev/null
start_near --slots=1 # what a killed one left is replaced
until_true 10 "$TIDEMARK" vm status --control="$dir/near" ||
	fail "a dead socket was not replaced"
"$TIDEMARK" vm stop --control="$dir/near"
wait "$near" || fail "vm run ended with $?"
[ -e near ] && fail "the socket's name stayed"
[ -e near.lock ] && fail "the lock's name stayed"
echo "ok - paths are not taken, and dead sockets are replaced"

# --- a long request at the end ---
start_near --slots=1
mkdir long
"$TIDEMARK" trace record --control="$dir/near" --rounds=100 --interval=60000 long >out 2>&1 &
long=$!
pids+=("$long")
until_true 10 sh -c "'$TIDEMARK' vm status --control='$dir/near' --json | grep -q recording" ||
	fail "no recording: $(cat out)"
SECONDS=0
"$TIDEMARK" vm stop --control="$dir/near"
wait "$near" || fail "vm run ended with $?"
[ $SECONDS -le 30 ] || fail "a recording held up the end for $SECONDS s"
wait "$long" && fail "half a recording is none: $(cat out)"
grep -q 'hung up' out || fail "the client is told: $(cat out)"
echo "ok - a recording does not hold up the end"

# --- a dead guest ---
# a page for eight vCPUs: they fault in a guest, and refuse in threads
dies() {
	"$TIDEMARK" vm run --control=near --serial=/dev/null --memory=8M \
		--slots=1 --footprint=4K --vcpus=8 "$@" 2>err &
	near=$!
	pids+=("$near")
	until_true 10 test -S near || fail "no guest: $(cat err)"
	until_true 5 sh -c "'$TIDEMARK' vm status --control=near --json |
		grep -q '\"dead\"'" || fail "$*: it did not die: $(cat err)"
	"$TIDEMARK" vm migrate --control=near unix:nowhere >out 2>err.move &&
		fail "a dead guest moves"
	"$TIDEMARK" vm status --control=near | grep -q '^failure: .' || fail "$*: it does not say why"
	grep -q 'the guest is dead' out err.move ||
		fail "migrate says: $(cat out err.move)"
	"$TIDEMARK" vm stop --control=near
	wait "$near"
	[ $? = 7 ] || fail "vm run of a dead guest did not end with 7"
	grep -q 'the guest died' err || fail "vm run says: $(cat err)"
	echo "ok - a dead guest is dead in status, migrate and exit status ($*)"
}
dies --accel=process --source=uffd
if [ -w /dev/kvm ]; then
	dies --accel=kvm
else
	echo "ok - a dead guest # SKIP of KVM: there is no /dev/kvm"
fi

# --- an observer that sleeps ---
"$TIDEMARK" vm run --control="$dir/near" --serial=/dev/null --memory=128M \
	--vcpus=1 --pattern=uniform --rate=0 &
near=$!
pids+=("$near")
until_true 10 test -S "$dir/near" || fail "no guest"
sleep 0.5
start_far
# Nobody reads the client's output; soon its socket is full.
"$TIDEMARK" vm migrate --control="$dir/near" --bandwidth=20M --max-rounds=1 \
	--stop-anyway --max-throttle=0 "unix:$dir/wire" >migrate.out 2>&1 &
client=$!
pids+=("$client")
# It has asked for it; or it is through already.
begun() { [ "$(state "$dir/near")" != "running True" ] || ! kill -0 "$client"; }
until_true 60 begun || fail "the client asks for nothing"
sleep 1
kill -STOP "$client"
until_true 60 sh -c "'$TIDEMARK' vm status --control='$dir/far' --json | grep -q '\"running\": true'" ||
	fail "the guest did not arrive while its observer slept"
moved() { [ "$(state "$dir/near")" = "moved False" ]; }
until_true 10 moved || fail "$(state "$dir/near")"
kill -CONT "$client"
wait "$client" || fail "the client, awake again: $(tail -3 migrate.out)"
"$TIDEMARK" vm verify --control="$dir/far" >out || fail "not verified: $(cat out)"
echo "ok - a guest moves while its observer sleeps"

# --- a client that is hung up on knows nothing: the guest may have moved ---
cat >"$dir/hangs-up.py" <<'P'
import socket, sys
l = socket.socket(socket.AF_UNIX); l.bind(sys.argv[1]); l.listen()
while True:
    s, _ = l.accept()
    if b'status' in s.recv(65536):
        s.sendall(b'{"state": "moved", "running": false}\n')
    s.close()
P
python3 "$dir/hangs-up.py" "$dir/deaf" &
pids+=($!)
until_true 10 test -S "$dir/deaf" || fail "no socket"
timeout 60 "$TIDEMARK" vm migrate --control="$dir/deaf" unix:/nowhere 2>"$dir/err"
[ $? = 6 ] || fail "hung up on: the exit code; $(cat "$dir/err")"
grep -q "it is 'moved' now" "$dir/err" || fail "hung up on: $(cat "$dir/err")"
echo "ok - hung up on is unknown"
