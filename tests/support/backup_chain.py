# SPDX-License-Identifier: BSD-2-Clause
"""Backups of a disk that is written to all the time, and what they restore.

A writer keeps requests in flight. Around the moment of each backup it stands
still, and the disk's file is copied by cp: that copy is what the point has to
be. In the campaign client and server are killed, at random moments and, by
kill_at.c, at every step of the client's; the folder is then gone on with, and
every point that its manifest names has to be its copy. The seed is printed.

usage: backup_chain.py TIDEMARK FOLDER POINTS KILLS SEED [KILL_AT.so]
"""
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import nbd

TOOL, FOLDER, POINTS, KILLS, SEED = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
PRELOAD = sys.argv[6] if len(sys.argv) > 6 else None
STRIDE = int(os.environ.get("STRIDE", 1))  # of the steps, so many at a time
SIZE = (24 << 20) + 4096
DISK, SOCKET, CONTROL = f"{FOLDER}/disk.raw", f"{FOLDER}/nbd", f"{FOLDER}/control"
DEST, REFS = f"{FOLDER}/dest", f"{FOLDER}/refs"
URI = f"nbd+unix:///d?socket={SOCKET}"
PAUSE, PAUSED = f"{FOLDER}/pause", f"{FOLDER}/paused"
PRE = f"touch {PAUSE}; while [ ! -e {PAUSED} ]; do sleep 0.005; done"
POST = f"cp {DISK} {FOLDER}/ref.new; rm -f {PAUSE}; true"
rng = random.Random(SEED)


def start(env=None):
    """A server; with @env it may be killed before it listens: None."""
    for _ in range(1 if env else 50):
        server = subprocess.Popen(
            [TOOL, "serve", f"--socket={SOCKET}", f"--control={CONTROL}",
             f"--live-folder={FOLDER}/live", "--format=raw", "--quiet",
             f"d={DISK}"], stdout=subprocess.PIPE,
            stderr=open(f"{FOLDER}/err", "a"), env=env)
        if server.stdout.readline().startswith(b"listening"):
            return server
        server.wait()
        time.sleep(0.1)
    if env:
        return None
    sys.exit("no server: " + open(f"{FOLDER}/err").read())


class Writer(threading.Thread):
    """Writes, zeroes and discards, for ever; pauses when it is asked to."""

    def __init__(self):
        super().__init__(daemon=True)
        self.rng = random.Random(SEED + 1)
        self.count = 0
        self.over = False

    def one(self, h):
        r = self.rng
        length = 1 + r.randrange(1 << r.randrange(1, 18))
        at = r.randrange(SIZE - length)
        if r.random() < 0.5:  # where everybody writes
            at = at % (1 << 20)
        kind = r.randrange(10)
        if kind == 0:
            h.aio_zero(length, at)
        elif kind == 1:
            h.aio_trim(length, at)
        else:
            data = r.randbytes(min(length, 4096)) * (length // 4096 + 1)
            h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data[:length])), at)
        self.count += 1

    def drain(self, h):
        while h.aio_in_flight():
            h.poll(-1)
            self.retire(h)

    def retire(self, h):
        while (cookie := h.aio_peek_command_completed()) > 0:
            h.aio_command_completed(cookie)

    def session(self):
        h = nbd.NBD()
        h.connect_uri(URI)
        while not self.over:
            if os.path.exists(PAUSE):
                self.drain(h)
                open(PAUSED, "w").close()
                while os.path.exists(PAUSE) and not self.over:
                    time.sleep(0.002)
                # Who asked for the pause may take it away, too.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(PAUSED)
            while h.aio_in_flight() >= 8:
                h.poll(-1)
                self.retire(h)
            self.one(h)
            time.sleep(self.rng.random() * 0.004)
        self.drain(h)

    def run(self):
        while not self.over:
            try:
                self.session()
            except nbd.Error:
                # The server died. Who asked for a pause has it.
                if os.path.exists(PAUSE):
                    open(PAUSED, "w").close()
                time.sleep(0.01)


def backup(*words, env=None):
    if random.randrange(3) == 0:
        words = (*words, "--over-nbd")
    return subprocess.Popen([TOOL, "backup", URI, DEST, "--json",
                             f"--pre={PRE}", f"--post={POST}", *words],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=env)


def points():
    r = subprocess.run([TOOL, "backup", "list", DEST, "--json"],
                       capture_output=True, text=True)
    if r.returncode:
        return []
    return json.loads(r.stdout)["points"]


def note_new(before):
    """A point that came has the last copy as what it must be."""
    now = points()
    numbers = [p["number"] for p in now]
    if not set(before) <= set(numbers):
        sys.exit(f"points are gone: {before}, {numbers}")
    for p in now:
        if p["number"] not in before:
            shutil.copy(f"{FOLDER}/ref.new", f"{REFS}/{p['number']}")
            if not p["instant"]:
                sys.exit("a point is not of one moment")
    return numbers


def check(numbers):
    for n in numbers:
        out = f"{FOLDER}/out.raw"
        r = subprocess.run([TOOL, "restore", DEST, f"--to={out}", f"--point={n}",
                            "--quiet", "--force"], capture_output=True, text=True)
        if r.returncode:
            sys.exit(f"point {n}: {r.stderr}")
        if subprocess.run(["cmp", out, f"{REFS}/{n}"]).returncode:
            sys.exit(f"point {n} is not what the disk was")


