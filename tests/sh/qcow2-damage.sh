#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Images of many shapes, one to five fields or entries of each damaged at once.
# What the reference tool could still read of the disk can be read after a
# repair, and after one with --accept-loss, too, but for what it listed. SEED
# and CASES choose the script.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
cd "$dir" || exit 1
cat >damage.py <<'P'
import json, os, random, shutil, subprocess, sys
tool = sys.argv[1]
seed, cases = int(os.environ.get("SEED", "5")), int(os.environ.get("CASES", "20"))
print(f"# SEED={seed} CASES={cases}")
rng = random.Random(seed)
SHAPES = ["cluster_size=64k", "cluster_size=4k", "cluster_size=512", "cluster_size=2M", "compat=0.10",
          "cluster_size=64k,extended_l2=on", "cluster_size=4k,refcount_bits=1", "refcount_bits=64"]
M = 0xfffffffffffe00


def run(*args):
    return subprocess.run(("timeout", "60") + args, capture_output=True, encoding="utf-8", errors="replace")


def make(name):
    shape = rng.choice(SHAPES)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", shape, name, "64M")
    blocks, commands = {}, []
    for n in range(rng.randrange(4, 24)):
        at = rng.randrange(16 if "=512" in shape else 1000) << 16
        packed = rng.random() < .2 and not blocks.get(at)
        blocks[at] = n + 1
        commands += ["-c", f"write {'-c ' if packed else ''}-P {n + 1} {at} 64k"]
    run("qemu-io", "-f", "qcow2", *commands, name)
    if rng.random() < .4 and "refcount_bits=1" not in shape:
        run("qemu-img", "snapshot", "-c", "s", name)
        at = rng.choice(sorted(blocks))
        blocks[at] = 99
        run("qemu-io", "-f", "qcow2", "-c", f"write -P 99 {at} 64k", name)
    return shape, blocks


def damage(name):
    d = bytearray(open(name, "rb").read())
    g = lambda o, n=8: int.from_bytes(d[o:o + n], "big")
    l1, rt, snap, cluster = g(40), g(48), g(64), 1 << g(20, 4)
    l2s = [g(l1 + 8 * i) & M for i in range(g(36, 4)) if g(l1 + 8 * i) & M]
    places = [l1, rt, g(rt) & M] + l2s + [t + 8 * i for t in l2s for i in range(64)] + ([snap] if g(60, 4) else [])
    done = []
    for _ in range(rng.randrange(1, 6)):
        at = rng.choice([p for p in places if p + 64 < len(d)])
        if at in (l1, rt, snap):
            at += 8 * rng.randrange(5 if at == snap else 2)
        old = g(at)
        kind = rng.randrange(4)
        if kind == 0 or (kind == 3 and not old):
            new = old ^ 1 << rng.randrange(64)
        elif kind == 1:
            new = rng.getrandbits(64)
        elif kind == 2:
            new = 1 << 63 | rng.choice([l1, rt, g(rt) & M, snap or l1] + l2s)
        else:
            new = old & ~M | rng.randrange(len(d)) & -cluster
        d[at:at + 8] = new.to_bytes(8, "big")
        done.append(f"{at:#x}: {old:#x} -> {new:#x}")
    open(name, "wb").write(d)
    return done


def readable(name, blocks):
    found = set()
    for at, p in blocks.items():
        o = run("qemu-io", "-f", "qcow2", "-r", "-c", f"read -P {p} {at} 64k", name).stdout
        if o.startswith("read 65536/65536"):
            found.add(at)
    return found


bad = tally = kept = listed = clean = theirs = 0
for case in range(cases):
    shape, blocks = make("a.q")
    done = damage("a.q")
    before = readable("a.q", blocks)
    for option in (), ("--accept-loss",):
        shutil.copy("a.q", "b.q")
        r = run(tool, "qcow2", "repair", "--json", *option, "b.q")
        try:
            losses = json.loads(r.stdout).get("losses", [])
        except ValueError:
            losses = []
        lost = {b for b in before - readable("b.q", blocks)
                if not (option and any(x["active"] and x["offset"] < b + 65536 and b < x["offset"] + x["length"]
                                       for x in losses))}
        tally += len(before)
        if lost or r.returncode > 3:
            bad += 1
            print("not ok -", case, shape, option, "lost", sorted(lost), r.returncode, r.stderr[:200], "\n#  ", "\n#   ".join(done))
    clean += run("qemu-img", "check", "-f", "qcow2", "b.q").returncode == 0
    os.remove("b.q")
    shutil.copy("a.q", "b.q")
    run("qemu-img", "check", "-f", "qcow2", "-r", "all", "b.q")
    theirs += run("qemu-img", "check", "-f", "qcow2", "b.q").returncode == 0
    os.remove("a.q")
print(f"# {cases} images, {tally // 2} blocks readable; clean after --accept-loss: {clean}, after the reference tool: {theirs}; lost without a word: {bad}")
sys.exit(bad != 0)
P
python3 damage.py "$TIDEMARK" || fail "data that could be read is lost"
echo "ok - what could be read can still be read"
