#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A move is cut at every request to the source: the request is lost, or its
# answer, or the source is killed, or who mirrors is. Afterwards the disk is in
# one place, with its bitmaps, and the command said which; if it could not know
# it said how to find out, and that is so.
. "${SRC:?}/tests/sh/lib.sh"
"$TIDEMARK" mirror nbd://127.0.0.1:1/x nbd://127.0.0.1:1/y 2>&1 | grep -q "without libnbd" && { echo "SKIP: built without libnbd"; exit 77; }
cd "$dir" || exit 1
mkdir live
cat >cut.py <<'P'
import ctypes, json, os, signal, socket, subprocess, sys, threading, time
TOOL, SIZE = os.environ["TIDEMARK"], 1 << 20
PATIENCE = 60

def dies_with_us():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)

class Server:
    def __init__(self, name):
        self.name, self.control, self.disk = name, name + ".c", name + ".raw"
        self.p = None
    def start(self):
        out = open(self.name + ".out", "w+")
        self.p = subprocess.Popen([TOOL, "serve", f"--socket={self.name}.s", f"--control={self.control}", "--live-folder=live",
                                   "--quiet", "--format=raw", f"d={self.disk}"], stdout=out, stderr=subprocess.STDOUT, preexec_fn=dies_with_us)
        until(lambda: "listening" in open(self.name + ".out").read(), "a server")
    def kill(self):
        if self.p: self.p.kill(); self.p.wait(); self.p = None
    def fresh(self, fill):
        self.kill()
        for end in ("", ".tidemark"):
            if os.path.exists(self.disk + end): os.unlink(self.disk + end)
        with open(self.disk, "wb") as f: f.write(fill * SIZE)
        self.start()
    def ask(self, **request):
        s = socket.socket(socket.AF_UNIX); s.settimeout(PATIENCE); s.connect(self.control)
        s.sendall((json.dumps(request) + "\n").encode())
        return json.loads(s.makefile().readline())
    def points(self):
        return {p["name"]: p for k in ("checkpoint", "bitmap") for p in self.ask(command=k + "-list", disk="d")[k + "s"]}
    def uri(self):
        return f"nbd+unix:///d?socket={os.getcwd()}/{self.name}.s"

def until(what, name):
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end: sys.exit(f"no {name}")
        time.sleep(0.01)

class Between:
    """Hands lines to the source and back, and does something at one of them."""
    def __init__(self, to):
        self.to, self.at, self.before, self.after = to, None, None, None
        self.seen = []
        self.s = socket.socket(socket.AF_UNIX); self.s.bind("between"); self.s.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()
    def arm(self, at, before=None, after=None):
        self.at, self.before, self.after, self.seen = at, before, after, []
    def accept(self):
        while True:
            threading.Thread(target=self.one, args=(self.s.accept()[0],), daemon=True).start()
    def one(self, c):
        try:
            self.carry(c)
        except (OSError, ValueError):
            pass
        c.close()
    def carry(self, c):
        s = socket.socket(socket.AF_UNIX); s.connect(self.to.control)
        answers = s.makefile("rb")
        for line in c.makefile("rb"):
            request = json.loads(line)
            self.seen.append(request)
            mine = len(self.seen) - 1 == self.at
            if mine and self.before: return self.before()
            s.sendall(line)
            last = False
            while not last:
                answer = answers.readline()
                if not answer: return
                last = "changed" not in json.loads(answer)
                if mine and self.after and last: return self.after()
                c.sendall(answer)
        s.close()

near, far = Server("near"), Server("far")
between = Between(near)
def fresh():
    near.fresh(b"n"); far.fresh(b"f")
    for r in (dict(command="checkpoint-create", name="monday"), dict(command="bitmap-add", name="fine", granularity_bytes=4096)):
        assert "error" not in near.ask(disk="d", **r)
def mirror(hold=30000):
    return subprocess.Popen([TOOL, "mirror", "--control=between", "--downtime=60000", f"--hold={hold}", near.uri(), far.uri()],
                            stdout=subprocess.DEVNULL, stderr=open("err", "w"), preexec_fn=dies_with_us)
