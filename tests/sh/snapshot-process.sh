#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Snapshots of a process that is no VM: each is of one moment, also when its
# memory grows in between, and when whoever takes them is killed the process
# runs on.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
tm=$TIDEMARK
"$tm" sources | grep -q '^foreign  *works' || {
	echo "skip: $("$tm" sources | grep '^foreign')"
	exit 77
}
# Page n % 512 of each block gets the number n: at any moment the numbers of a
# block are 512 that follow each other. A page behind the first one says how many
# blocks are made: a moment in the making of one does not count it yet.
cat >writer.py <<'P'
import mmap, os, struct, time
blocks = []
def grow():
    m = mmap.mmap(-1, (2 << 20) + 4096); blocks.append(m)
    for i in range(512): m[i * 4096:i * 4096 + 16] = b'BLOCK%03d' % len(blocks) + struct.pack('<Q', i)
def made(): blocks[0][2 << 20:(2 << 20) + 16] = b'BLOCKS  ' + struct.pack('<Q', len(blocks))
grow(); made(); open('ready', 'w').close()
n = 511
while True:
    n += 1
    for m in blocks:
        at = n % 512 * 4096
        m[at + 8:at + 16] = struct.pack('<Q', n)
    if len(blocks) == 1 and os.path.exists('more'):
        # a new block begins where the others are
        grow()
        for i in range(512): blocks[1][i * 4096 + 8:i * 4096 + 16] = struct.pack('<Q', n - (n - i) % 512)
        made(); open('grown', 'w').close()
    if n % 64 == 0: time.sleep(0.001)
P
cat >check.py <<'P'
import struct, sys
memory, blocks, made = open(sys.argv[1], 'rb').read(), {}, []
for at in range(0, len(memory), 4096):
    n = struct.unpack_from('<Q', memory, at + 8)[0]
    if memory[at:at + 8] == b'BLOCKS  ':
        made.append(n)
    elif memory[at:at + 5] == b'BLOCK':
        blocks.setdefault(memory[at:at + 8], []).append(n)
assert len(made) == 1, f'{len(made)} counts'
blocks = {k: v for k, v in blocks.items() if int(k[5:]) <= made[0]}
assert len(blocks) == made[0], f'{len(blocks)} of {made[0]} blocks'
print(len(blocks))
for name, seen in blocks.items():
    assert len(seen) == 512, f'{name}: {len(seen)} pages'
    assert max(seen) - min(seen) == 511, f'{name}: not of one moment: {min(seen)} to {max(seen)}'
P
python3 writer.py &
w=$!
pids+=("$w")
until_true 20 test -f ready || fail "no writer"
"$tm" snapshot create --pid="$w" --to=d --least=2M --every=300ms run >out 2>err &
t=$!
pids+=("$t")
until_true 20 sh -c '[ $(wc -l <out) -ge 3 ]' || fail "create: $(cat err)"
before=$(wc -l <out)
touch more
until_true 20 test -f grown || fail "it did not grow"
n=$(wc -l <out)
until_true 20 sh -c "[ \$(wc -l <out) -ge $((n + 3)) ]" || fail "create after growing: $(cat out err)"
kill -TERM "$t"
wait "$t" || fail "it ended with $?: $(cat err)"
"$tm" snapshot verify d >verified || fail "$(cat verified)"
names=$("$tm" snapshot list d | awk '{print $1}')
i=0
for name in $names; do
	i=$((i + 1))
	"$tm" snapshot restore d "$name" --memory=m --force >/dev/null || fail "restore $name"
	python3 check.py m >made || fail "$name of $i"
	# Those of before it grew have one, those begun since have two.
	[ "$i" -gt "$before" ] || [ "$(cat made)" = 1 ] || fail "$name of $i: $(cat made) blocks"
	[ "$i" -le $((n + 1)) ] || [ "$(cat made)" = 2 ] || fail "$name of $i: $(cat made) blocks"
done
[ "$i" -ge 6 ] || fail "only $i"
grep -q 'delta' out || fail "no delta: $(cat out)"
echo "ok - $i snapshots, each of one moment, while its memory grew"

# --- whoever stopped it dies ---
for i in $(seq 1 30); do
	"$tm" snapshot create --pid="$w" --to=k --least=2M --every=1ms "k$i" >/dev/null 2>&1 &
	t=$!
	sleep "0.0$((i * 7 % 60 + 30))"
	kill -9 "$t"
	wait "$t" 2>/dev/null
	runs() { ! grep -q '^State:.[Tt]' "/proc/$w/status"; }
	until_true 10 runs || fail "kill $i left it stopped"
done
kill -0 "$w" || fail "it is dead"
[ -d k ] && { "$tm" snapshot verify k >verified || fail "$(cat verified)"; }
"$tm" snapshot create --pid="$w" --to=last --least=2M last >out 2>err || fail "$(cat err)"
"$tm" snapshot restore last last --memory=m --force >/dev/null || fail restore
[ "$(python3 check.py m)" = 2 ] || fail "after 30 deaths"
echo "ok - 30 deaths of the one who stops it"

# --- a private mapping of shared memory: what is written is in no file ---
cat >private.py <<'P'
import mmap, os, time
fd = os.memfd_create('ram'); os.ftruncate(fd, 4 << 20)
os.pwrite(fd, b'FILE' * 1024, 0)
m = mmap.mmap(fd, 4 << 20, flags=mmap.MAP_PRIVATE)
m[0:6] = b'MEMORY'; m[4096:4100] = b'MORE'
open('private-ready', 'w').close()
while True: time.sleep(1)
P
python3 private.py &
v=$!
pids+=("$v")
until_true 30 test -f private-ready || fail "no process"
"$tm" snapshot create --pid="$v" --to=private --least=4M one >out 2>err || fail "$(cat err)"
"$tm" snapshot restore private one --memory=m --force >/dev/null || fail restore
python3 -c '
m = open("m", "rb").read()
at = m.index(b"MEMORYLE")
assert m[at + 4096:at + 4100] == b"MORE" and m[at + 8:at + 12] == b"FILE"' || fail "it is the file's"
echo "ok - private memory over a file"

# --- whom somebody else stopped stays so ---
"$tm" snapshot create --pid="$w" --to=stopped --least=2M --every=50ms s >out 2>err &
t=$!
pids+=("$t")
taken() { [ "$(wc -l <out)" -ge "$1" ]; }
until_true 30 taken 2 || fail "create: $(cat err)"
stands() { grep -q '^State:.T' "/proc/$w/status"; }
# A stop that comes just while we stop it is ours as well; then once more.
stays() {
	kill -STOP "$w"
	until_true 30 taken $(($(wc -l <out) + 3)) || fail "create: $(cat err)"
	stands
}
until_true 30 stays || fail "a stopped process was let go on"
kill -CONT "$w"
kill -TERM "$t"
wait "$t" || fail "it ended with $?: $(cat err)"
echo "ok - who was stopped stays so"
