#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Disks whose size changes while they are served: longer below, and noticed;
# longer and shorter by the server; what was added is dirty, what is gone gives
# errors and takes nobody along.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
cd "$dir" || exit 1
t() { timeout 120 "$@"; }
tool() { t "$TIDEMARK" "$@"; }
u="nbd+unix:///d?socket=$dir/s"
io() {
	t qemu-io -f raw "$@" "$u" >io.out 2>&1 || fail "qemu-io $*: $(cat io.out)"
}
size() {
	t qemu-img info --output=json "$u" | python3 -c 'import json,sys; print(json.load(sys.stdin)["virtual-size"])'
}
is() {
	[ "$1" = "$2" ] || fail "$3: '$1', not '$2'"
}
ctl() {
	tool ctl --control=c resize disk=d "$@" >answer 2>answer.err
}
refused() {
	local why=$1
	shift
	ctl "$@" && fail "$* was done: $(cat answer)"
	grep -q "$why" answer.err || fail "$*: $(cat answer.err answer)"
}

truncate -s 1M a.raw
serve --format=raw d=a.raw
io -c "write -P 1 0 1M"
tool checkpoint create --control=c d k || fail create

# One who knew it before: it reads in the middle of everything, and at the end.
mkfifo ask
t qemu-io -f raw "$u" <ask >old.out 2>&1 &
old=$!
pids+=("$old")
exec 8>ask
echo "read -P 1 0 64k" >&8
until_true 60 grep -q 'read 65536/65536' old.out || fail "the first client: $(cat old.out)"

truncate -s 3M a.raw
is "$(size)" 1048576 "before it is told"
ctl || fail "noticing: $(cat answer.err)"
grep -q '"size_bytes": 3145728, "old_size_bytes": 1048576' answer || fail "$(cat answer)"
ctl || fail "nothing new: $(cat answer.err)"
is "$(size)" 3145728 "a new client"
io -c "read -P 0 1M 2M" -c "write -P 2 2M 64k" -c "read -P 1 0 1M"
is "$(tool diff --control=c d --since=k | tr '\n' ,)" "1048576 2097152," "what was added is dirty"
tool checkpoint create --control=c d k2 || fail create
ctl size_bytes=4194304 || fail "by the server: $(cat answer.err)"
is "$(stat -c %s a.raw) $(size)" "4194304 4194304" "by the server"
is "$(tool diff --control=c d --since=k2 | tr '\n' ,)" "3145728 1048576," "since k2"
echo "ok - longer"

refused "less than the disk has" size_bytes=2097152
is "$(stat -c %s a.raw)" 4194304 "not asked for"
for bad in -1 '"x"' 1.5 true; do refused "number of bytes" "size_bytes=$bad"; done
refused "number of bytes" size_bytes=1 shrink=1
refused "" size_bytes=9223372036854775807
is "$(size)" 4194304 "after one that is too large"
io -c "write -P 3 4000k 4k"
ctl size_bytes=2097152 shrink=true || fail "shorter: $(cat answer.err)"
is "$(stat -c %s a.raw) $(size)" "2097152 2097152" "shorter"
python3 - s <<'P' || fail "behind the end"
import socket, struct, subprocess, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect("s")
def get(n):
    b = b""
    while len(b) < n:
        p = s.recv(n - len(b)); assert p; b += p
    return b
get(18)
s.sendall(struct.pack(">IQII", 3, 0x49484156454F5054, 1, 1) + b"d")
size = struct.unpack(">QH", get(10))[0]
assert size == 2 << 20
def ask(command, offset, length, data=b""):
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, 1, offset, length) + data)
    error = struct.unpack(">IIQ", get(16))[1]
    if not error and command == 0: get(length)
    return error
assert ask(0, size - 4096, 4096) == 0
def ctl(*w):
    subprocess.run([__import__("os").environ["TIDEMARK"], "ctl", "--control=c", "resize", "disk=d", *w], check=True,
                   stdout=subprocess.DEVNULL)
ctl("size_bytes=1048576", "shrink=true")
assert ask(0, size - 4096, 4096) == 22 and ask(1, size - 4096, 4, b"xxxx") == 28
assert ask(6, size - 4096, 4096) == 28 and ask(4, size - 4096, 4096) == 22
assert ask(0, 1048576 - 4, 8) == 22 and ask(0, 1048576 - 4, 4) == 0
# Shorter below, and nobody said so: what is gone reads as zeroes.
__import__("os").truncate("a.raw", 524288)
assert ask(0, 524288, 4096) == 0 and ask(0, 0, 4096) == 0
ctl()
assert ask(0, 524288, 4096) == 22
ctl("size_bytes=2097152")
assert ask(0, 524288, 4096) == 0 and ask(1, size - 4, 4, b"last") == 0
P
is "$(tool diff --control=c d --since=k2 | awk '{n += $2} END {print n}')" 1572864 "what was gone and came back is dirty"
echo "read -P 1 0 64k" >&8
exec 8>&-
wait "$old"
is "$(grep -c 'read 65536/65536' old.out)" 2 "the first client lives: $(cat old.out)"
kill -9 "$server"
wait "$server" 2>/dev/null
serve --format=raw d=a.raw
is "$(tool diff --control=c d --since=k2 | awk '{n += $2} END {print n}')" 1572864 "after kill -9"
finish_server
echo "ok - shorter"

