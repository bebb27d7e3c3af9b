# SPDX-License-Identifier: BSD-2-Clause
"""A client that writes on while its disk moves: what it was told is written has
to be there at the end, wherever the disk is then. It reconnects to the same
path, and writes again what was not answered.

usage: mirror_writer.py SOCKET EXPORT SIZE STOP-FILE WRITES-PER-SECOND SEED
Makes STOP-FILE.begun after the first answer, STOP-FILE.again after the first at a
new place. Prints the longest wait for an answer in ms, the writes and the reconnects; then
compares the whole disk with what it wrote.
"""
import os
import random
import sys
import time

import nbd

SOCKET, EXPORT, SIZE, STOP = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
RATE, SEED = float(sys.argv[5]), int(sys.argv[6])
BLOCK = 4096
rng = random.Random(SEED)
expected = {}
longest = 0.0
writes = reconnects = 0


def connect():
    for _ in range(6000):
        h = nbd.NBD()
        h.set_export_name(EXPORT)
        try:
            h.connect_unix(os.path.realpath(SOCKET))
            return h
        except nbd.Error:
            time.sleep(0.005)
    sys.exit("cannot connect again")


h = connect()
begun = time.monotonic()
while not os.path.exists(STOP):
    due = begun + writes / RATE
    now = time.monotonic()
    if due > now:
        time.sleep(due - now)
    block = rng.randrange(SIZE // BLOCK)
    data = rng.randbytes(16) * (BLOCK // 16)
    asked = time.monotonic()
    while True:
        try:
            h.pwrite(data, block * BLOCK)
            break
        except nbd.Error:
            reconnects += 1
            h = connect()
            open(STOP + ".again", "w").close()
    longest = max(longest, time.monotonic() - asked)
    expected[block] = data
    writes += 1
    if writes == 1:
        open(STOP + ".begun", "w").close()
h.flush()
bad = [b for b, data in expected.items() if bytes(h.pread(BLOCK, b * BLOCK)) != data]
if bad:
    sys.exit(f"SEED={SEED}: {len(bad)} of {len(expected)} blocks are not what was written: {bad[:9]}")
print(f"{longest * 1000:.1f} {writes} {reconnects}")