def loosen():
    """What a killed run leaves of its hooks."""
    for path in PAUSE, PAUSED:
        with contextlib.suppress(FileNotFoundError):  # the writer may, too
            os.unlink(path)


def whole(known, *words):
    run = backup(*words)
    out, err = run.communicate(timeout=300)
    if run.returncode:
        sys.exit(f"backup: {err}")
    return note_new(known), json.loads(out)["disks"][0]


def killed_at(step, late):
    return dict(os.environ, LD_PRELOAD=PRELOAD, KILL_AT=str(step),
                **({"KILL_AFTER": "1"} if late else {}))


def client_steps(known):
    """A backup whose client ends at each step, before and after it."""
    steps = 0
    for late in False, True:
        for n in range(1 + rng.randrange(STRIDE), 100, STRIDE):
            run = backup(env=killed_at(n, late))
            run.communicate(timeout=300)
            loosen()
            known = note_new(known)
            if run.returncode == 0:
                break
            steps += 1
            if steps % 7 == 0:
                known, made = whole(known)
                if made["point"]["kind"] == "full":
                    sys.exit(f"step {n}: a full one: {made['why_full']}")
        else:
            sys.exit("a backup has no end of steps")
    known, _ = whole(known)
    check(known)
    print(f"ok - killed at {steps} steps of the client, {len(known)} points", flush=True)
    return known


def server_steps(server, known):
    """A backup whose server ends at each of its steps, from its start on."""
    steps, late = 0, False
    for n in range(1 + rng.randrange(STRIDE), 400, STRIDE):
        late = not late
        server.terminate()
        server.wait()
        server = start(dict(killed_at(n, late), KILL_WRITES="1"))
        if server:
            run = backup()
            run.communicate(timeout=300)
            loosen()
            alive = server.poll() is None
            if not alive:
                server.wait()
        if not server or not alive:
            server, steps = start(), steps + 1
            known = note_new(known)
        else:
            known = note_new(known)
            break
        if steps % 5 == 0:
            known, made = whole(known)
            if made["point"]["kind"] == "full":
                sys.exit(f"step {n} of the server: a full one: {made['why_full']}")
    server.terminate()  # it would be killed later
    server.wait()
    server = start()
    known, _ = whole(known)
    check(known)
    print(f"ok - killed at {steps} steps of the server, {len(known)} points", flush=True)
    return server, known


def restore_steps(known):
    """A restore that ends at each step: a whole file has the name, or none."""
    n, steps, out = known[-1], 0, f"{FOLDER}/steps.raw"
    for step in range(1, 100):
        r = subprocess.run([TOOL, "restore", DEST, f"--to={out}", f"--point={n}", "--quiet"],
                           capture_output=True, text=True, env=killed_at(step, step % 2))
        if os.path.exists(out):
            if subprocess.run(["cmp", out, f"{REFS}/{n}"]).returncode:
                sys.exit(f"restore, step {step}: a file that is not what it should be")
            os.unlink(out)
        if r.returncode == 0:
            break
        if r.returncode > 0:
            sys.exit(f"restore, step {step}: {r.stderr}")
        steps += 1
    print(f"ok - killed at {steps} steps of a restore", flush=True)


def main():
    print(f"# backup_chain: SEED={SEED}", flush=True)
    os.makedirs(REFS, exist_ok=True)
    os.makedirs(f"{FOLDER}/live", exist_ok=True)
    with open(DISK, "wb") as f:
        f.write(rng.randbytes(SIZE // 3))
        f.truncate(SIZE)
    server, known = start(), []
    writer = Writer()
    writer.start()

    for n in range(POINTS):
        known, made = whole(known)
        if (n > 0) != (made["point"]["kind"] == "incremental"):
            sys.exit(f"point {n}: {made}")
        time.sleep(rng.random() * 0.1)
    check(known)
    r = subprocess.run([TOOL, "backup", "verify", DEST, "--quiet"], capture_output=True)
    r.returncode and sys.exit(f"verify: {r.stderr}")
    print(f"ok - {len(known)} points while {writer.count} requests went by", flush=True)

    fulls = 0
    for n in range(KILLS):
        victim = rng.choice(["client", "server", "both"])
        run = backup()
        time.sleep(rng.random() ** 2 * 0.5)
        if victim != "client":
            server.send_signal(signal.SIGKILL)
            server.wait()
        if victim != "server":
            run.send_signal(signal.SIGKILL)
        run.communicate()
        if victim != "client":
            server = start()
        loosen()
        known = note_new(known)
        if rng.random() < 0.3:
            known, made = whole(known)
            fulls += made["point"]["kind"] == "full"
    if KILLS:
        known, made = whole(known)
        check(known)
        if fulls:
            sys.exit(f"{fulls} full backups: something was forgotten")
        print(f"ok - killed {KILLS} times at random, {len(known)} points", flush=True)

    if PRELOAD and KILLS:
        known = client_steps(known)
        server, known = server_steps(server, known)
        restore_steps(known)

    if os.path.exists(f"{DEST}/pending.json"):
        sys.exit("something is still pending")
    status = json.loads(subprocess.run(
        [TOOL, "ctl", f"--control={CONTROL}", "status"],
        capture_output=True, text=True).stdout)["disks"][0]
    names = [p["name"] for p in status["points"]]
    if len(names) != 1 or status["instants"]:
        sys.exit(f"the server still has {names}, {status['instants']}")
    writer.over = True
    writer.join()
    server.terminate()
    server.wait()
    print("ok - nothing is left at the server but the last checkpoint", flush=True)


main()
