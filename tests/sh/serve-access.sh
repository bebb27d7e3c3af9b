#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Who may see which export: users, as the kernel names them; keys and
# certificates, as TLS proves them. What is not for somebody is to him as if it
# were not there, in every answer, byte for byte.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
chmod 755 "$dir"
mkdir live
for n in a b c d; do truncate -s 1M $n.raw; done
t() { timeout 60 "$@"; }
start() {
	rm -f out
	"$TIDEMARK" serve --format=raw --live-folder=live --durability=none --log-file=log "$@" \
		a=a.raw b=b.raw a:x=c.raw open=d.raw >out 2>err &
	server=$!
	pids+=("$server")
	until_true 10 grep -q listening out || fail "no server: $(cat err)"
}
stop() {
	kill "$server"
	wait "$server" || fail "exit status $?"
}
wrong() {
	"$TIDEMARK" serve --socket=s --durability=none "$@" a=a.raw b=b.raw >out 2>err
	[ $? = 2 ] || fail "$* is taken"
	grep -q -- "$said" err || fail "$*: $(cat err)"
}

said='no disk of that name' wrong --export-uid=c:0
said='no disk of that name' wrong --export-uid=a
for bad in a: a:x a:-1 a:1, a:,1 a:4294967295 a:99999999999 'a:1 2'; do
	said='it takes NAME:UID' wrong --allow-uid=any --export-uid="$bad"
done
said='user 65532 may not connect' wrong --allow-uid=65531 --export-uid=a:65531,65532
said='needs --tls' wrong --export-identity=a:alice
for bad in '' 1, ,1 x 1,x 4294967295; do
	said='it takes numbers of users' wrong --allow-uid="$bad"
done
echo "ok - rules that say nothing are refused"

cat >walk.py <<'P'
import os, socket, struct, sys

def get(s, n):
    b = b""
    while len(b) < n:
        part = s.recv(n - len(b))
        if not part:
            raise EOFError
        b += part
    return b

def connect(where):
    s = socket.socket(socket.AF_INET if where[0] else socket.AF_UNIX)
    s.settimeout(60)
    s.connect(where[1])
    get(s, 18)
    s.sendall(struct.pack(">I", 3))
    return s

def option(s, number, data=b""):
    s.sendall(struct.pack(">QII", 0x49484156454F5054, number, len(data)) + data)
    out = []
    while True:
        _, o, kind, n = struct.unpack(">QIII", get(s, 20))
        assert o == number
        out.append((kind, get(s, n)))
        if kind == 1 or kind >> 31:
            return out

def name(n):
    return struct.pack(">I", len(n)) + n.encode()

def see(where):
    """What one client is told of each name, in every way."""
    s = connect(where)
    out = {"list": [d[4:].decode() for k, d in option(s, 3) if k == 2]}
    for n in ("", "a", "b", "a:x", "open", "none"):
        s.close()
        s = connect(where)
        told = [option(s, 6, name(n) + struct.pack(">HH", 1, 1)), option(s, 8)]
        told.append(option(s, 9, name(n) + struct.pack(">I", 0)))
        told.append(option(s, 10, name(n) + struct.pack(">I", 1) + name("base:allocation")))
        told.append(option(s, 7, name(n) + struct.pack(">H", 0)))
        e = connect(where)
        e.sendall(struct.pack(">QII", 0x49484156454F5054, 1, len(n)) + n.encode())
        try:
            told.append(len(get(e, 10)))
        except (EOFError, ConnectionResetError):
            told.append("closed")
        e.close()
        out[n] = told
    return out

def as_user(uid, where):
    r, w = os.pipe()
    if not (pid := os.fork()):
        os.setgid(uid)
        os.setuid(uid)
        try:
            os.write(w, repr(see(where)).encode())
        except (EOFError, ConnectionResetError, BrokenPipeError):
            os.write(w, b"'refused'")
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        got = eval(f.read())
    os.waitpid(pid, 0)
    return got

