#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The figures that `serve --metrics` gives to Prometheus: what is counted is
# what was done, the page in docs/ lists them all, and clients that are slow,
# many or talk rubbish get what they deserve while others are served.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
truncate -s 1M a.raw b.raw
mkdir live
"$TIDEMARK" serve --socket=s --metrics=m --quiet --live-folder=live --format=raw \
	'a"\=a.raw' b=b.raw >out 2>err &
server=$!
pids+=("$server")
until_true 10 grep -q listening out || fail "no server: $(cat err)"
grep -q '^metrics on unix:m$' out || fail "not said: $(cat out)"
[ "$(stat -c %a m)" = 600 ] || fail "mode $(stat -c %a m)"

cat >walk.py <<'P'
import re, socket, struct, time

def ask(head=b"GET /metrics HTTP/1.0\r\n\r\n", close=False):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect("m")
    s.sendall(head)
    if close:
        s.shutdown(socket.SHUT_WR)
    return s

def answer(s):
    data = b""
    while True:
        try:
            part = s.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        data += part
    return data.decode()

def figures():
    head, body = answer(ask()).split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.0 200 OK"), head
    assert f"Content-Length: {len(body.encode())}" in head, head
    sample = re.compile(r'^(\w+)(\{[^{}]*\})? (\d+(?:\.\d+)?)$')
    out, typed = {}, set()
    for line in body.splitlines():
        if line.startswith("# "):
            typed |= {line.split()[2]} if line.startswith("# TYPE") else set()
            continue
        m = sample.match(line)
        assert m, line
        assert m[1] in typed, line
        assert m[1] + (m[2] or "") not in out, line
        out[m[1] + (m[2] or "")] = float(m[3])
    return out

def client(name):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect("s")
    def get(n):
        b = b""
        while len(b) < n:
            p = s.recv(n - len(b))
            assert p, "closed"
            b += p
        return b
    get(18)
    s.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 1, len(name)) + name)
    get(10)
    def request(command, offset, length, data=b""):
        s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, 7, offset, length) + data)
        error = struct.unpack(">IIQ", get(16))[1]
        if command == 0 and not error:
            get(length)
        return error
    return s, request

before = figures()
A, B = r'{export="a\"\\"', '{export="b"'
assert before["tidemark_export_size_bytes" + B + "}"] == 1 << 20
assert before["tidemark_tracking" + A + "}"] == 1
s, request = client(b'a"\\')
assert [request(1, 0, 4096, b"x" * 4096), request(1, 65536, 512, b"x" * 512)] == [0, 0]
assert request(0, 0, 100000) == 0
assert request(3, 0, 0) == 0
assert request(0, 1 << 20, 1) == 22 and request(1, 1 << 20, 1, b"x") == 28
assert request(6, 0, 65536) == 0 and request(4, 0, 4096) == 0
assert request(77, 0, 0) == 22
got = figures()
want = {
    "tidemark_connections": 1, "tidemark_export_opened_total" + A + "}": 1,
    "tidemark_export_opened_total" + B + "}": 0,
    "tidemark_tracking_dirty_bytes" + A + "}": 131072,
    "tidemark_tracking_dirty_bytes" + B + "}": 0,
}
for command, requests, size in (("read", 2, 100000), ("write", 3, 4608), ("flush", 1, 0), ("trim", 1, 4096),
                                ("cache", 0, 0), ("write_zeroes", 1, 65536), ("unknown", 1, 0)):
    l = f'{A},command="{command}"}}'
    want["tidemark_requests_total" + l] = requests
    want["tidemark_request_bytes_total" + l] = size
    seconds = got["tidemark_request_seconds_total" + l]
    assert 0 <= seconds < 20 and (seconds > 0 or requests < 2), (l, seconds)
    want["tidemark_requests_total" + l.replace(A, B)] = 0
for error, n in (("EINVAL", 2), ("ENOSPC", 1), ("EIO", 0), ("EPERM", 0)):
    want[f'tidemark_request_errors_total{A},error="{error}"}}'] = n
for k, v in want.items():
    assert got[k] == v, f"{k}: {got[k]}, not {v}"
for k in got:
    if "_total" in k:
        assert got[k] >= before[k], k
s.sendall(b"rubbish" * 10)
assert s.recv(1) == b""
for _ in range(3000):
    if figures()["tidemark_connections"] == 0:
        break
    time.sleep(0.02)
got = figures()
assert got["tidemark_connections"] == 0
assert got['tidemark_connections_dropped_total{stage="transmission"}'] == 1
assert got["tidemark_in_flight_bytes"] == 0
print("ok - what is counted is what was done")

for head, code in ((b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200), (b"GET /metrics HTTP/1.0\n\n", 200),
                   (b"GET / HTTP/1.0\r\n\r\n", 404), (b"GET /metricsx HTTP/1.0\r\n\r\n", 404),
                   (b"GET /metric HTTP/1.0\r\n\r\n", 404), (b"POST /metrics HTTP/1.0\r\n\r\n", 405),
                   (b"\r\n\r\n", 400), (b"GET\r\n\r\n", 400), (b"GET /metrics\r\n\r\n", 400), (b"GET /metrics \r\n\r\n", 400),
                   (b"GET metrics HTTP/1.0\r\n\r\n", 400), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
                   (b"GET /metrics HTTP/1.0\r\nX: " + b"x" * 9000, 431), (b"x" * 9000, 431)):
    a = answer(ask(head))
    assert a.startswith(f"HTTP/1.0 {code} "), (head[:40], a[:60])
    assert code != 200 or "tidemark_up{" in a, a
head, body = answer(ask(b"HEAD /metrics HTTP/1.0\r\n\r\n")).split("\r\n\r\n")
assert not body and "200 OK" in head
assert answer(ask(b"GET /metr", close=True)) == ""
print("ok - rubbish is told so")

# Before the first of them is let go; once will do, on a busy machine.
for _ in range(5):
    began = time.monotonic()
    slow = [ask(b"GET /me") for _ in range(60)]
    if figures() and time.monotonic() - began < 4:
        break
else:
    raise SystemExit("who says nothing keeps others waiting")
s, request = client(b"b")
assert request(0, 0, 4096) == 0
drip = ask(b"")
for b in b"GET /metrics HTTP/1.0\r\n\r\n":
    drip.sendall(bytes([b]))
assert answer(drip).startswith("HTTP/1.0 200")
gone = 0
for x in slow:
    x.settimeout(60)
    gone += answer(x) == ""
assert gone == len(slow)
print("ok - many that say nothing keep nobody waiting, and are let go")
P
timeout 110 python3 walk.py || fail "see above; $(cat err)"
kill "$server"
wait "$server" || fail "exit status $?: $(cat err)"
[ -e m ] && fail "the socket stays"

for bad in tcp:0.0.0.0:0 'tcp:[::]:0'; do
	"$TIDEMARK" serve --socket=s --metrics="$bad" --live-folder=live --format=raw a.raw >out 2>err && fail "$bad is let"
	grep -q "in the clear\|not supported" err || fail "$bad: $(cat err)"
done
rm out
"$TIDEMARK" serve --socket=s --metrics=tcp:0.0.0.0:0 --plain --live-folder=live --format=raw a.raw >out 2>err &
server=$!
pids+=("$server")
until_true 10 grep -q '^listening' out || fail "--plain: $(cat err)"
kill "$server"
wait "$server" || fail "exit status $?"
echo "ok - networks only when asked for"
timeout 30 "$SRC/scripts/make-metrics" "$TIDEMARK" --check || fail "the list in docs/serve.md is stale"
echo "ok - docs/serve.md lists them"
