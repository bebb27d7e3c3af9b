#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What else a backup must not take for granted: a chain whose middle is gone, a
# disk that became shorter and longer, a pending.json that cannot be, a bitmap of
# qemu-nbd's; and a disk of 8 TiB does not need more memory than a small one.
. "$SRC/tests/sh/lib.sh"

/usr/bin/python3 -c 'import nbd' 2>/dev/null || { echo "SKIP: no python3-libnbd"; exit 77; }
"$TIDEMARK" backup nbd+unix:///x?socket=/none "$dir/none" 2>&1 | grep -q "without libnbd" &&
	{ echo "SKIP: built without libnbd"; exit 77; }
cd "$dir" || exit 1
mkdir live
cat >put.py <<'P'
# URI SEED COUNT: parts of up to 100 KiB, anywhere
import nbd, random, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
r = random.Random(int(sys.argv[2]))
for i in range(int(sys.argv[3])):
    n = r.randrange(1, 100000)
    h.pwrite(r.randbytes(n), r.randrange(h.get_size() - n))
h.flush()
P
put() { /usr/bin/python3 put.py "$@" || fail "put $*"; }
kind() { python3 -c 'import json; print(json.load(open("made"))["disks"][0]["point"]["kind"])'; }
back_up() {	# and what is in the folder is the disk
	"$TIDEMARK" backup "$uri" dest --json >made 2>err || fail "backup: $(cat err)"
	"$TIDEMARK" restore dest --to=back --force --verify --quiet >/dev/null || fail "restore"
	cmp -s back disk.raw || fail "$1: what is restored is another disk"
}

truncate -s 8M disk.raw
"$TIDEMARK" serve --socket=s --control=c --live-folder=live --format=raw \
	--quiet d=disk.raw >out 2>err &
pids+=($!)
until_true 60 grep -q listening out || fail "no server: $(cat err)"
uri="nbd+unix:///d?socket=$dir/s"
put "$uri" 1 20
back_up first

# A raw file of this host is read past the server, unless told not to.
"$TIDEMARK" backup "$uri" dest.nbd --over-nbd --json >made.nbd 2>err || fail "over NBD: $(cat err)"
python3 - <<'P' || fail "what was read past the server: $(cat made made.nbd)"
import json
def read(name):
    d = json.load(open(name))["disks"][0]
    return d["point"]["data_bytes"], d["not_over_nbd_bytes"]
data, past = read("made")
assert data and past >= data
data, past = read("made.nbd")
assert data and past == 0
P

# Shorter, then longer: what lay behind the old end is not what lies there now.
"$TIDEMARK" ctl --control=c resize disk=d size_bytes=3000832 shrink=true >answer 2>&1 ||
	fail "shrink: $(cat answer)"
put "$uri" 2 5
back_up shrunk
"$TIDEMARK" ctl --control=c resize disk=d size_bytes=10485760 >answer 2>&1 ||
	fail "grow: $(cat answer)"
back_up "grown, and nothing written"
put "$uri" 3 5
back_up grown
"$TIDEMARK" ctl --control=c resize disk=d size_bytes=3000832 shrink=true >answer 2>&1 &&
	"$TIDEMARK" ctl --control=c resize disk=d size_bytes=10485760 >answer 2>&1 ||
	fail "shrink and grow: $(cat answer)"
back_up "shrunk and grown between two points"
"$TIDEMARK" backup verify dest --quiet >/dev/null 2>err || fail "verify: $(cat err)"
echo "ok - shorter and longer, $(kind)"

# A chain without its middle: what stands on it is damaged, what does not is well.
cp -r dest bad
rm bad/000003.qcow2
"$TIDEMARK" backup verify bad --quiet >out 2>err
[ $? = 3 ] && grep -q "000003.qcow2" err || fail "the middle is gone: $(cat err)"
"$TIDEMARK" restore bad --point=2 --to=two --quiet >/dev/null || fail "point 2 stands on none that is gone"
"$TIDEMARK" restore bad --to=never --quiet 2>err && fail "restored without its middle"
[ ! -e never ] || fail "a file was left"
cp dest/000003.qcow2 bad/
rm bad/000003.digests
"$TIDEMARK" backup verify bad --quiet >out 2>err
[ $? = 3 ] && grep -q "000003.digests" err || fail "digests are gone: $(cat err)"
echo "ok - a chain whose middle is gone is named"

# A pending.json that nobody wrote: the manifest is not changed by it.
for change in 'p["parent"] = 77; p["number"] = 78' 'p["number"] = 2; p["parent"] = 0; p["image"] = "000001.qcow2"' \
	'p["number"] = 9999; p["parent"] = 0' 'p["image"] = "../manifest.json"' 'p["digests"] = ""'; do
	rm -rf bad && cp -r dest bad
	python3 - "$change" <<'P'
import json, sys
p = json.load(open("bad/manifest.json"))["body"]["points"][2]
exec(sys.argv[1])
json.dump({"does": "replace", "point": p}, open("bad/pending.json", "w"))
P
	"$TIDEMARK" backup prune bad --keep-last=1 --quiet >/dev/null 2>err && fail "$change: gone on with"
	grep -q "cannot be" err || fail "$change: $(cat err)"
	cmp -s bad/manifest.json dest/manifest.json || fail "$change: the manifest was changed"
