#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Bitmaps of qcow2 images, to and from the reference tool: what it made is
# served and goes on recording; what we made it lists, serves, merges; the image
# is clean for it each time; what was left in use says so; a server that is
# killed while it writes them has written all of them or none. KILLS=n.
. "${SRC:?}/tests/sh/lib.sh"
for tool in qemu-img qemu-nbd qemu-io nbdinfo; do
	command -v $tool >/dev/null || { echo "SKIP: no $tool"; exit 77; }
done
cd "$dir" || exit 1
t() { timeout 120 "$@"; }
tool() { t "$TIDEMARK" "$@"; }
serve_image() { serve --format=qcow2 d=i.qcow2; }
io() {
	t qemu-io -f raw -c "$1" "nbd+unix:///d?socket=$PWD/s" >/dev/null || fail "qemu-io $1"
}
# Of a bitmap, as offset and length of what is dirty.
ours() { tool diff --control=c d --bitmap="$1"; }
theirs() {
	rm -f q
	timeout 120 qemu-nbd -r -f qcow2 -B "$2" -k "$PWD/q" -t "$1" &
	local nbd=$!
	pids+=("$nbd")
	until_true 30 nbdinfo --size "nbd+unix://?socket=$PWD/q" || fail "no qemu-nbd"
	t nbdinfo --map="qemu:dirty-bitmap:$2" "nbd+unix://?socket=$PWD/q" | awk '$3 == 1 {print $1, $2}'
	kill "$nbd"
	wait "$nbd" 2>/dev/null
}
clean() {
	t qemu-img check -q "$1" || fail "$1 is not clean: $(qemu-img check "$1")"
	t "$TIDEMARK" qcow2 check "$1" >/dev/null || fail "our check of $1"
}

for shape in cluster_size=64k cluster_size=4k,refcount_bits=1 cluster_size=512 cluster_size=2M; do
	rm -f i.qcow2*
	t qemu-img create -qf qcow2 -o "$shape" i.qcow2 64M
	t qemu-img bitmap --add -g 65536 i.qcow2 b0
	t qemu-img bitmap --add --disable -g 4096 i.qcow2 off
	t qemu-io -f qcow2 -c "write 1M 128k" -c "write 40M 4k" i.qcow2 >/dev/null
	t qemu-img bitmap --merge b0 i.qcow2 off 2>/dev/null
	theirs i.qcow2 b0 >want
	serve_image
	ours b0 >got
	cmp want got || fail "$shape: theirs $(cat want), ours $(cat got)"
	tool bitmap list --control=c d >list
	grep -q "^b0 .*recording" list && grep -q "^off .*disabled" list || fail "$(cat list)"
	io "write 20M 64k"
	tool bitmap add --control=c d mine --granularity=512 || fail add
	io "write 30M 1k"
	tool checkpoint create --control=c d k || fail checkpoint
	io "write 33M 4k"
	ours b0 >b0
	ours mine >mine
	finish_server
	clean i.qcow2
	t qemu-img info i.qcow2 | grep -q "name: mine" || fail "not listed"
	for b in b0 mine; do
		theirs i.qcow2 $b >got
		cmp $b got || fail "$shape, $b: ours $(cat $b), theirs $(cat got)"
	done
	# Nobody else was here: the store goes on, checkpoint and all.
	serve_image
	[ "$(tool diff --control=c d --since=k)" = "34603008 65536" ] || fail "$(tool diff --control=c d --since=k)"
	ours mine >got
	cmp mine got || fail "mine, again"
	finish_server
	clean i.qcow2
	# The reference tool writes, and keeps the bitmaps: what it says is true.
	t qemu-io -f qcow2 -c "write 50M 64k" i.qcow2 >/dev/null
	theirs i.qcow2 b0 >want
	serve_image
	grep -q "changed while nobody tracked" err || fail "unnoticed: $(cat err)"
	ours b0 >got
	cmp want got || fail "$shape: after theirs $(cat want), ours $(cat got)"
	tool diff --control=c d --since=k 2>err2 && fail "a checkpoint that missed writes"
	tool bitmap remove --control=c d mine || fail remove
	finish_server
	clean i.qcow2
	t qemu-img info i.qcow2 | grep -q "name: mine" && fail "still listed"
	t qemu-img bitmap --remove i.qcow2 off || fail "their remove"
	clean i.qcow2