# Writers at work while it breathes: nothing hangs, nothing is lost.
serve --format=raw d=a.raw
tool checkpoint create --control=c d k3 || fail create
(for i in $(seq 40); do
	qemu-io -f raw -c "write -P $i $((i % 8 * 64))k 64k" -c "write 1900k 64k" "$u"
done) >/dev/null 2>&1 &
writer=$!
for i in $(seq 20); do
	ctl size_bytes=1048576 shrink=true || fail "$(cat answer.err)"
	ctl size_bytes=$((2097152 + i * 65536)) || fail "$(cat answer.err)"
done
wait "$writer"
n=$(tool diff --control=c d --since=k3 | awk '{n += $2} END {print n}')
[ "$n" -ge $((524288 + 1048576)) ] || fail "dirty: $n"
finish_server
echo "ok - under writers"

# An instant is of the size that there was, and dies of a disk that loses a part.
truncate -s 2M i.raw
serve --format=raw d=i.raw
io -c "write -P 5 0 2M"
tool checkpoint begin --control=c d night >begun || fail "an instant"
i="nbd+unix:///d@night?socket=$dir/s"
truncate -s 3M i.raw
ctl || fail "beside an instant: $(cat answer.err)"
io -c "write -P 6 0 3M"
t qemu-io -r -f raw -c "read -P 5 0 2M" "$i" >io.out 2>&1 || fail "an instant: $(cat io.out)"
is "$(t qemu-img info --output=json "$i" | python3 -c 'import json,sys; print(json.load(sys.stdin)["virtual-size"])')" 2097152 "an instant's size"
ctl size_bytes=1048576 shrink=true || fail "$(cat answer.err)"
t qemu-io -r -f raw -c "read 0 2M" "$i" >io.out 2>&1 && fail "an instant of what is gone: $(cat io.out)"
io -c "read -P 6 0 1M"
finish_server
echo "ok - beside an instant"

# Without a tracker; for reading only; an image that knows its own size.
truncate -s 1M b.raw
serve --format=raw --durability=none d=b.raw
truncate -s 2M b.raw
ctl && ctl size_bytes=3145728 || fail "untracked: $(cat answer.err)"
is "$(size)" 3145728 untracked
finish_server
serve --format=raw --read-only d=b.raw
truncate -s 4M b.raw
ctl || fail "read-only: $(cat answer.err)"
is "$(size)" 4194304 read-only
refused "reading only" size_bytes=5242880
is "$(stat -c %s b.raw)" 4194304 "a file that is read"
finish_server
t qemu-img create -qf qcow2 q.qcow2 1M
serve --format=qcow2 d=q.qcow2
tool checkpoint create --control=c d k || fail create
refused "knows its size by itself"
ctl size_bytes=2097152 || fail "qcow2: $(cat answer.err)"
is "$(size)" 2097152 qcow2
io -c "write -P 7 1M 1M"
is "$(tool diff --control=c d --since=k | tr '\n' ,)" "1048576 1048576," "qcow2"
finish_server
t qemu-img check -q q.qcow2 || fail "qemu-img check"
is "$(qemu-img info --output=json q.qcow2 | python3 -c 'import json,sys; print(json.load(sys.stdin)["virtual-size"])')" 2097152 "in the image"
echo "ok - other disks"

command -v losetup >/dev/null && loop=$(losetup -f --show b.raw 2>/dev/null) || { echo "ok - a device # SKIP no loop devices here"; exit 0; }
trap 'losetup -d "$loop"; finish' EXIT
serve --format=raw d="$loop"
grep -q "UNTRACKED.*is a device.*--store" err || fail "a store in /dev: $(cat err)"
[ -e "$loop.tidemark" ] && fail "a store beside a device"
finish_server
tool checkpoint create --disk="$loop" --live-folder=live k 2>err && fail "a store in /dev, by the command"
grep -q "is a device" err || fail "$(cat err)"
mkdir stores
serve --format=raw --store=stores d="$loop" e=a.raw
[ -e stores/d.tidemark ] && [ -e stores/e.tidemark ] || fail "a folder of stores: $(ls stores) $(cat err)"
finish_server
serve --format=raw --store=loop.tidemark d="$loop"
truncate -s 6M b.raw
losetup -c "$loop"
ctl
code=$?
is "$code $(size)" "0 6291456" "a device: $(cat answer.err)"
refused "its size is not ours to change" size_bytes=8388608
finish_server
echo "ok - a device"
