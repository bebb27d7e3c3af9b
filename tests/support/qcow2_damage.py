#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Images of all shapes, with one to five fields or entries of each damaged.

What the reference tool can read of the disk, and of each snapshot, before a
repair can be read after it; after one with --accept-loss, too, but for what
that listed. usage: qcow2_damage.py TIDEMARK, in an empty folder; SEED, CASES
and ONLY (a case's number) choose the script. A base image of each shape is made
once, and copied. With COMPARE set each image is repaired by the reference tool,
too, and the last line has its figures beside ours.
"""
import hashlib
import json
import os
import random
import subprocess
import sys

TOOL = sys.argv[1]
SEED = int(os.environ.get("SEED", "5"))
CASES = int(os.environ.get("CASES", "100"))
ONLY = int(os.environ.get("ONLY", "-1"))
COMPARE = bool(os.environ.get("COMPARE"))
SECRET = "secret,id=s,data=word"
MASK = 0xfffffffffffe00

# name: options of create, what else is in it
SHAPES = {
    "plain": ("", ""),
    "512": ("cluster_size=512", "packed"),
    "1k-64bit": ("cluster_size=1k,refcount_bits=64", "snapshots"),
    "2k-2bit": ("cluster_size=2k,refcount_bits=2", "packed"),
    "4k": ("cluster_size=4k", "snapshots"),
    "4k-1bit": ("cluster_size=4k,refcount_bits=1", "packed"),
    "16k-4bit": ("cluster_size=16k,refcount_bits=4", "snapshots"),
    "16k-extended": ("cluster_size=16k,extended_l2=on", "snapshots"),
    "64k-8bit": ("refcount_bits=8", "snapshots"),
    "64k-32bit": ("refcount_bits=32", "snapshots packed"),
    "64k-extended": ("extended_l2=on", "packed"),
    "2M": ("cluster_size=2M", "packed"),
    "2M-snapshots": ("cluster_size=2M,refcount_bits=64", "snapshots"),
    "2M-extended": ("cluster_size=2M,extended_l2=on", ""),
    "v2": ("compat=0.10", "packed"),
    "v2-4k": ("compat=0.10,cluster_size=4k", "snapshots"),
    "zstd": ("compression_type=zstd", "packed"),
    "lazy": ("lazy_refcounts=on,cluster_size=4k", "snapshots"),
    "backing": ("cluster_size=4k", "backing snapshots"),
    "backing-extended": ("extended_l2=on", "backing"),
    "data-file": ("cluster_size=4k", "data"),
    "raw-data-file": ("data_file_raw=on", "data"),
    "bitmaps": ("cluster_size=4k", "bitmaps"),
    "bitmaps-64k": ("", "bitmaps snapshots packed"),
    "luks": ("encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "luks"),
}
UNIT = 65536


def run(*args):
    return subprocess.run(args, capture_output=True, encoding="utf-8", errors="replace", timeout=300)


def must(*args):
    r = run(*args)
    # What qemu-img measures for a key's strength fails now and then.
    for _ in range(50):
        if "CPU usage" not in r.stderr:
            break
        r = run(*args)
    if r.returncode:
        sys.exit(f"{args}: {r.stderr}")


def pieces(f):
    """Offset and bytes of what is no hole."""
    size, at = os.fstat(f.fileno()).st_size, 0
    while at < size:
        try:
            at = os.lseek(f.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
        f.seek(at)
        yield at, f.read(end - at)
        at = end


def copy(source, to):
    """Holes stay holes: an image of 2 MiB clusters is mostly that."""
    with open(source, "rb") as a, open(to, "wb") as b:
        b.truncate(os.fstat(a.fileno()).st_size)
        for at, d in pieces(a):
            b.seek(at)
            b.write(d)


def digest(name):
    """Of the content, wherever the holes are."""
    h, page = hashlib.sha1(), 4096
    with open(name, "rb") as f:
        for at, d in pieces(f):
            for i in range(0, len(d), page):
                if d[i:i + page].strip(b"\0"):
                    h.update((at + i).to_bytes(8, "big") + d[i:i + page])
    return h.hexdigest()


def io(base, name, write, commands):
    """One process for all of @commands; a line of output for each."""
    args = ["qemu-io", "--object", SECRET] if base["luks"] else ["qemu-io", "-f", "qcow2"]
    if not write:
        args.append("-r")
    for c in commands:
        args += ["-c", c]
    if base["luks"]:
        args += ["--image-opts", f"driver=qcow2,file.filename={name},encrypt.key-secret=s"]
    else:
        args.append(name)
    return run(*args)


class Base(dict):
    """An image of one shape, its blocks, and where its metadata lies."""

    def __init__(self, shape, rng):
        options, what = SHAPES[shape]
        small = "=512" in options or "=1k" in options
        large = "=2M" in options
        name = f"base-{shape}.q"
        super().__init__(name=name, luks="luks" in what, snapshots=[], shape=shape)
        create = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if self["luks"]:
            create += ["--object", SECRET]
        if "backing" in what:
            must("qemu-img", "create", "-q", "-f", "raw", "below.raw", "64M")
            must("qemu-io", "-f", "raw", "-c", "write -P 200 0 64M", "below.raw")
            create += ["-b", "below.raw", "-F", "raw"]
        if "data" in what:
            options += f",data_file={shape}.raw" if options else f"data_file={shape}.raw"
        must(*create, *(["-o", options] if options else []), name, "64M")
        blocks, commands = {}, []
        if "backing" in what:
            blocks[900 << 16] = 200
        for n in range(rng.randrange(6, 20)):
            at = rng.randrange(24) << 21 if large else rng.randrange(24 if small else 800) << 16
            packed = "packed" in what and rng.random() < .4 and at not in blocks
            blocks[at] = n + 1
            commands.append(f"write -c -P {n + 1} {at} {'2M' if large else '64k'}" if packed else
                            f"write -P {n + 1} {at} 64k")
            if n % 5 == 4:
                zero = rng.choice(sorted(blocks))
                blocks[zero] = 0
                commands.append(f"write -z {zero} 64k")
        self["blocks"] = blocks
        half = len(commands) // 2
        self.write(commands[:half])
        if "bitmaps" in what:
            must("qemu-img", "bitmap", "--add", "-g", "64k", name, "one")
            must("qemu-img", "bitmap", "--add", name, "two")
        self.write(commands[half:])
        for n in range(2 if "snapshots" in what else 0):
            must("qemu-img", "snapshot", "-c", f"snap{n}", name)
            self["snapshots"].append(f"snap{n}")
            at = rng.choice(sorted(blocks))
            blocks[at] = 90 + n
            self.write([f"write -P {90 + n} {at} 64k"])
        self.find_metadata()

    def write(self, commands):
        r = io(self, self["name"], True, commands)
        if r.returncode:
            sys.exit(f"{self['name']}: {r.stdout} {r.stderr}")

    def find_metadata(self):
        """Each kind of section: offsets of its words, those not zero first."""
        r = run(TOOL, "qcow2", "map", "--json", self["name"])
        sections = {}
        with open(self["name"], "rb") as f:
            for m in json.loads(r.stdout)["runs"]:
                f.seek(m["offset"])
                d = f.read(min(m["length"], 1 << 18))
                words = [m["offset"] + i for i in range(0, len(d) - 7, 8) if d[i:i + 8] != bytes(8)]
                for use in m["uses"]:
                    if use not in ("data", "compressed data", "bitmap data"):
                        full, first = sections.setdefault(use, ([], []))
                        full += words
                        first.append(m["offset"])
        self["sections"] = {k: v for k, v in sections.items() if v[0] or v[1]}
        self["starts"] = sorted({o for v in sections.values() for o in v[1]})
        self["size"] = os.path.getsize(self["name"])


FIELDS = [(8, 8), (16, 4), (24, 8), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8), (72, 8), (80, 8), (88, 8),
          (100, 4)]


def damage(base, name, rng):
    done = []
    with open(name, "r+b") as f:
        for _ in range(rng.randrange(1, 6)):
            section = rng.choice(sorted(base["sections"]))
            full, first = base["sections"][section]
            width = 8
            if section == "header":
                if rng.random() < .5:
                    continue
                at, width = rng.choice(FIELDS)
            elif full and rng.random() < .8:
                at = rng.choice(full)
            else:
                at = rng.choice(first) + 8 * rng.randrange(64)
            f.seek(at)
            old = int.from_bytes(f.read(width), "big")
            kind = rng.randrange(5)
            if kind == 0 or (kind >= 3 and not old):
                new = old ^ 1 << rng.randrange(8 * width)
            elif kind == 1:
                new = rng.getrandbits(8 * width)
            elif kind == 2:
                new = 1 << 63 | rng.choice(base["starts"])
            elif kind == 3:
                new = old & ~MASK | rng.randrange(base["size"]) & -512
            else:
                new = 0
            new &= (1 << 8 * width) - 1
            f.seek(at)
            f.write(new.to_bytes(width, "big"))
            done.append(f"{section} {at:#x}: {old:#x} -> {new:#x}")
    return done


def readable(base, name):
    """Blocks of the disk whose pattern the reference tool finds."""
    blocks = sorted(base["blocks"])
    commands = [f"read -P {base['blocks'][at]} {at} 64k" for at in blocks]
    r = io(base, name, False, commands)
    found, failed = set(), "Pattern verification failed at offset "
    lines, bad = r.stdout.splitlines(), set()
    for line in lines:
        if line.startswith(failed):
            bad.add(int(line[len(failed):].split(",")[0]))
        elif line.startswith("read 65536/65536 bytes at offset "):
            found.add(int(line.split()[-1]))
    return {b for b in found if not any(b <= x < b + UNIT for x in bad)}


def pages(name):
    """What each page is full of that is not zero; -1: of several."""
    found = {}
    with open(name, "rb") as f:
        for at, d in pieces(f):
            for i in range(0, len(d), 4096):
                byte = d[i] if d[i:i + 4096].count(d[i]) == len(d[i:i + 4096]) else -1
                if byte:
                    found[at + i] = byte
    return found


def kept(before, now):
    """A page of several bytes is metadata that an entry names: it changes."""
    return all(before.get(p, 0) in (-1, now.get(p, 0)) for p in before.keys() | now.keys())


def snapshots(base, name, which):
    """The disk of each snapshot that the reference tool can read whole."""
    found = {}
    for s in which:
        if os.path.exists("snap.raw"):
            os.remove("snap.raw")
        r = run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-l", f"snapshot.name={s}", name, "snap.raw")
        if r.returncode == 0:
            found[s] = pages("snap.raw")
    return found


def repair(name, option):
    r = run(TOOL, "qcow2", "repair", "--json", *option, name)
    try:
        return r, json.loads(r.stdout).get("losses", [])
    except ValueError:
        return r, []


def missing(base, before, old, now, name, losses):
    lost = {b for b in before - now
            if not any(x["active"] and x["offset"] < b + UNIT and b < x["offset"] + x["length"] for x in losses)}
    disks = snapshots(base, name, old)
    listed = {x.get("snapshot") for x in losses if not x["active"]}
    return sorted(lost) + [s for s in old if not kept(old[s], disks.get(s, {})) and s not in listed and None not in listed]


def clean_for(name):
    """For the reference tool, for us."""
    return (run("qemu-img", "check", "-f", "qcow2", name).returncode == 0, run(TOOL, "qcow2", "check", name).returncode == 0)


def rival(base, before, sum_):
    """What the reference tool's repair of a.q keeps; whether it ends clean."""
    copy("a.q", "c.q")
    try:
        run("qemu-img", "check", "-f", "qcow2", "-r", "all", "c.q")
    except subprocess.TimeoutExpired:
        print(f"# {base['shape']}: the reference tool's repair does not end")
    theirs, ours = clean_for("c.q")
    if COMPARE:
        sum_["kept by theirs"] += len(before & readable(base, "c.q"))
        sum_["clean by theirs"] += theirs and ours
        sum_["clean for both"] += all(clean_for("b.q"))
    return theirs


def one_case(case, base, rng, sum_):
    copy(base["name"], "a.q")
    done = damage(base, "a.q", rng)
    some = rng.sample(base["snapshots"], min(1, len(base["snapshots"])))
    if ONLY not in (-1, case):
        return
    before, old, last = readable(base, "a.q"), snapshots(base, "a.q", some), digest("a.q")
    sum_["blocks"] += len(before)
    sum_["snapshots"] += len(old)
    sum_["whole"] += len(before) == len(base["blocks"])
    for option in (), ("--accept-loss",):
        copy("a.q", "b.q")
        r, losses = repair("b.q", option)
        # What did not change since it was looked at needs no look.
        same, last = digest("b.q") == last, digest("b.q")
        now = before if same else readable(base, "b.q")
        lost = [] if same else missing(base, before, old, now, "b.q", losses)
        sum_["kept with loss" if option else "kept"] += len(before & now)
        sum_["listed"] += bool(losses)
        if lost or not 0 <= r.returncode <= 3 or "Sanitizer" in r.stderr:
            sum_["bad"] += 1
            print("not ok -", case, base["shape"], *option, "lost", lost, "exit", r.returncode, r.stderr[:200], "\n#  ",
                  "\n#   ".join(done), flush=True)
    sum_["clean"] += r.returncode == 0
    if r.returncode == 0 and not COMPARE:
        return
    if rival(base, before, sum_) and r.returncode:
        sum_["theirs"] += 1
        print(f"# {case} {base['shape']}: clean only after the reference tool:", "; ".join(done), "|",
              r.stderr.strip()[:200], "|", r.stdout[-600:].replace("\n", " "), flush=True)


def main():
    print(f"# SEED={SEED} CASES={CASES}", flush=True)
    bases, names = {}, sorted(SHAPES)
    sum_ = dict.fromkeys(("blocks", "snapshots", "bad", "clean", "theirs", "whole", "listed", "kept", "kept with loss",
                          "kept by theirs", "clean by theirs", "clean for both"), 0)
    for case in range(CASES):
        shape = names[case % len(names)]
        if shape not in bases:
            bases[shape] = Base(shape, random.Random(f"{SEED} {shape}"))
        one_case(case, bases[shape], random.Random(f"{SEED} {case}"), sum_)
        if case % 25 == 24:
            print(f"# {case + 1} images", flush=True)
    print(f"# {CASES} images of {len(bases)} shapes, {sum_['blocks']} blocks and {sum_['snapshots']} snapshots readable "
          f"before, of {sum_['whole']} images all; lost without a word: {sum_['bad']}; losses listed in "
          f"{sum_['listed']} repairs; clean after --accept-loss: {sum_['clean']}, only after the reference tool's "
          f"repair: {sum_['theirs']}")
    print(f"# blocks that can be read after repair: {sum_['kept']}, after --accept-loss: {sum_['kept with loss']}" +
          (f", after the reference tool's: {sum_['kept by theirs']}; clean for both tools after ours: "
           f"{sum_['clean for both']} images, after theirs: {sum_['clean by theirs']}" if COMPARE else ""))
    sys.exit(sum_["bad"] != 0)


main()
