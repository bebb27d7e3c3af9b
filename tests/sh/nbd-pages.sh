#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Large reads that are answered from the page cache: what is read is what the
# file holds, beside holes, after writes, for who is slow to take it; a file
# that is cut short meanwhile ends that connection and nothing else.
. "$SRC/tests/sh/lib.sh"

/usr/bin/python3 -c 'import nbd' 2>/dev/null || { echo "SKIP: no python3-libnbd"; exit 77; }
cd "$dir" || exit 1
cat >test.py <<'P'
import ctypes, errno, nbd, os, random, socket, struct, sys
MIB = 1 << 20
r = random.Random(3)

def connect():
    h = nbd.NBD()
    h.connect_uri("nbd+unix:///d?socket=s")
    return h

def uncopied():
    m = socket.socket(socket.AF_UNIX)
    m.connect("m")
    m.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = m.makefile().read()
    return int(next(l for l in text.splitlines()
                    if l.startswith("tidemark_read_bytes_uncopied_total{")).split()[-1])

def simple(count, length):
    """A client that asks without structured replies, and has not read yet."""
    s = socket.socket(socket.AF_UNIX)
    s.connect("s")
    f = s.makefile("rb")
    f.read(18)
    s.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 1) + b"d")
    f.read(10)
    for i in range(count):
        s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, i, i * length, length))
    return s, f

with open("disk", "rb") as f:
    content = bytearray(f.read())
libc = ctypes.CDLL(None, use_errno=True)
known = libc.syscall(451, -1, None, None, 0) == 0 or ctypes.get_errno() != errno.ENOSYS
if not known:
    print("# this kernel has no cachestat: every read is copied")
h, other = connect(), connect()
want = 0
for _ in range(100):    # off any alignment, and without a hole
    n = r.randrange(128 << 10, 2 * MIB)
    at = r.randrange(0, 4 * MIB - n)
    assert h.pread(n, at) == content[at:at + n], (at, n)
    want += n
assert uncopied() == (want if known else 0), (uncopied(), want)
assert h.pread(2 * MIB, 3 * MIB + 5) == content[3 * MIB + 5:5 * MIB + 5]
assert h.pread(100000, 1) == content[1:100001]
assert uncopied() == (want if known else 0), "of a hole, or little"
print("ok - read as it lies there")

for i in range(100):    # what one connection wrote another one reads
    n = r.randrange(128 << 10, 2 * MIB)
    at = r.randrange(0, 4 * MIB - n)
    content[at:at + n] = r.randbytes(n)
    other.pwrite(content[at:at + n], at)
    assert h.pread(n, at) == content[at:at + n], (at, n)
print("ok - what was written is read")

s, f = simple(16, 256 << 10)
assert h.pread(MIB, 7) == content[7:MIB + 7]    # nobody waits for him
for i in range(16):
    head = f.read(16)
    assert head == struct.pack(">IIQ", 0x67446698, 0, i), head
    at = i * (256 << 10)
    assert f.read(256 << 10) == content[at:at + (256 << 10)]
print("ok - a client that was slow to read")

s, f = simple(4, MIB)
f.read(16 + 1000)
os.truncate("disk", 4096)
got = f.read()
assert len(got) < 4 * MIB, "the file had no more"
h = connect()
assert h.pread(MIB, 0) == content[:4096] + bytes(MIB - 4096)
print("ok - a file that was cut short")
P
head -c 4M /dev/urandom >disk
truncate -s 5M disk
head -c 1M /dev/urandom >>disk
"$TIDEMARK" serve --socket=s --metrics=unix:m --durability=none --format=raw \
	--quiet d=disk >out 2>err &
pids+=($!)
until_true 10 grep -q listening out || fail "no server: $(cat err)"
timeout 60 /usr/bin/python3 test.py || fail "$(cat err)"
exit 0
