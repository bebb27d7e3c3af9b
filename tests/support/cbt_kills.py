# SPDX-License-Identifier: BSD-2-Clause
"""Kills `tidemark serve` at random moments, and asks what changed.

A client writes at depth (in turn one of our own, with zeroes and discards, and
fio, which reads back and verifies what it wrote); the server dies by kill -9 in
the middle of a write, of a checkpoint, of a bitmap verb. What its successor
reports since the last checkpoint has to contain every block that differs from a
copy of the disk made at that checkpoint; a verb has happened or has not. The
seed is printed.

usage: cbt_kills.py TIDEMARK FOLDER KILLS SEED SERVE-OPTION...
"""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import nbd

TOOL, FOLDER, KILLS, SEED = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
OPTIONS = sys.argv[5:]
SIZE, BLOCK = 32 << 20, 65536
DISK, SOCKET = f"{FOLDER}/disk.raw", f"{FOLDER}/nbd"
CONTROL, LIVE = f"{FOLDER}/control", f"{FOLDER}/live"
rng = random.Random(SEED)


def start():
    server = subprocess.Popen(
        [TOOL, "serve", f"--socket={SOCKET}", f"--control={CONTROL}",
         f"--live-folder={LIVE}", "--format=raw", "--quiet", *OPTIONS,
         f"d={DISK}"], stdout=subprocess.PIPE, stderr=open(f"{FOLDER}/err", "w"))
    if not server.stdout.readline().startswith(b"listening"):
        sys.exit("no server: " + open(f"{FOLDER}/err").read())
    return server


def run(*words, may_fail=False):
    r = subprocess.run([TOOL, *words, f"--control={CONTROL}", "--json"],
                       capture_output=True, text=True)
    if r.returncode and not may_fail:
        sys.exit(f"{words}: {r.stderr}")
    return json.loads(r.stdout) if not r.returncode else None


class Writer:
    """Sixteen writes in flight, for as long as the server lives."""

    def __init__(self):
        self.h = nbd.NBD()
        self.h.connect_unix(SOCKET)
        self.writes = 0

    def go(self, until):
        h = self.h
        try:
            while time.monotonic() < until:
                while h.aio_in_flight() >= 16:
                    h.poll(-1)
                    self.reap()
                self.one()
        except nbd.Error:
            pass

    def reap(self):
        while True:
            cookie = self.h.aio_peek_command_completed()
            if not cookie:
                return
            self.h.aio_command_completed(cookie)

    def one(self):
        what, at = rng.random(), rng.randrange(SIZE // 512) * 512
        length = min(rng.choice([512, 4096, 4096, 65536, 200 * 1024]), SIZE - at)
        self.writes += 1
        if what < 0.85:
            self.h.aio_pwrite(nbd.Buffer.from_bytearray(
                bytearray(rng.randbytes(512) * (length // 512))), at)
        elif what < 0.93:
            self.h.aio_zero(length, at)
        else:
            self.h.aio_trim(length, at)


def under_fio(server):
    """fio writes, reads back and verifies until the server is gone."""
    fio = subprocess.Popen(
        ["fio", "--name=j", "--ioengine=nbd", "--thread",
         f"--uri=nbd+unix:///d?socket={SOCKET}", "--rw=randwrite",
         "--bsrange=4k-64k", "--iodepth=16", f"--size={SIZE}",
         "--random_distribution=zipf:1.2", "--rate_iops=2000", "--time_based",
         "--runtime=60", "--verify=crc32c", "--verify_backlog=32",
         "--verify_fatal=1", "--verify_state_save=0",
         f"--randseed={rng.randrange(1 << 30)}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(rng.uniform(0.25, 0.6))
    server.send_signal(signal.SIGKILL)
    said = b""
    # Of a server that is gone fio 3.33 may complain for ever.
    while b"in state DEAD" not in said:
        more = os.read(fio.stdout.fileno(), 65536)
        said = said[-4096:] + more
        if b"verify:" in said:
            sys.exit(f"SEED={SEED}: fio: {said.decode()}")
        if not more:
            break
    fio.kill()
    fio.wait()
    # Killed before it was connected: no kill under it.
    return 1 if b"connected to NBD server" in said or b"DEAD" in said else 0


def changed(since):
    got = run("diff", "d", f"--since={since}")
    assert got["complete"] and got["size_bytes"] == SIZE
    return {b for r in got["changed"]
            for b in range(r["byte_offset"] // BLOCK,
                           (r["byte_offset"] + r["size_bytes"] + BLOCK - 1) // BLOCK)}


def compare(copy, since):
    with open(DISK, "rb") as f:
        now = f.read()
    dirty = changed(since)
    differ = {b for b in range(SIZE // BLOCK)
              if now[b * BLOCK:(b + 1) * BLOCK] != copy[b * BLOCK:(b + 1) * BLOCK]}
    lost = sorted(differ - dirty)
    if lost:
        sys.exit(f"SEED={SEED}: lost blocks {lost[:9]} of {len(differ)}, since {since}")
    return len(differ), len(dirty)


def verb(number):
    """One that may be killed: name and what happens to it."""
    name = f"b{number % 4}"
    return rng.choice([
        ("checkpoint", "create", "d", f"x{number}"),
        ("bitmap", "add", "d", name), ("bitmap", "remove", "d", name),
        ("bitmap", "clear", "d", name), ("bitmap", "disable", "d", name),
        ("bitmap", "merge", "d", name, "base"),
        ("checkpoint", "delete", "d", f"x{number - 2}")])


def under_own(server):
    writer = Writer()
    until = time.monotonic() + rng.uniform(0.005, 0.08)
    # Half of them in the middle of what the writer does.
    if rng.random() < 0.5:
        killer = subprocess.Popen(["sh", "-c",
                                   f"sleep {rng.uniform(0.002, 0.06):.4f}; kill -9 {server.pid}"])
        writer.go(time.monotonic() + 1)
        killer.wait()
    else:
        writer.go(until)
        server.send_signal(signal.SIGKILL)
    return writer.writes


def one_kill(server, number):
    verbs = []
    if rng.random() < 0.6:
        for i in range(3):
            verbs.append(subprocess.Popen(
                [TOOL, *verb(number), f"--control={CONTROL}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    if number % 2 and shutil.which("fio"):
        result = 0, under_fio(server)
    else:
        result = under_own(server), 0
    server.wait()
    for v in verbs:
        v.wait()
    return result


def main():
    os.makedirs(LIVE, exist_ok=True)
    with open(DISK, "wb") as f:
        f.truncate(SIZE)
    server = start()
    writes = fio = differ = dirty = 0
    for number in range(KILLS):
        if number % 5 == 0:
            with open(DISK, "rb") as f:
                copy = f.read()
            if number:
                run("checkpoint", "delete", "d", "base")
            run("checkpoint", "create", "d", "base")
        own, other = one_kill(server, number)
        writes, fio = writes + own, fio + other
        server = start()
        one, other = compare(copy, "base")
        differ, dirty = differ + one, dirty + other
        for p in run("checkpoint", "list", "d")["checkpoints"]:
            if p["state"] != "recording":
                sys.exit(f"SEED={SEED}: {p}")
    server.terminate()
    if server.wait():
        sys.exit("the end: " + open(f"{FOLDER}/err").read())
    print(f"# {KILLS} kills, {fio} of them under fio, {writes} writes of our own "
          f"client, SEED={SEED}: {differ} blocks differ, {dirty} said, none lost")


main()
