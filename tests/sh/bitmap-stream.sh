#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Bitmaps move between Tidemark and a stock QEMU in its own migration stream,
# both ways: a stream that was recorded there is read here, one that is written
# here loads there with the digest that QEMU itself gave the bitmap, and what a
# guest's memory says is not taken for a bitmap.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
mkdir live
tool() { timeout 60 "$TIDEMARK" "$@"; }
on() {
	local disk=$1 verb=$2
	shift 2
	# shellcheck disable=SC2086
	tool $verb --disk="$disk" --live-folder=live "$@"
}

zstd -qdc "$SRC/tests/data/bitmaps/qemu-7.2-none.stream.zst" >recorded
truncate -s 1G d.raw
on d.raw "bitmap import-stream" recorded >out || fail "the recorded stream"
grep -q "^b0 *of disk0, recording, 2162688 bytes dirty, blocks of 65536" out || fail "$(cat out)"
grep -q "^b9 *of disk0, recording, 2162688 bytes dirty, blocks of 32768" out || fail "$(cat out)"
on d.raw diff --bitmap=b9 >got
printf '0 65536\n734003200 1048576\n1072693248 1048576\n' | cmp - got || fail "$(cat got)"
on d.raw "bitmap import-stream" recorded 2>err && fail "a name twice"
grep -q "already" err || fail "$(cat err)"
on d.raw "bitmap export-stream" b9=nine b0 --node=disk0 written || fail "export"
on d.raw "bitmap export-stream" b9 written 2>err && fail "over a file"
truncate -s 1G e.raw
on e.raw "bitmap import-stream" --bitmap=nine --disabled --json written >out.json || fail "what was written"
python3 -c '
import json; b, = json.load(open("out.json"))["bitmaps"]
assert b["name"] == "nine" and b["node"] == "disk0" and b["dirty_bytes"] == 2162688 and b["persistent"], b' || fail "see above"
on e.raw "bitmap list" | grep -q "^nine .*disabled .*2162688 bytes dirty, blocks of 32768" || fail "$(on e.raw "bitmap list")"
truncate -s 2G f.raw
on f.raw "bitmap import-stream" written 2>err && fail "of another disk"
grep -q "is of a disk of 1073741824 bytes, this one has 2147483648" err || fail "$(cat err)"
on e.raw "bitmap import-stream" --bitmap=none written 2>err && fail "of no bitmap"
head -c 5000 written >cut
on e.raw "bitmap import-stream" --bitmap=b0 cut 2>err && fail "half of one"
grep -q "byte 5000: cut: it ends in the middle" err || fail "$(cat err)"
on e.raw "bitmap list" | grep -q b0 && fail "a part of a bitmap stays"
echo "ok - a recorded stream, and there and back"

command -v qemu-system-x86_64 >/dev/null || { echo "ok - with QEMU # SKIP no qemu-system-x86_64"; exit 0; }
cat >qemu.py <<'P'
import json, os, random, socket, subprocess, sys, time
class Qemu:
    count = 0
    def __init__(self, *options):
        Qemu.count += 1
        path = f"q{Qemu.count}.s"
        self.p = subprocess.Popen(["qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-qmp", f"unix:{path},server=on,wait=off", *options], stdout=subprocess.DEVNULL)
        for _ in range(1500):
            self.s = socket.socket(socket.AF_UNIX)
            try: self.s.connect(path); break
            except OSError: time.sleep(0.02)
        self.s.settimeout(60); self.f = self.s.makefile("rw"); self.f.readline(); self.ask("qmp_capabilities")
        self.ask("migrate-set-capabilities", capabilities=[dict(capability="dirty-bitmaps", state=True)])
    def ask(self, command, **arguments):
        self.f.write(json.dumps(dict(execute=command, arguments=arguments)) + "\n"); self.f.flush()
        while True:
            r = json.loads(self.f.readline())
            if "error" in r: raise Exception(command + ": " + r["error"]["desc"])
            if "return" in r: return r["return"]
    def write(self, node, at, n):
        said = self.ask("human-monitor-command", **{"command-line": f'qemu-io {node} "write {at} {n}"'})
        assert not said.strip(), said
    def digest(self, node, name):
        return self.ask("x-debug-block-dirty-bitmap-sha256", node=node, name=name)["sha256"]
    def until_migrated(self):
        for _ in range(3000):
            status = self.ask("query-migrate").get("status")
            if status in ("completed", "failed"): return status
            time.sleep(0.02)
        raise Exception(f"the migration is {status}")
    def save(self, to):
        # It counts the bitmaps as what is left, and what it sends meanwhile as
        # its speed, which is next to nothing: it would go on for minutes.
        self.ask("migrate-set-parameters", **{"downtime-limit": 2000000})
        self.ask("migrate", uri=f"exec:cat >{to}"); assert self.until_migrated() == "completed"
    def load(self, name):
        self.ask("migrate-incoming", uri=f"exec:cat {name}"); return self.until_migrated()
    def end(self):
        self.ask("quit"); self.p.wait(60)
