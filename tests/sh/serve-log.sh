#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The log of `serve`: its lines, as key=value and as JSON; SIGHUP opens the file
# anew; a log that nobody reads, or that cannot be written, stops nobody.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
truncate -s 1M a.raw
mkdir live logs
cat >walk.py <<'P'
import fcntl, json, os, re, signal, socket, struct, subprocess, sys, time
tool = sys.argv[1]

def serve(*options, stderr=None, name='d'):
    p = subprocess.Popen([tool, "serve", "--socket=s", "--format=raw", "--live-folder=live",
                          "--metrics=m", *options, f"{name}=a.raw"],
                         stdout=subprocess.PIPE, stderr=stderr, text=True)
    lines = [p.stdout.readline(), p.stdout.readline()]
    assert lines[1].startswith("listening"), lines
    return p

def stop(p):
    began = time.monotonic()
    p.terminate()
    assert p.wait(60) == 0
    return time.monotonic() - began

def get(s, n):
    b = b""
    while len(b) < n:
        part = s.recv(n - len(b))
        assert part, "closed"
        b += part
    return b

def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect("s")
    get(s, 18)
    return s

def rubbish():
    s = connect()
    s.sendall(b"\xff" * 64)
    try:
        while s.recv(100):
            pass
    except ConnectionResetError:
        pass
    s.close()

def read_once(name=b"d"):
    s = connect()
    s.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 1, len(name)) + name)
    get(s, 10)
    for i in range(2):
        s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, i, 0, 4096))
        assert struct.unpack(">IIQ", get(s, 16))[1] == 0
        get(s, 4096)
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 9, 0, 0))
    assert s.recv(1) == b""

def lost():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect("m")
    s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    page = b""
    while (part := s.recv(65536)):
        page += part
    return int(re.search(rb"^tidemark_log_lost_lines_total (\d+)$", page, re.M)[1])

def wait_for(what):
    for _ in range(3000):
        if what():
            return
        time.sleep(0.02)
    raise SystemExit("it never came: " + str(what.__doc__))

def content(path):
    return open(path).read() if os.path.exists(path) else ""

# Key=value on standard error.
with open("err", "w") as err:
    p = serve(stderr=err)
read_once()
rubbish()
p.send_signal(signal.SIGHUP)
wait_for(lambda: "dropped" in content("err"))
stop(p)
want = [r"level=info event=listening text=unix:s", rf"level=info event=opened client=1 export=d uid={os.getuid()}",
        rf'level=info event=ended client=1 export=d uid={os.getuid()} text="after 2 requests"',
        rf'level=warning event=dropped client=2 uid={os.getuid()} text="set handshake flags that were not offered"',
        r"level=info event=stopping"]
got = content("err").splitlines()
assert len(got) == len(want), got
for g, w in zip(got, want):
    assert re.fullmatch(r"time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z " + w, g), (g, w)
print("ok - key=value, on standard error; SIGHUP ends nobody")

# JSON, in a file, which is moved away.
name = 'a "b" \\ \u00e9'
p = serve("--log-file=logs/l", "--log-json", name=name)
read_once(name.encode())
wait_for(lambda: "ended" in content("logs/l"))
os.rename("logs/l", "logs/old")
p.send_signal(signal.SIGHUP)
wait_for(lambda: "reopened" in content("logs/l"))
rubbish()
wait_for(lambda: "dropped" in content("logs/l"))
os.rename("logs", "moved")
p.send_signal(signal.SIGHUP)
wait_for(lambda: "old file is kept" in content("moved/l"))
stop(p)
lines = [json.loads(l) for f in ("old", "l") for l in open("moved/" + f)]
assert [l["event"] for l in lines] == ["listening", "opened", "ended", "reopened", "dropped", "reopen", "stopping"], lines
assert lines[1]["export"] == name, lines[1]
assert lines[1]["client"] == 1 and lines[4]["level"] == "warning" and lines[5]["level"] == "error"
assert os.stat("moved/l").st_mode & 0o777 == 0o640 & ~os.umask(0)
print("ok - JSON, in a file, that is opened anew")

# A pipe that nobody reads.
r, w = os.pipe()
fcntl.fcntl(w, 1031, 4096)
p = serve("--log-json", stderr=w)
n = 0
while not lost():
    for _ in range(100):
        rubbish()
    n += 100
    assert n < 20000, "the log keeps everything"
began = time.monotonic()
for _ in range(20):
    read_once()
assert time.monotonic() - began < 50, "who serves waits for the log"
assert os.get_blocking(w), "others' flags were changed"
text = b""
while b"lines were lost" not in text:
    text += os.read(r, 65536)
rubbish()
while text.count(b"dropped") < 50:
    text += os.read(r, 65536)
for l in text.split(b"\n")[:-1]:
    json.loads(l)
while True:
    before = lost()
    for _ in range(100):
        rubbish()
    if lost() > before:
        break
assert stop(p) < 50, "the end waits for the log"
os.close(r)
os.close(w)
print("ok - a pipe that nobody reads")

# A reader who left; a full disk.
r, w = os.pipe()
p = serve(stderr=w)
os.close(w)
os.close(r)
rubbish()
wait_for(lambda: lost() > 0)
read_once()
stop(p)
p = serve("--log-file=/dev/full")
rubbish()
wait_for(lambda: lost() > 1)
time.sleep(0.3)
read_once()
ticks = sum(map(int, open(f"/proc/{p.pid}/stat").read().split()[13:15]))
assert ticks < 100, "it tries again and again"
stop(p)
p = subprocess.run([tool, "serve", "--socket=s", "--log-file=none/x", "a.raw"], capture_output=True, text=True)
assert p.returncode == 1 and "none/x: No such file" in p.stderr, p
print("ok - what cannot be written is lost, and counted")
P
timeout 220 python3 walk.py "$TIDEMARK" || fail "see above"