done
echo "ok - a pending.json that cannot be changes nothing"

# A restore that is killed at any of its steps leaves no file, or a whole one.
if [ -z "${SANITIZED:-}" ]; then
	steps=0
	for late in "" 1; do
		for at in 1 2 3 4 5 6 7 8 9; do
			rm -f cut
			( [ -n "$late" ] && export KILL_AFTER=1
			LD_PRELOAD=$BUILD/tests/support/kill_at.so KILL_AT=$at \
				exec "$TIDEMARK" restore dest --to=cut --quiet ) >/dev/null 2>&1 &
			wait $! 2>/dev/null
			code=$?
			[ ! -e cut ] || cmp -s cut disk.raw || fail "restore, step $at: half a file"
			[ $code = 0 ] && break
			steps=$((steps + 1))
		done
		[ $code = 0 ] && [ -e cut ] || fail "a restore has no end of steps: $code"
	done
	[ $steps -gt 3 ] || fail "killed at $steps steps only"
	rm -f cut cut.new-*
	echo "ok - a restore killed at $steps steps"
fi

# Another server's bitmap says what to copy.
if command -v qemu-nbd >/dev/null && qemu-img bitmap --help 2>&1 | grep -q bitmap; then
	qemu() {	# its words; then wait until it listens
		rm -f q
		qemu-nbd -t -f qcow2 -x d -k "$dir/q" "$@" o.qcow2 2>qemu.err &
		nbd=$!
		pids+=("$nbd")
		until_true 60 test -S q || fail "qemu-nbd: $(cat qemu.err)"
	}
	stop() {
		kill "$nbd"
		wait "$nbd"
	}
	other="nbd+unix:///d?socket=$dir/q"
	qemu-img create -q -f qcow2 o.qcow2 16M
	qemu
	put "$other" 4 30
	"$TIDEMARK" backup "$other" foreign --bitmap=b --quiet >/dev/null 2>err || fail "foreign: $(cat err)"
	stop
	qemu-img bitmap --add o.qcow2 b || fail "bitmap"
	qemu
	put "$other" 5 6
	stop
	qemu -B b -r
	"$TIDEMARK" backup "$other" foreign --bitmap=b --json >made 2>err || fail "foreign: $(cat err)"
	[ "$(kind)" = incremental ] || fail "foreign: $(cat made)"
	python3 -c 'import json; assert json.load(open("made"))["disks"][0]["point"]["data_bytes"] <= 6 * 3 * 65536' ||
		fail "more than the bitmap says: $(cat made)"
	"$TIDEMARK" backup "$other" foreign --bitmap=none --quiet 2>err && fail "a bitmap that is not there"
	stop
	qemu-img convert -O raw o.qcow2 o.raw
	"$TIDEMARK" restore foreign --to=o.back --quiet >/dev/null || fail "foreign: restore"
	cmp -s o.back o.raw || fail "foreign: another disk"
	[ "$("$TIDEMARK" backup list foreign | wc -l)" = 2 ] || fail "foreign: $("$TIDEMARK" backup list foreign)"
	echo "ok - a bitmap of qemu-nbd's"

	# The disk moves from qemu-nbd to tidemark serve; the folder goes on.
	"$TIDEMARK" serve --socket=q2 --control=c2 --live-folder=live \
		--quiet d=o.qcow2 >out2 2>err &
	pids+=($!)
	until_true 60 grep -q listening out2 || fail "moved: $(cat err)"
	moved="nbd+unix:///d?socket=$dir/q2"
	for expected in full incremental; do
		"$TIDEMARK" backup "$moved" foreign --json >made 2>err || fail "moved: $(cat err)"
		[ "$(kind)" = $expected ] || fail "moved: $(cat made)"
		put "$moved" 7 3
	done
	"$TIDEMARK" restore foreign --to=o.back --point=3 --force --quiet >/dev/null &&
		cmp -s o.back o.raw || fail "moved: another disk"
	echo "ok - moved from qemu-nbd"
fi

# Memory does not grow with the disk.
if [ -z "${SANITIZED:-}" ] && truncate -s 8T big.raw 2>/dev/null; then
	"$TIDEMARK" serve --socket=t --control=tc --live-folder=live --format=raw \
		--quiet big=big.raw >tout 2>err &
	big=$!
	pids+=("$big")
	until_true 60 grep -q listening tout || fail "8 TiB: $(cat err)"
	bigger="nbd+unix:///big?socket=$dir/t"
	put "$bigger" 6 20
	/usr/bin/python3 - "$TIDEMARK" "$bigger" >peak <<'P' || fail "8 TiB"
import resource, subprocess, sys
for _ in range(2):
    subprocess.run([sys.argv[1], "backup", sys.argv[2], "large", "--quiet"],
                   check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
P
	server=$(($(awk '/VmHWM/ { print $2 }' /proc/$big/status) / 1024))
	[ "$(cat peak)" -lt 200 ] || fail "8 TiB: a backup took $(cat peak) MiB"
	[ "$server" -lt 500 ] || fail "8 TiB: the server took $server MiB"
	echo "ok - 8 TiB: backup $(cat peak) MiB, server $server MiB at most"
fi
exit 0