def disk(file, format="qcow2"):
    return "-blockdev", f"driver={format},node-name=disk0,file.driver=file,file.filename={file}"
TOOL = os.environ["TIDEMARK"]
def tool(verb, *words):
    subprocess.run([TOOL, *verb.split(), "--disk=t.raw", "--live-folder=live", *words], check=True, timeout=60, stdout=subprocess.DEVNULL)
P
cat >ways.py <<'P'
import sys; from qemu import *
# There to here to there again. A disk that ends in the middle of a block.
size, machine, memory = (128 << 20) + 512 * 77, sys.argv[1], sys.argv[2:]
r = random.Random(5)
subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", str(size)], check=True)
subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "b.qcow2", str(size)], check=True)
q = Qemu("-machine", machine, *memory, *disk("a.qcow2"))
names = {"fine": 512, "usual": 65536, "coarse": 1 << 22, "off": 4096, "none": 65536}
for name, granularity in names.items():
    q.ask("block-dirty-bitmap-add", node="disk0", name=name, granularity=granularity, persistent=name != "none", disabled=name == "none")
for _ in range(40): q.write("disk0", r.randrange(size // 512) * 512, 512)
q.write("disk0", size - 512, 512)
q.ask("block-dirty-bitmap-disable", node="disk0", name="off")
digests = {name: q.digest("disk0", name) for name in names}
q.save("theirs"); q.end()
for path in ("t.raw", "t.raw.tidemark"):
    if os.path.exists(path): os.unlink(path)
open("t.raw", "wb").truncate(size)
tool("bitmap import-stream", "theirs")
tool("bitmap export-stream", *names, "--node=disk0", "--force", f"--machine={machine}", "ours")
q = Qemu("-machine", machine, *memory, *disk("b.qcow2"), "-incoming", "defer")
assert q.load("ours") == "completed"
got = {name: q.digest("disk0", name) for name in names}
assert got == digests, (got, digests)
state = {b["name"]: b for n in q.ask("query-named-block-nodes") if n["node-name"] == "disk0" for b in n["dirty-bitmaps"]}
assert [n for n in names if not state[n]["recording"]] == ["off", "none"], state
assert all(state[n]["granularity"] == g for n, g in names.items())
q.end()
# What it loaded it keeps in its image.
kept = json.loads(subprocess.run(["qemu-img", "info", "--output=json", "b.qcow2"], check=True, capture_output=True).stdout)
assert {b["name"] for b in kept["format-specific"]["data"]["bitmaps"]} == set(names)
print("ok - five bitmaps, to QEMU and from it, machine", machine)
P
python3 ways.py none || fail "see above"
python3 ways.py pc -m 16 || fail "see above"

# A guest has something in its memory that looks like a bitmap.
cat >liar.py <<'P'
from qemu import *
size = 64 << 20
subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "l.qcow2", str(size)], check=True)
forged = b"\x01\0\0\0\x03\x0cdirty-bitmap\0\0\0\0\0\0\0\x01\x1c\x05disk0\x01b\0\x01\0\0\x03\x01\x7e\0\0\0\x03" \
    b"\x03\0\0\0\x03\x42\0\0\0\0\0\0\0\0\0\x02\0\0\x20\x01\x7e\0\0\0\x03"
open("forged", "wb").write(forged.ljust(4096, b"\0") * 4)
q = Qemu("-machine", "pc", "-m", "16", "-device", "loader,file=forged,addr=0x200000,force-raw=on", *disk("l.qcow2"))
q.ask("block-dirty-bitmap-add", node="disk0", name="b")
q.write("disk0", 0, 65536)
q.save("liar"); q.end()
assert forged in open("liar", "rb").read(), "its memory is not in the stream"
open("t.raw", "wb").truncate(0); open("t.raw", "wb").truncate(size); os.unlink("t.raw.tidemark")
tool("bitmap import-stream", "liar")
said = subprocess.run([TOOL, "diff", "--disk=t.raw", "--live-folder=live", "--bitmap=b"], capture_output=True, text=True).stdout
assert said == "0 65536\n", said
P
python3 liar.py || fail "see above"
echo "ok - memory is not searched for bitmaps"
