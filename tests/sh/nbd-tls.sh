#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# TLS: real clients with a pre-shared key and with certificates; nobody
# without, nobody with another's, nothing in the clear.
. "$SRC/tests/sh/lib.sh"
command -v nbdcopy >/dev/null || { echo "SKIP: no nbdcopy"; exit 77; }
cd "$dir"
umask 077
t() { timeout 60 "$@"; }
head -c 8M /dev/urandom >a.raw
echo "alice:0123456789abcdef0123456789abcdef" >keys.psk
echo "alice:ffffffffffffffffffffffffffffffff" >wrong.psk
"$TIDEMARK" serve --socket=s --format=raw --tls-psk=keys.psk d=a.raw >out 2>err &
server=$!
pids+=("$server")
until_true 10 grep -q listening out || fail "no server: $(cat err)"
u="nbds+unix://alice@/d?socket=$dir/s&tls-psk-file=$dir"
t nbdinfo "$u/keys.psk" >info 2>&1 || fail "nbdinfo: $(cat info err)"
grep -q 'with TLS' info || fail "$(cat info)"
t nbdcopy --connections=4 "$u/keys.psk" copy.raw || fail "nbdcopy out: $(cat err)"
cmp copy.raw a.raw || fail "it read something else"
head -c 8M /dev/urandom >new.raw
t nbdcopy --connections=2 new.raw "$u/keys.psk" || fail "nbdcopy in"
cmp a.raw new.raw || fail "it wrote something else"
t nbdinfo --map "$u/keys.psk" >/dev/null || fail "map"
t nbdinfo "$u/wrong.psk" >/dev/null 2>&1 && fail "another key was good enough"
t nbdinfo "nbd+unix:///d?socket=$dir/s" >/dev/null 2>info && fail "in the clear"
t nbdinfo --list "nbd+unix://?socket=$dir/s" >/dev/null 2>&1 && fail "a list in the clear"
t nbdinfo --size "$u/keys.psk" >/dev/null || fail "after strangers: $(cat err)"
kill "$server"
wait "$server" || fail "exit status $?"

if command -v openssl >/dev/null; then
	mkdir good bad
	for d in good bad; do
		(
			cd $d
			openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$d CA" \
				-keyout ca.key -out ca-cert.pem
			for who in server client; do
				openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" \
					-keyout $who-key.pem -out $who.csr
				openssl x509 -req -in $who.csr -CA ca-cert.pem -CAkey ca.key \
					-CAcreateserial -days 2 -out $who-cert.pem
			done
		) >/dev/null 2>&1 || fail "openssl"
	done
	"$TIDEMARK" serve --socket=x --format=raw --tls=good --tls-verify \
		--read-only d=a.raw >x.out 2>err &
	pids+=($!)
	until_true 10 grep -q listening x.out || fail "no server: $(cat err)"
	x="nbds+unix:///d?socket=$dir/x&tls-verify-peer=false&tls-certificates=$dir"
	t nbdinfo "$x/good" >info 2>&1 || fail "a certificate: $(cat info err)"
	t nbdinfo "$x/bad" >/dev/null 2>&1 && fail "another CA was good enough"
	t nbdinfo "$x/good" >/dev/null || fail "after a stranger"
	"$TIDEMARK" serve --listen=tcp:0.0.0.0:0 --tls=good --read-only a.raw >tcp 2>err &
	pids+=($!)
	until_true 10 grep -q listening tcp || fail "TLS is not in the clear: $(cat err)"
else
	echo "# no openssl: certificates were not tried"
fi
echo ok
