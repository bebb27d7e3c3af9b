#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Who may send a guest, and who may read it on its way: TLS with certificates
# and with keys, over several channels; a token; nothing on a network in the
# clear unasked. Each wrong one is told what is wrong, leaves the guest where it
# is and the receiver waiting for the right one, and nothing readable passes.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
umask 077
"$BUILD/tests/support/tls-files" good || fail "no certificates"
"$BUILD/tests/support/tls-files" other || fail "no certificates"
mkdir bare && cp good/ca-cert.pem bare
echo "a word that both sides have" >token
echo "another word, also long enough" >token.other
echo short >token.short

# A wire in between that keeps what passes and, at byte AT of a channel, flips
# a bit of it, cuts it, or lets nothing more pass.
cat >wire.py <<'P'
import os, socket, sys, threading
to, what, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
l = socket.socket(socket.AF_UNIX); l.bind('new'); l.listen(64); os.rename('new', 'between')
kept = open('kept', 'ab', 0)
def pump(a, b, up):
    n = 0
    while True:
        try: d = a.recv(65536)
        except OSError: break
        if not d: break
        if up: kept.write(d)
        if up and n <= at < n + len(d):
            if what == 'flip':
                d = bytearray(d); d[at - n] ^= 1
            if what == 'cut': break
            if what == 'hold': threading.Event().wait()
        n += len(d)
        try: b.sendall(d)
        except OSError: break
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass
while True:
    a, _ = l.accept()
    b = socket.socket(socket.AF_UNIX); b.connect(to)
    threading.Thread(target=pump, args=(a, b, True), daemon=True).start()
    threading.Thread(target=pump, args=(b, a, False), daemon=True).start()
P
between() {
	rm -f between new kept
	python3 wire.py wire "$@" &
	wire=$!
	pids+=("$wire")
	until_true 10 test -S between || fail "no wire"
}
# receiver OPTIONS...: at unix:wire, or where they say
receiver() {
	rm -f far.out far.err
	"$TIDEMARK" vm receive --control=far --listen=unix:wire --stall-timeout=3000 "$@" \
		>far.out 2>far.err &
	far=$!
	pids+=("$far")
	until_true 10 grep -q listening far.out || fail "no receiver: $(cat far.err)"
}
stop_far() {
	"$TIDEMARK" vm stop --control=far
	wait "$far" || fail "the receiver ended with $?: $(cat far.err)"
}
move() {
	timeout 60 "$TIDEMARK" vm migrate --control=near --stall-timeout=3000 "$@" >out 2>&1
}
# refused WORDS AT-RECEIVER OPTIONS...
refused() {
	local words=$1 there=$2
	shift 2
	move "$@" && fail "$*: it moved"
	grep -q -- "$words" out || fail "$*: the source says $(cat out)"
	[ -z "$there" ] || until_true 5 grep -q -- "$there" far.err ||
		fail "$*: the receiver says $(cat far.err)"
	[ "$(state near)" = "running True" ] || fail "$*: the guest is $(state near)"
	[ "$(state far)" = "incoming False" ] || fail "$*: the receiver is $(state far)"
}
# arrived OPTIONS...: it moves, and is whole; then there is a new guest here
arrived() {
	move "$@" || fail "$*: $(cat out far.err)"
	"$TIDEMARK" vm verify --control=far >verdict || fail "$*: $(cat verdict)"
	stop_far
	"$TIDEMARK" vm stop --control=near
	wait "$near"
	start_near --slots=2
}
start_near --slots=2

# --- keys ---
receiver --tls-psk=good/keys.psk
refused 'takes nothing in the clear: give the source --tls' 'a source was refused' unix:wire
refused 'TLS handshake' 'no source was closed: TLS handshake' \
	--tls-psk=other/keys.psk unix:wire