def check(got, may):
    assert got["list"] == may, (got["list"], may)
    for n in ("a", "b", "a:x", "open"):
        if n in may:
            assert got[n][0][-1][0] == 1 and got[n][4][-1][0] == 1 and got[n][5] == 10, (n, got[n])
        else:
            assert got[n] == got["none"], (n, got[n], got["none"])
    first = got[""][0]
    assert (first[0][1][2:].decode() if first[-1][0] == 1 else None) == (may[0] if may else None), first

here, tcp = (False, "s"), (True, ("127.0.0.1", int(sys.argv[1])))
check(see(here), ["a", "b", "a:x", "open"])
check(see(tcp), ["open"])
if os.getuid():
    print("ok - users # SKIP not root: cannot be others")
    raise SystemExit
check(as_user(65531, here), ["a", "a:x", "open"])
check(as_user(65532, here), ["b", "a:x", "open"])
check(as_user(65533, here), ["open"])
check(as_user(65533, tcp), ["open"])
assert as_user(65530, here) == "refused"
print("ok - users see what is theirs")
P
start --socket=s --listen=tcp:127.0.0.1:0 --metrics=m --allow-uid=65531,65532,65533 \
	--export-uid=a:65531 --export-uid=b:65532 --export-uid=a:x:65531,65532
t python3 walk.py "$(sed -n 's/^listening.*tcp:127.0.0.1:\([0-9]*\).*/\1/p' out)" || fail "see above; $(cat err)"
grep -q "event=denied client=[0-9]* text=\"asked for 'b', which is not for it\"" log || fail "not logged: $(tail -3 log)"
stop

command -v nbdinfo >/dev/null || { echo "ok - keys # SKIP no nbdinfo"; exit 0; }
umask 077
names() {
	t nbdinfo --list --json "$1" >info 2>info.err || fail "$1: $(cat info.err)"
	python3 -c 'import json; print(*[e["export-name"] for e in json.load(open("info"))["exports"]])'
}
printf 'alice:%032d\nbob:%032d\nal:%032d\n' 1 2 3 >keys
start --socket=s --tls-psk=keys --export-identity=a:alice --export-identity=b:bob --export-identity=b:alice \
	--export-identity=a:x:bob
for line in "alice a b open" "bob b a:x open" "al open"; do
	who=${line%% *}
	got=$(names "nbds+unix://$who@/?socket=$dir/s&tls-psk-file=$dir/keys")
	[ "$who $got" = "$line" ] || fail "$who sees $got, not $line"
done
t nbdinfo --size "nbds+unix://bob@/b?socket=$dir/s&tls-psk-file=$dir/keys" >/dev/null || fail "bob and b"
t nbdinfo --size "nbds+unix://bob@/a?socket=$dir/s&tls-psk-file=$dir/keys" >/dev/null 2>&1 && fail "bob and a"
grep -q 'event=denied client=[0-9]* uid=[0-9]* identity=bob' log || fail "not logged: $(tail -3 log)"
stop
echo "ok - keys"

command -v openssl >/dev/null || { echo "ok - certificates # SKIP no openssl"; exit 0; }
subject() {
	openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout $1-key.pem -out $1.csr &&
		openssl x509 -req -in $1.csr -CA ca-cert.pem -CAkey ca.key -CAcreateserial -days 2 -out $1-cert.pem
}
{
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=CA" -keyout ca.key -out ca-cert.pem
	subject server /CN=server
	i=0
	for s in /CN=alice /O=x/CN=alice /CN=bob '/CN=alice/CN=bob' '/CN=CN\=alice' /O=alice; do
		i=$((i + 1))
		mkdir c$i
		subject client "$s"
		cp ca-cert.pem client-*.pem c$i
	done
} >openssl.out 2>&1 || fail "openssl: $(tail -3 openssl.out)"
start --socket=s --tls="$dir" --tls-verify --export-identity=a:alice --export-identity=b:CN=alice \
	--export-identity=a:x:bob
i=0
for want in "a b open" "a open" "a:x open" "open" "open" "open"; do
	i=$((i + 1))
	got=$(names "nbds+unix:///?socket=$dir/s&tls-verify-peer=false&tls-certificates=$dir/c$i")
	[ "$got" = "$want" ] || fail "certificate $i sees $got, not $want; $(tail -2 log)"
done
stop
echo "ok - certificates"
