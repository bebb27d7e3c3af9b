# SPDX-License-Identifier: BSD-2-Clause
"""Power cuts on the destination of backups.

A backup, or a prune, ends at a step (power_cut.c); of the folder only what was
synced is sure, and everything else is there or not: names each by itself, but
for the two of a rename, and contents torn in blocks. Whatever comes out, each
point that was reported as done must be listed and restore, a point that is
listed must be right, and the next backup must do what this one did not.

usage: backup_power.py TOOL FOLDER PRELOAD STRIDE SEED
"""
import json
import os
import random
import shutil
import subprocess
import sys

import nbd

TOOL, FOLDER, PRELOAD = sys.argv[1:4]
STRIDE, SEED = int(sys.argv[4]), int(sys.argv[5])
rng = random.Random(SEED)
SIZE, BLOCK = 3 << 20, 4096
DISK, DEST, SHADOW, SAVED = (f"{FOLDER}/{n}" for n in ("disk", "dest", "shadow", "saved"))
URI = f"nbd+unix:///d?socket={FOLDER}/s"
points = {}  # what was reported: number to content


def run(*words, env=None):
    return subprocess.run([TOOL, *words], capture_output=True, text=True, env=env)


def write_some():
    h = nbd.NBD()
    h.connect_uri(URI)
    for _ in range(rng.randrange(1, 12)):
        n = rng.randrange(1, 150000)
        h.pwrite(rng.randbytes(n), rng.randrange(SIZE - n))
    h.flush()
    h.shutdown()
    with open(DISK, "rb") as f:
        return f.read()


def cut(step, late, *words):
    """Runs it; all that is there before is durable."""
    shutil.rmtree(SHADOW, ignore_errors=True)
    os.mkdir(SHADOW)
    with open(f"{SHADOW}/names", "w") as f:
        for e in os.scandir(DEST):
            f.write(f"{e.inode()} {e.name}\n")
            shutil.copy(e.path, f"{SHADOW}/f.{e.inode()}")
    env = dict(os.environ, LD_PRELOAD=PRELOAD, CUT_FOLDER=DEST, CUT_SHADOW=SHADOW,
               CUT_AT=str(step), **({"CUT_AFTER": "1"} if late else {}))
    return run(*words, env=env)


def torn(old, new):
    """Blocks of either; the length of either."""
    length = rng.choice([len(old), len(new)])
    out = bytearray(length)
    for at in range(0, length, BLOCK):
        part = rng.choice([old, new])[at:at + BLOCK]
        out[at:at + len(part)] = part
    return bytes(out)[:length]


def after_the_cut(loose):
    """The folder as it may be: @loose: with some of what was not synced."""
    with open(f"{SHADOW}/names") as f:
        old = dict(reversed(line.split()) for line in f)
    old = {n: int(i) for n, i in old.items() if n not in (".", "..")}
    new = {e.name: e.inode() for e in os.scandir(DEST)}
    content = {}
    for e in os.scandir(DEST):
        with open(e.path, "rb") as f:
            content[e.inode()] = f.read()
    files, side = {}, {n: rng.choice([old, new]) for n in old.keys() | new.keys()}
    for a, inode in old.items():  # a rename is one thing, whatever is lost
        for b in (n for n, i in new.items() if i == inode and n != a and new.get(a) != inode):
            side[b] = side[a]
    for name in old.keys() | new.keys():
        inode = (side[name] if loose else old).get(name)
        if inode is None:
            continue
        kept = b""
        if os.path.exists(f"{SHADOW}/f.{inode}"):
            with open(f"{SHADOW}/f.{inode}", "rb") as f:
                kept = f.read()
        files[name] = torn(kept, content.get(inode, kept)) if loose else kept
    shutil.rmtree(DEST)
    os.mkdir(DEST)
    for name, data in files.items():
        with open(f"{DEST}/{name}", "wb") as f:
            f.write(data)


def check(what, fresh, pruned):
    """@fresh: what a point must be that was not reported."""
    r = run("backup", "list", DEST, "--json")
    if r.returncode:
        sys.exit(f"{what}: list: {r.stderr}")
    listed = [p["number"] for p in json.loads(r.stdout)["points"]]
    if not set(points) - pruned <= set(listed):
        sys.exit(f"{what}: reported {sorted(points)}, and listed {listed}")
    for n in listed:
        r = run("restore", DEST, f"--to={FOLDER}/out", f"--point={n}", "--quiet", "--force")
        if r.returncode:
            sys.exit(f"{what}: point {n}: {r.stderr}")
        with open(f"{FOLDER}/out", "rb") as f:
            if f.read() != points.get(n, fresh):
                sys.exit(f"{what}: point {n} is not what the disk was")


def whole(content):
    r = run("backup", URI, DEST, "--json")
    if r.returncode:
        sys.exit(f"the next backup: {r.stderr}")
    points[json.loads(r.stdout)["disks"][0]["point"]["number"]] = content


def learn(fresh):
    """What a prune took away, and a backup made without having said so."""
    listed = [p["number"] for p in
              json.loads(run("backup", "list", DEST, "--json").stdout)["points"]]
    before = dict(points)
    points.clear()
    points.update((n, before.get(n, fresh)) for n in listed)


def campaign(name, words, late, may_go):
    cuts = 0
    for step in range(1 + rng.randrange(STRIDE), 200, STRIDE):
        content = write_some()
        if name == "prune":
            whole(content)
        r = cut(step, late, *words)
        if r.returncode == 0:
            check(f"{name}, whole", content, may_go())
            learn(content)
            return cuts
        if r.returncode > 0:
            sys.exit(f"{name}: {r.stderr}")
        cuts += 1
        # Inodes are what content is known by: links, and no copies.
        for variant in range(4):
            shutil.copytree(DEST, f"{SAVED}.{variant}", copy_function=os.link)
        for variant in range(4):
            shutil.rmtree(DEST)
            os.rename(f"{SAVED}.{variant}", DEST)
            after_the_cut(loose=variant > 0)
            check(f"{name}, step {step}{' late' if late else ''}, variant {variant}",
                  content, may_go())
        learn(content)
        whole(content)
        check(f"after {name}, step {step}", content, set())
    sys.exit(f"{name} has no end of steps")


def main():
    print(f"# backup_power: SEED={SEED}", flush=True)
    os.mkdir(f"{FOLDER}/live")
    with open(DISK, "wb") as f:
        f.truncate(SIZE)
    server = subprocess.Popen(
        [TOOL, "serve", f"--socket={FOLDER}/s", f"--control={FOLDER}/c",
         f"--live-folder={FOLDER}/live", "--format=raw", "--quiet", f"d={DISK}"],
        stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    try:
        whole(write_some())
        for late in False, True:
            n = campaign("backup", ["backup", URI, DEST, "--quiet"], late, set)
            print(f"ok - {n} cuts {'after' if late else 'before'} a step of a backup", flush=True)
            n = campaign("prune", ["backup", "prune", DEST, "--keep-last=2", "--quiet"], late,
                         lambda: set(sorted(points)[:-2]))
            print(f"ok - {n} cuts {'after' if late else 'before'} a step of a prune", flush=True)
    finally:
        server.kill()
        server.wait()


main()