done
echo "ok - there and back, four shapes"

# Theirs, killed: in use.
rm -f i.qcow2*
t qemu-img create -qf qcow2 i.qcow2 64M
t qemu-img bitmap --add i.qcow2 b0
python3 - "$PWD/i.qcow2" <<'P'
import signal, subprocess, sys
p = subprocess.Popen(["qemu-io", "-f", "qcow2", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
p.stdin.write(b"write 5M 4k\nflush\n"); p.stdin.flush()
while b"wrote" not in p.stdout.readline(): pass
p.send_signal(signal.SIGKILL); p.wait()
P
serve_image
tool bitmap list --control=c d | grep -q "^b0 .*inconsistent.*left the bitmap in use" || fail "$(tool bitmap list --control=c d)"
tool diff --control=c d --bitmap=b0 2>err2 && fail "it is trusted"
io "write 0 4k"
finish_server
t qemu-img info i.qcow2 | grep -A1 "flags" | grep -q "in-use" || fail "in use no more: $(qemu-img info i.qcow2)"
echo "ok - left in use"

# Killed while it writes them back: the image opens, all or none.
seed=${SEED:-1}
rm -f i.qcow2*
t qemu-img create -qf qcow2 -o cluster_size=4k i.qcow2 64M
serve_image
for n in 1 2 3 4; do tool bitmap add --control=c d b$n --granularity=512 || fail add; done
io "write 0 1M"
finish_server
for ((n = 0; n < ${KILLS:-12}; n++)); do
	serve_image
	io "write $((n * 64 % 60000))k 300k"
	for b in 1 2 3 4; do ours b$b >want$b; done
	kill "$server"
	sleep "0.00$(((seed * 7 + n * 3) % 10))"
	kill -9 "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	t qemu-img info i.qcow2 >info || fail "kill $n: it does not open"
	t "$TIDEMARK" qcow2 check i.qcow2 >check
	grep -q "^0 corruptions" check || grep -q "^no errors" check || fail "kill $n: $(cat check)"
	serve_image
	for b in 1 2 3 4; do
		ours b$b >got
		cmp got want$b || fail "kill $n: b$b"
	done
	finish_server
	for b in 1 2; do
		theirs i.qcow2 b$b >got
		cmp got want$b || fail "kill $n, theirs: b$b"
	done
done
t qemu-img check -q -r leaks i.qcow2 >/dev/null 2>&1
clean i.qcow2
echo "ok - killed while writing them, ${KILLS:-12} times"

# The digest that the reference tool makes of a bitmap in its memory.
command -v qemu-storage-daemon >/dev/null || { echo "ok - digests # SKIP no qemu-storage-daemon"; exit 0; }
serve_image
for b in b1 b2 b3; do ours $b >want.$b; done
finish_server
timeout 60 python3 - want.b1 want.b2 want.b3 <<'P' || fail "digests"
import hashlib, json, subprocess, sys
p = subprocess.Popen(["qemu-storage-daemon", "--chardev", "stdio,id=m", "--monitor", "m",
    "--blockdev", "driver=file,node-name=f,filename=i.qcow2", "--blockdev", "driver=qcow2,node-name=d,file=f"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def ask(command, **arguments):
    p.stdin.write((json.dumps({"execute": command, "arguments": arguments}) + "\n").encode())
    p.stdin.flush()
    while True:
        answer = json.loads(p.stdout.readline())
        if "return" in answer: return answer["return"]
        if "error" in answer: sys.exit(f"{command}: {answer}")
p.stdout.readline()
ask("qmp_capabilities")
for path in sys.argv[1:]:
    name = path.split(".")[1]
    bits = bytearray((64 << 20) // 512 // 8)
    for line in open(path):
        at, length = (int(n) // 512 for n in line.split())
        for i in range(at, at + length): bits[i // 8] |= 1 << i % 8
    theirs = ask("x-debug-block-dirty-bitmap-sha256", node="d", name=name)["sha256"]
    if theirs != hashlib.sha256(bits).hexdigest():
        sys.exit(f"{name}: {theirs}")
p.kill()
P
echo "ok - digests by qemu-storage-daemon"
