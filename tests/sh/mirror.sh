#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A disk moves from one server to another while a client writes: nothing that was
# answered is lost, bitmaps and checkpoints say at the target what they said, the
# source says where they went; and what fails leaves the source as it was.
. "${SRC:?}/tests/sh/lib.sh"
python=
for p in python3 /usr/bin/python3; do
	"$p" -c 'import nbd' 2>/dev/null && python=$p
done
[ -n "$python" ] || { echo "SKIP: no python3-libnbd"; exit 77; }
"$TIDEMARK" mirror nbd://127.0.0.1:1/x nbd://127.0.0.1:1/y 2>&1 | grep -q "without libnbd" && { echo "SKIP: built without libnbd"; exit 77; }
cd "$dir" || exit 1
mkdir live
SIZE=$((64 << 20))
t() { timeout 60 "$@"; }

# serve NAME DISK: a server with sockets NAME.s and NAME.c
declare -A server
serve() {
	rm -f "$1.out"
	"$TIDEMARK" serve --socket="$1.s" --control="$1.c" --live-folder=live --quiet --format="${3:-raw}" "d=$2" >"$1.out" 2>"$1.err" &
	server[$1]=$!
	pids+=("$!")
	until_true 10 grep -q listening "$1.out" || fail "no server: $(cat "$1.err")"
}
finish_server() {
	kill "${server[$1]}"
	wait "${server[$1]}" || fail "$1: exit status $?: $(cat "$1.err")"
}
uri() { echo "nbd+unix:///d?socket=$PWD/$1.s"; }
dirty() { t "$TIDEMARK" diff --control="$1.c" d --bitmap="$2"; }
writer() {
	rm -f stop stop.*
	timeout 200 "$python" "$SRC/tests/support/mirror_writer.py" now.s d $SIZE stop "$1" "${SEED:-1}" >writer.out 2>writer.err &
	writing=$!
	pids+=("$writing")
	until_true 30 test -e stop.begun || fail "no writer: $(cat writer.err)"
}
fresh() {
	rm -f ./*.raw* ./*.qcow2* now.s
	truncate -s $SIZE near.raw far.raw
	head -c 20M /dev/urandom | dd of=near.raw conv=notrunc bs=1M seek=10 status=none
	head -c 4M /dev/urandom | dd of=far.raw conv=notrunc bs=1M status=none
	ln -s near.s now.s
}

fresh
serve near near.raw
serve far far.raw
t "$TIDEMARK" checkpoint create --control=near.c d monday || fail checkpoint
t "$TIDEMARK" bitmap add --control=near.c d fine --granularity=4K || fail add
t "$TIDEMARK" bitmap add --control=near.c d still --disabled || fail add
writer 1000
t "$TIDEMARK" mirror --downtime=60000 --hold=60000 --switch="ln -sfn far.s now.s" "$(uri near)" "$(uri far)" >mirror.out || fail "mirror: $(cat mirror.out)"
until_true 30 test -e stop.again || fail "the client did not follow: $(cat writer.err)"
sleep 0.3
touch stop
wait "$writing" || fail "$(cat writer.err)"
read -r longest writes reconnects <writer.out
[ "$reconnects" -ge 1 ] || fail "the client was never hung up on"
grep -q "^moved: .* 3 bitmaps" mirror.out || fail "$(cat mirror.out)"
echo "# $writes writes, the longest waited $longest ms; $(tail -1 mirror.out)"
t "$TIDEMARK" bitmap list --control=far.c d >list
grep -q "^monday .*recording" list && grep -q "^fine .*recording.*4096" list && grep -q "^still .*disabled" list || fail "$(cat list)"
grep -q mirror- list && fail "something of ours stays: $(cat list)"
# All that the client wrote is in it, at the old place and the new.
[ -n "$(dirty far fine)" ] || fail "nothing is dirty"
"$python" - near.raw far.raw <(dirty far fine) <<'P' || fail "a bitmap misses what changed"
import sys
# What the target has and the source's last state has not was written there.
near, far = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read()
said = set()
for line in open(sys.argv[3]):
    at, n = map(int, line.split())
    said |= set(range(at // 4096, (at + n) // 4096))
lost = [b for b in range(len(far) // 4096) if far[b * 4096:b * 4096 + 4096] != near[b * 4096:b * 4096 + 4096] and b not in said]
sys.exit(f"lost {lost[:9]}" if lost else 0)
P
t "$TIDEMARK" checkpoint list --control=near.c d | grep -q "^monday .*inconsistent.*has moved to" || fail "the source does not say: $("$TIDEMARK" checkpoint list --control=near.c d)"
t "$python" -c "
import nbd
h = nbd.NBD()
try: h.connect_uri('$(uri near)')
except nbd.Error: raise SystemExit(0)
raise SystemExit('the source is still served')" || fail "see above"
finish_server near
finish_server far
echo "ok - moved under a writer, three bitmaps"

# Bit by bit, without a writer; to a qcow2 image.
fresh
t "$TIDEMARK" qcow2 create far.qcow2 64M >/dev/null || fail create
serve near near.raw
serve far far.qcow2 qcow2
t "$TIDEMARK" bitmap add --control=near.c d b --granularity=512 || fail add
t "$python" - "$(uri near)" <<'P' || fail write
import nbd, random, sys
h = nbd.NBD(); h.connect_uri(sys.argv[1]); r = random.Random(3)
for _ in range(3000): h.pwrite(r.randbytes(512), r.randrange((64 << 20) // 512) * 512)
P
dirty near b >want
t "$TIDEMARK" mirror --hold=60000 "$(uri near)" "$(uri far)" --json >mirror.json || fail "mirror: $(cat mirror.json)"
dirty far b >got
cmp want got || fail "the bitmap changed on its way"
[ "$(field mirror.json moved)" = True ] || fail "$(cat mirror.json)"
finish_server near
finish_server far
t qemu-img compare -q near.raw far.qcow2 || fail "the disk changed on its way"
echo "ok - every bit of $(wc -l <want) runs, into qcow2"

# It would not converge: a verdict, and the source goes on.
fresh
serve near near.raw
serve far far.raw
t "$TIDEMARK" checkpoint create --control=near.c d monday || fail checkpoint
writer 2000
t "$TIDEMARK" mirror --downtime=1 --bandwidth=10M --max-rounds=1 "$(uri near)" "$(uri far)" >mirror.out 2>err
[ $? = 5 ] || fail "it converged at 10 MB/s: $(cat mirror.out err)"
grep -q "does not converge.*KiB/s, copies go at" err || fail "$(cat err)"
t "$TIDEMARK" checkpoint list --control=near.c d >list
grep -q "^monday .*recording" list && ! grep -q mirror- list || fail "$(cat list)"
echo "ok - a verdict with figures"

# The target dies in the middle.
t "$TIDEMARK" mirror --bandwidth=1M "$(uri near)" "$(uri far)" >mirror.out 2>err &
mirror=$!
begun() { "$TIDEMARK" checkpoint list --control=near.c d | grep -q ^mirror-; }
until_true 20 begun || fail "nothing begins: $(cat err)"
kill -9 "${server[far]}"
wait "$mirror" && fail "to a dead target"
wait "${server[far]}" 2>/dev/null
# A switch that fails: everything is taken back.
rm -f far.raw*; truncate -s $SIZE far.raw
serve far far.raw
t "$TIDEMARK" mirror --downtime=60000 --hold=60000 --switch=false "$(uri near)" "$(uri far)" >mirror.out 2>err && fail "a switch that failed"
t "$TIDEMARK" bitmap list --control=far.c d >list
[ -s list ] && fail "left at the target: $(cat list)"
# Who mirrors dies while the clients are held: they go on after the limit.
"$TIDEMARK" mirror --downtime=60000 --hold=700 --switch='echo $$ >held.new; mv held.new held; exec sleep 30' "$(uri near)" "$(uri far)" >mirror.out 2>err &
mirror=$!
pids+=("$mirror")
until_true 30 test -e held || fail "no stop phase: $(cat mirror.out err)"
kill -9 "$mirror"
kill "$(cat held)"
# Only who is not held can be held again.
free() { "$TIDEMARK" ctl --control=near.c hold disk=d limit_ms=60000; }
until_true 30 free || fail "it is held for ever"
t "$TIDEMARK" ctl --control=near.c release disk=d moved=false >/dev/null || fail "release"
t "$TIDEMARK" ctl --control=near.c release disk=d moved=true to=x 2>err && fail "released after its time"
grep -q "its time was over" err || fail "$(cat err)"
touch stop
wait "$writing" || fail "$(cat writer.err)"
read -r longest writes reconnects <writer.out
[ "$reconnects" = 0 ] || fail "the client was hung up on"
[ "${longest%.*}" -ge 500 ] || fail "it was not held: $longest ms"
t "$TIDEMARK" checkpoint list --control=near.c d | grep -q "^monday .*recording" || fail "monday is lost"
finish_server near
finish_server far
echo "ok - what fails leaves the source as it was; the longest wait was $longest ms"

# A target that is not ours takes the bytes.
command -v qemu-nbd >/dev/null || { echo "ok - another server # SKIP no qemu-nbd"; exit 0; }
fresh
serve near near.raw
qemu-nbd -t -e 8 -f raw -x d -k "$PWD/q.s" far.raw &
pids+=("$!")
until_true 30 "$python" -c "import nbd; nbd.NBD().connect_uri('$(uri q)')" || fail "no qemu-nbd"
t "$TIDEMARK" checkpoint create --control=near.c d monday || fail checkpoint
t "$TIDEMARK" mirror "$(uri near)" "$(uri q)" 2>err && fail "bitmaps went to qemu-nbd"
grep -q -- "--no-bitmaps" err || fail "$(cat err)"
t "$TIDEMARK" mirror --no-bitmaps --hold=60000 "$(uri near)" "$(uri q)" >mirror.out || fail "to qemu-nbd"
finish_server near
t qemu-img compare -q -f raw near.raw "nbd+unix:///d?socket=$PWD/q.s" || fail "qemu-nbd has something else"
echo "ok - to another server"
