#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Several disks in one moment: records that are written to one after the other
# are in each point as a prefix. An instant whose scratch is full ends the backup
# and not the guest's writes. What the server forgot is said, and copied in full;
# what was written past the tracker is found. Hooks, and their limit.
. "$SRC/tests/sh/lib.sh"

/usr/bin/python3 -c 'import nbd' 2>/dev/null || { echo "SKIP: no python3-libnbd"; exit 77; }
cd "$dir" || exit 1
mkdir live
for d in a b c; do truncate -s 24M $d.raw; done
"$TIDEMARK" serve --socket=s --control=ctl --live-folder=live --format=raw \
	--scratch-size=8M --quiet a=a.raw b=b.raw c=c.raw >out 2>err &
server=$!
pids+=("$server")
until_true 10 grep -q listening out || fail "no server: $(cat err)"
uri() { echo "nbd+unix:///$1?socket=$dir/s"; }
"$TIDEMARK" backup "$(uri a)" "$(uri b)" "$(uri c)" dest --quiet >made 2>&1 ||
	{ grep -q "without libnbd" made && { echo "SKIP: built without libnbd"; exit 77; }
	fail "backup: $(cat made)"; }

# A record goes to a, then to b, then to c; and some noise beside it.
cat >writer.py <<'P'
import nbd, os, random, struct, sys
h = []
for d in "abc":
    h.append(nbd.NBD())
    h[-1].connect_uri(f"nbd+unix:///{d}?socket={sys.argv[1]}/s")
n = 0
while not os.path.exists("stop"):
    n += 1
    for x in h:
        x.pwrite(struct.pack("<Q", n), 1 << 20)
    h[n % 3].pwrite(random.randbytes(512), random.randrange(2 << 20, 8 << 20) & ~511)
for x in h:
    x.flush()
print(n)
P
/usr/bin/python3 writer.py "$dir" >written &
writer=$!
pids+=("$writer")
for i in 1 2 3 4 5 6 7 8; do
	"$TIDEMARK" backup "$(uri a)" "$(uri b)" "$(uri c)" dest --json >made.json 2>err ||
		fail "backup $i: $(cat err)"
	python3 - <<'P' || fail "backup $i: $(cat made.json)"
import json
for d in json.load(open("made.json"))["disks"]:
    assert d["point"]["kind"] == "incremental" and d["point"]["instant"], d
P
done
touch stop
wait $writer || fail "the writer ended with $?"
for n in 1 2 3 4 5 6 7 8 9; do
	for d in a b c; do
		"$TIDEMARK" restore dest/$d --to=$d.back --point=$n --force --quiet >/dev/null || fail "restore $d $n"
	done
	python3 - <<'P' || fail "point $n is of several moments"
import struct
a, b, c = (struct.unpack("<Q", open(f"{d}.back", "rb").read()[1 << 20:][:8])[0] for d in "abc")
assert a >= b >= c >= a - 1, (a, b, c)
P
done
cmp -s a.back a.raw && echo "# the last point is the disk: nothing came after it"
echo "ok - points of three disks, $(cat written) records"

# Eight megabytes are kept at most; the copy is slow, and the guest is not.
/usr/bin/python3 - "$dir" <<'P'
import nbd, random, sys
h = nbd.NBD()
h.connect_uri(f"nbd+unix:///a?socket={sys.argv[1]}/s")
for i in range(0, 20 << 20, 1 << 20):
    h.pwrite(random.randbytes(1 << 20), i)
P
"$TIDEMARK" backup "$(uri a)" dest/a --bandwidth=1M --quiet >made 2>err &
run=$!
pids+=("$run")
until_true 30 sh -c "$TIDEMARK ctl --control=ctl status | grep -q '\"instants\": \[{'" ||
	fail "no instant: $(cat err)"
