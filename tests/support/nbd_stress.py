#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A client of NBD for the tests, which speaks all three kinds of headers.

usage: nbd_stress.py SOCKET EXPORT script SEED SECONDS CONNECTIONS
       nbd_stress.py SOCKET EXPORT hold PHASE

script: each connection has pieces of the disk for itself, issues random
commands there with many in flight, and holds the answers against a model in
memory; in the end every connection reads everything that any of them wrote.
hold: get to a phase of the protocol, print "there", and wait to be killed; in a
handshake print "gone" when the server has had enough of it.
"""
import os
import random
import select
import socket
import struct
import sys
import time

PIECE = 256 << 10
GREETING = b"NBDMAGICIHAVEOPT\0\3"
REPLY = 0x0003E889045565A9
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST, PAYLOAD = 1, 2, 4, 8, 16, 32


class Client:
    def __init__(self, path, export, mode):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(100)
        self.s.connect(path)
        self.mode = mode
        self.cookie = 0
        self.flying = {}
        assert self.take(18) == GREETING
        self.s.sendall(struct.pack(">I", 3))
        if mode == "structured":
            self.option(8)
        if mode == "extended":
            self.option(11)
        name = export.encode()
        name = struct.pack(">I", len(name)) + name
        if mode != "simple":
            query = b"base:allocation"
            got = self.option(10, name + struct.pack(">II", 1, len(query)) + query)
            self.context = struct.unpack(">I", got[0][1][:4])[0]
        for kind, data in self.option(7, name + b"\0\0"):
            if kind == 3 and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:])

    def take(self, n):
        parts = bytearray()
        while len(parts) < n:
            got = self.s.recv(min(n - len(parts), 1 << 20))
            if not got:
                raise EOFError
            parts += got
        return bytes(parts)

    def option(self, number, data=b""):
        self.s.sendall(struct.pack(">8sII", b"IHAVEOPT", number, len(data)) + data)
        got = []
        while True:
            magic, option, kind, length = struct.unpack(">QIII", self.take(20))
            assert magic == REPLY and option == number, (magic, option)
            data = self.take(length)
            if kind == 1:
                return got
            assert kind < 1 << 31, (number, hex(kind), data)
            got.append((kind, data))

    def ask(self, command, flags, offset, length, data=b"", what=None):
        wide = self.mode == "extended"
        if wide and command == WRITE:
            flags |= PAYLOAD
        self.cookie += 1
        self.s.sendall(struct.pack(">IHHQQ" + ("Q" if wide else "I"),
                                   0x21E41C71 if wide else 0x25609513, flags,
                                   command, self.cookie, offset, length) + data)
        self.flying[self.cookie] = [command, offset, bytearray(length)
                                    if command == READ else None, length, what]

    def answer(self):
        """The next whole answer: (what, command, error, data or extents)."""
        extents = None
        while True:
            magic = struct.unpack(">I", self.take(4))[0]
            if magic == 0x67446698:
                error, cookie = struct.unpack(">IQ", self.take(12))
                command, offset, data, length, what = self.flying.pop(cookie)
                assert self.mode != "extended"
                if command == READ and not error:
                    assert self.mode == "simple"
                    data = self.take(length)
                return what, command, error, data
            flags, kind, cookie = struct.unpack(">HHQ", self.take(12))
            if magic == 0x6E8A278C:
                assert self.mode == "extended"
                at, length = struct.unpack(">QQ", self.take(16))
                assert at == self.flying[cookie][1]
            else:
                assert magic == 0x668E33EF and self.mode == "structured", hex(magic)
                length = struct.unpack(">I", self.take(4))[0]
            payload = self.take(length)
            entry = self.flying[cookie]
            error = 0
            if kind == 1:
                at = struct.unpack(">Q", payload[:8])[0] - entry[1]
                entry[2][at:at + length - 8] = payload[8:]
            elif kind == 2:
                at, n = struct.unpack(">QI", payload)
                entry[2][at - entry[1]:at - entry[1] + n] = bytes(n)
            elif kind == 5:
                assert struct.unpack(">I", payload[:4])[0] == self.context
                extents = list(struct.iter_unpack(">II", payload[4:]))
            elif kind == 6:
                ctx, n = struct.unpack(">II", payload[:8])
                extents = list(struct.iter_unpack(">QQ", payload[8:]))
                assert ctx == self.context and n == len(extents)
            elif kind >= 0x8000:
                error = struct.unpack(">I", payload[:4])[0]
            if flags & 1:
                del self.flying[cookie]
                return entry[4], entry[0], error, extents if extents else entry[2]


class Piece:
    """A part of the disk in which one request at a time is under way."""

    def __init__(self, number):
        self.base = number * PIECE
        self.model = bytearray(PIECE)
        self.known = False
        self.busy = False


def begin(client, piece, rng):
    at = rng.randrange(PIECE)
    n = min(rng.choice((1, 512, 4096, 5000, 65536, PIECE)), PIECE - at)
    what = (piece, at, n)
    kind = rng.randrange(12)
    fua = FUA if rng.randrange(8) == 0 else 0
    if not piece.known:
        at, n, kind = 0, PIECE, 5
        what = (piece, 0, PIECE)
    if kind < 4:
        data = rng.randbytes(n) if rng.randrange(3) else bytes(n)
        piece.model[at:at + n] = data
        client.ask(WRITE, fua, piece.base + at, n, data, what)
    elif kind < 6:
        piece.model[at:at + n] = bytes(n)
        client.ask(ZEROES, fua | rng.choice((0, NO_HOLE)), piece.base + at, n,
                   b"", what)
        piece.known = True
    elif kind == 6:
        client.ask(FLUSH, 0, 0, 0, b"", what)
    elif kind == 7:
        client.ask(CACHE, 0, piece.base + at, n, b"", what)
    elif kind == 8 and client.mode != "simple":
        client.ask(STATUS, rng.choice((0, REQ_ONE)), piece.base + at, n, b"", what)
    else:
        flags = rng.choice((0, DF)) if client.mode != "simple" else 0
        client.ask(READ, flags, piece.base + at, n, b"", what)
    piece.busy = True


def finish(client):
    (piece, at, n), command, error, data = client.answer()
    piece.busy = False
    assert not error, (command, at, n, error)
    if command == READ:
        assert data == piece.model[at:at + n], ("content", piece.base + at, n)
    elif command == STATUS:
        assert data and sum(e[0] for e in data) <= n, data
        where = at
        for length, flags in data:
            if flags & 2:
                assert not any(piece.model[where:where + length]), "zero it is not"
            where += length
    return piece


def script(path, export, seed, seconds, connections):
    rng = random.Random(seed)
    modes = ("simple", "structured", "extended")
    clients = [Client(path, export, modes[i % 3]) for i in range(connections)]
    # The first MiB is for those who hold.
    pieces = [Piece(i) for i in range(4, clients[0].size // PIECE)]
    own = {c: pieces[i::connections] for i, c in enumerate(clients)}
    by_fd = {c.s.fileno(): c for c in clients}
    end = time.monotonic() + seconds
    done = 0
    while time.monotonic() < end:
        for c in clients:
            while len(c.flying) < 8:
                begin(c, rng.choice([p for p in own[c] if not p.busy]), rng)
        for fd in select.select(list(by_fd), [], [], 100)[0]:
            finish(by_fd[fd])
            done += 1
    for c in clients:
        while c.flying:
            finish(c)
            done += 1
    clients[0].ask(FLUSH, 0, 0, 0, b"", (pieces[0], 0, 0))
    finish(clients[0])
    # Everybody sees everything.
    for c in clients:
        for piece in pieces:
            if piece.known:
                c.ask(READ, 0, piece.base, PIECE, b"", (piece, 0, PIECE))
                finish(c)
        c.ask(DISC, 0, 0, 0)
    print(f"ok: {done} requests over {connections} connections, seed {seed}")


def hold(path, export, phase):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    if phase == "nothing":
        pass
    elif phase == "flags":
        s.sendall(b"\0\0")
    elif phase == "option":
        s.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 7, 1000) + b"half")
    else:
        s.close()
        c = Client(path, export, "structured")
        s = c.s
        if phase == "head":
            s.sendall(struct.pack(">IHH", 0x25609513, 0, READ))
        elif phase == "payload":
            c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, 1 << 20))
            s.sendall(bytes(1000))
        elif phase == "unread":
            for _ in range(50):
                c.ask(READ, DF, 0, min(c.size, 1 << 20))
        elif phase == "working":
            for _ in range(100):
                c.ask(ZEROES, FUA, 0, 1 << 20)
        elif phase == "half-closed":
            c.ask(READ, DF, 0, 1 << 20)
            s.shutdown(socket.SHUT_WR)
    print("there", flush=True)
    while phase == "option" and s.recv(100):
        pass
    print("gone" if phase == "option" else "", flush=True)
    time.sleep(1000)


if __name__ == "__main__":
    if sys.argv[3] == "script":
        script(sys.argv[1], sys.argv[2], int(sys.argv[4]), float(sys.argv[5]),
               int(sys.argv[6]))
    else:
        hold(sys.argv[1], sys.argv[2], sys.argv[4])