def ended(p):
    return p.wait(PATIENCE)
def moved():
    return all("has moved to" in p.get("reason", "") for p in near.points().values())
def check_moved(what):
    names = far.points()
    assert set(names) == {"monday", "fine"} and all(p["state"] == "recording" for p in names.values()), (what, names)
    assert moved(), (what, near.points())
    assert open(far.disk, "rb").read() == b"n" * SIZE, what
def check_stays(what, target_empty=True):
    names = {n: p for n, p in near.points().items() if not n.startswith("mirror-")}
    assert set(names) == {"monday", "fine"} and all(p["state"] == "recording" for p in names.values()), (what, names)
    # Its clients go on, as soon as a hold of before has come to its end.
    until(lambda: "error" not in near.ask(command="hold", disk="d", limit_ms=60000), "end of the hold: " + what)
    near.ask(command="release", disk="d", moved=False)
    if target_empty: assert not far.points(), (what, far.points())

outcomes = {}
def note(way, outcome):
    outcomes.setdefault(way, []).append(outcome)

fresh(); between.arm(None)
assert ended(mirror()) == 0, open("err").read()
check_moved("without a cut")
count = len(between.seen)
assert between.seen[-1]["command"] in ("release", "checkpoint-delete"), between.seen
dirty = True
# The others are as good as before anything began: all of them by CAMPAIGN=1.
telling = [i for i, r in enumerate(between.seen) if r["command"] in ("checkpoint-create", "hold", "diff", "release")]
for way in ("request", "answer", "source", "source later", "mirror"):
    for at in range(count) if way in ("request", "answer") or os.environ.get("CAMPAIGN") else telling:
        if dirty: fresh()
        dirty = False
        what = f"{way} at {at}"
        running = []
        def kill_it():
            until(lambda: running, "who mirrors")
            running[0].kill()
        if way == "request": between.arm(at, before=lambda: None)
        if way == "answer": between.arm(at, after=lambda: None)
        if way == "source": between.arm(at, before=near.kill)
        if way == "source later": between.arm(at, after=near.kill)
        if way == "mirror": between.arm(at, after=kill_it)
        p = mirror(hold=300 if way == "mirror" else 30000)
        running.append(p)
        code = ended(p)
        command = between.seen[at]["command"] if at < len(between.seen) else "none"
        what += f" ({command}): exit {code}: {open('err').read()}"
        if way.startswith("source") and at < len(between.seen):
            until(lambda: near.p is None, "end of the source")
            near.start()
        if way == "mirror":
            # The hold ends by itself.
            until(lambda: "error" not in near.ask(command="hold", disk="d", limit_ms=1) or moved(), "end of the hold")
            outcome = "moved" if moved() else "stays"
        elif code == 6:
            assert command == "release" and way.startswith("source"), what
            assert "whether the disk has moved is not known" in what, what
            name = next(n for n in near.points() if n.startswith("mirror-"))
            assert name in what, what
            outcome = "moved" if "has moved to" in near.points()[name].get("reason", "") else "stays"
            assert outcome == ("moved" if way == "source later" else "stays"), what
            note(way, "unknown")
        else:
            outcome = "moved" if code == 0 else "stays"
            assert (code == 0) == moved(), (what, near.points())
        if outcome == "moved":
            check_moved(what)
            dirty = True
        else:
            check_stays(what, way != "mirror" and code != 6)
            dirty = way == "mirror" or way.startswith("source")
        note(way, outcome)
for way, all_ in outcomes.items():
    print("ok - cut at", len(all_) - all_.count("unknown"), "requests,", way + ":", ", ".join(f"{all_.count(o)} {o}" for o in sorted(set(all_))))
assert "moved" in outcomes["answer"] and "stays" in outcomes["answer"], outcomes
assert outcomes["source"].count("unknown") == 1 and outcomes["source later"].count("unknown") == 1, outcomes
near.kill(); far.kill()
P
timeout 200 python3 cut.py
[ $? = 0 ] || fail "see above"