refused 'no key of .carol' '' --tls-psk=good/keys.psk --tls-name=carol unix:wire
refused 'TLS handshake' '' --tls=good unix:wire
between pass 0
arrived --tls-psk=good/keys.psk --tls-name=bob --channels=4 unix:between
kill "$wire"
# A frame's head: four bytes alone are in megabytes of noise now and then.
LC_ALL=C grep -qaP 'TIDE[\x00-\x3f]\x00' kept && fail "frames passed in the clear"
[ "$(stat -c %s kept)" -gt 200000 ] || fail "it did not go over the wire"
echo "ok - keys"

# --- certificates ---
receiver --tls=good --listen=tcp:127.0.0.1:0
at=$(sed 's/listening on //' far.out)
refused 'takes nothing in the clear' '' "$at"
refused 'NOT trusted' '' --tls=other "$at"
refused 'does not match' '' --tls=bare --tls-name=elsewhere.test "$at"
arrived --tls=bare --channels=3 "$at"
receiver --tls=good --tls-verify
refused 'may ask for a certificate of ours' 'no source was closed' --tls=bare unix:wire
arrived --tls=good --channels=2 --zstd=1 unix:wire
echo "ok - certificates"

# --- a token ---
receiver --token-file=token
refused 'asks for a token: give the source its --token-file' 'a source was refused' unix:wire
refused 'has another token' 'a source was refused' --token-file=token.other unix:wire
refused 'one line of 16 to 256' '' --token-file=token.short unix:wire
chmod o+r token.other
refused 'everybody may read' '' --token-file=token.other unix:wire
arrived --token-file=token --channels=4 unix:wire
receiver # one that asks for none takes any
arrived --token-file=token --channels=2 unix:wire
receiver --token-file=token --tls-psk=good/keys.psk
refused 'asks for a token' '' --tls-psk=good/keys.psk unix:wire
between pass 0
arrived --token-file=token --tls-psk=good/keys.psk --channels=4 unix:between
kill "$wire"
grep -q 'a word that both' kept && fail "the token passed in the clear"
echo "ok - a token"

# --- one side only ---
receiver
refused 'was the receiver given --tls' 'speaks TLS' --tls-psk=good/keys.psk unix:wire
"$TIDEMARK" vm receive --control=c --listen=tcp:0.0.0.0:0 >o 2>e && fail "in the clear"
grep -q 'in the clear: give both sides --tls' e || fail "$(cat e)"
for wrong in "--tls=good --tls-psk=good/keys.psk" "--plain --tls=good" "--tls-verify"; do
	# shellcheck disable=SC2086
	"$TIDEMARK" vm receive --control=c --listen=unix:w $wrong >o 2>e
	[ $? = 2 ] || fail "$wrong: $(cat e)"
done
stop_far
receiver --listen=tcp:0.0.0.0:0 --plain
port=$(sed 's/.*://' far.out)
here=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m1 '^[0-9.]*$')
if [ -n "$here" ]; then
	refused 'in the clear: give both sides --tls' '' "tcp:$here:$port"
	arrived --plain "tcp:$here:$port"
	echo "ok - a network"
else
	arrived "tcp:127.0.0.1:$port"
	echo "ok - a network # SKIP of the source: this host has no address on one"
fi

# --- damage, and ends, in the middle ---
receiver --tls-psk=good/keys.psk
for what in flip cut hold; do
	between $what 200000
	refused '.' 'did not arrive' --tls-psk=good/keys.psk --channels=2 unix:between
	kill "$wire"
done
# The receiver dies; another one takes the guest.
between pass 0
"$TIDEMARK" vm migrate --control=near --tls-psk=good/keys.psk --bandwidth=1M unix:between \
	>out 2>&1 &
slow=$!
pids+=("$slow")
until_true 10 sh -c '[ "$(stat -c %s kept)" -gt 500000 ]' || fail "it does not begin"
kill -9 "$far"
wait "$slow" && fail "it moved to nowhere"
[ "$(state near)" = "running True" ] || fail "the guest is $(state near)"
kill "$wire"
receiver --tls-psk=good/keys.psk
arrived --tls-psk=good/keys.psk unix:wire
echo "ok - damage, and ends, in the middle"
