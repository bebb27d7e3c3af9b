#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A thousand idle connections: what they cost, and that one at work beside them
# does not notice; and the server's sleep while nobody wants anything.
. "$SRC/tests/sh/lib.sh"
cd "$dir"
ulimit -n 2300 2>/dev/null || { echo "SKIP: no 2,300 descriptors"; exit 77; }
truncate -s 16M a.raw
"$TIDEMARK" serve --socket=s --connections=1200 --quiet d=a.raw >out 2>err &
server=$!
pids+=("$server")
until_true 10 grep -q listening out || fail "no server: $(cat err)"
timeout 100 python3 - "$SRC/tests/support" "$server" <<-'END' || fail "see above"
	import sys, time
	sys.path.insert(0, sys.argv[1])
	import nbd_stress
	def status(name):
	    for line in open(f"/proc/{sys.argv[2]}/status"):
	        if line.startswith(name):
	            return int(line.split()[1])
	def ticks():
	    return sum(map(int, open(f"/proc/{sys.argv[2]}/stat").read().split()[13:15]))
	before = status("VmRSS")
	modes = ("simple", "structured", "extended")
	clients = []
	for i in range(1000):
	    c = nbd_stress.Client("s", "d", modes[i % 3])
	    c.ask(nbd_stress.READ, 0, 0, 65536)
	    c.answer()
	    clients.append(c)
	cost = status("VmRSS") - before
	print(f"# 1,000 idle connections: {cost} KiB more")
	assert cost < 64 << 10, cost
	nbd_stress.script("s", "d", 1, 1, 3)
	for _ in range(20): # what it still has to do for those who left
	    start = ticks()
	    time.sleep(2)
	    if ticks() - start <= 5:
	        break
	else:
	    sys.exit("it does not sleep")
	for c in clients[::100]:
	    c.ask(nbd_stress.READ, 0, 0, 512)
	    assert not c.answer()[2]
END
kill "$server"
wait "$server" || fail "exit status $?"
echo ok