/usr/bin/python3 - "$dir" <<'P' || fail "the guest noticed"
import nbd, sys
h = nbd.NBD()
h.connect_uri(f"nbd+unix:///a?socket={sys.argv[1]}/s")
for i in range((20 << 20) - (1 << 16), 8 << 20, -(1 << 16)):
    h.pwrite(b"g" * (1 << 16), i)
h.flush()
P
wait $run && fail "a backup of a dead instant went well"
grep -q "scratch file is full" err || fail "it says: $(cat err)"
"$TIDEMARK" backup "$(uri a)" dest/a --json >made.json 2>err || fail "afterwards: $(cat err)"
grep -q '"incremental"' made.json || fail "afterwards, in full: $(cat made.json)"
"$TIDEMARK" restore dest/a --to=a.back --force --quiet >/dev/null && cmp -s a.back a.raw ||
	fail "afterwards it is another disk"
echo "ok - a full scratch ends the backup, and nothing else"

"$TIDEMARK" backup verify dest/a --against="$(uri a)" --quiet >out || fail "verify: $(cat out)"
printf x | dd of=a.raw bs=1 seek=5000000 conv=notrunc 2>/dev/null
"$TIDEMARK" backup verify dest/a --against="$(uri a)" --quiet >out 2>err
code=$?
[ $code = 8 ] || fail "written past the tracker: exit code $code"
grep -q "first at offset 4980736" err || fail "$(cat err)"
# Written and the same: found as copied for nothing. From a point of its own,
# or the writer above has changed this very piece since the last one.
"$TIDEMARK" backup "$(uri b)" dest/b --quiet >made 2>&1 || fail "backup of b: $(cat made)"
/usr/bin/python3 - "$dir" <<'P'
import nbd, sys
h = nbd.NBD()
h.connect_uri(f"nbd+unix:///b?socket={sys.argv[1]}/s")
h.pwrite(h.pread(1 << 16, 3 << 20), 3 << 20)
h.flush()
P
"$TIDEMARK" backup verify dest/b --against="$(uri b)" --json >verdict || fail "verify b"
python3 -c 'import json; v = json.load(open("verdict")); assert v["equal_bytes"] == v["changed_bytes"] == 65536 and not v["missed_bytes"], v' || fail "equal: $(cat verdict)"
"$TIDEMARK" ctl --control=ctl status >status
grep -q '"verify-' status && fail "an instant of verify is left"
echo "ok - against the disk"

name=$("$TIDEMARK" checkpoint list --control=ctl c --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["checkpoints"][0]["name"])')
"$TIDEMARK" checkpoint delete --control=ctl c "$name" || fail "delete"
"$TIDEMARK" backup "$(uri c)" dest/c --quiet >made 2>err || fail "forgotten: $(cat err)"
grep -q "full (.*$name" made || fail "it says: $(cat made)"
echo "ok - what was forgotten is said"

"$TIDEMARK" backup "$(uri c)" dest/c --quiet --pre='echo 1 >>log' --post='echo 2 >>log' >/dev/null || fail "hooks"
[ "$(tr -d '\n' <log)" = 12 ] || fail "the hooks ran: $(cat log)"
"$TIDEMARK" backup "$(uri c)" dest/c --quiet --pre='sleep 60 & sleep 60' --hook-timeout=200 2>err && fail "a hook without end"
grep -q "did not end within 200 ms" err || fail "$(cat err)"
"$TIDEMARK" backup "$(uri c)" dest/c --quiet --post='exit 3' 2>err && fail "a hook that fails"
grep -q "status 3" err || fail "$(cat err)"
"$TIDEMARK" ctl --control=ctl status | python3 -c '
import json, sys
for d in json.load(sys.stdin)["disks"]:
    assert not d["instants"], d
    assert len(d["points"]) == 1 and not d["points"][0]["pending"], d' || fail "something is left at the server"
echo "ok - hooks"
kill "$server"
wait "$server" || fail "the server ended with $?: $(cat err)"
exit 0
