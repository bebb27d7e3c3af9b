#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Random scripts over many connections against a model, with every kind of
# headers; meanwhile clients are killed, stopped and stalled in every phase,
# and nobody else may notice. Then the server's end: quick, and clean.
# SEED=N replays; CAMPAIGN=1 goes on for minutes.
. "$SRC/tests/sh/lib.sh"
cd "$dir"
seed=${SEED:-1}
seconds=4
[ -z "${CAMPAIGN:-}" ] || seconds=60
echo "# nbd-stress: SEED=$seed"
client="python3 $SRC/tests/support/nbd_stress.py"

serve() {
	rm -f out
	"$TIDEMARK" serve --socket="$dir/s" --handshake-timeout=1500 \
		--drain-timeout=1000 --quiet "$@" >out 2>err &
	server=$!
	pids+=("$server")
	until_true 10 grep -q listening out || fail "no server: $(cat err)"
}

# hold PHASE: a client that gets there and stays; its pid is in $held.
hold() {
	rm -f "hold.$1"
	$client s d hold "$1" >"hold.$1" 2>&1 &
	held=$!
	pids+=("$held")
	until_true 10 grep -q there "hold.$1" || fail "$1: $(cat "hold.$1")"
}

phases="nothing flags option head payload unread working half-closed"
round() {
	timeout $((seconds + 200)) $client s d script "$seed" "$seconds" 6 >script 2>&1 &
	script=$!
	for phase in $phases; do
		hold "$phase"
		kill -STOP "$held"
		kept+=("$held")
		hold "$phase"
		kill -9 "$held"
		wait "$held" 2>/dev/null
	done
	wait "$script" || fail "$1: ended with $?: $(tail -3 script)"
	cat script
	for p in "${kept[@]}"; do
		kill -9 "$p"
		wait "$p" 2>/dev/null
	done
	kept=()
}

kept=()
truncate -s 16M a.raw
serve d=a.raw
round "raw"
# Whoever is stalled in its handshake is let go; who is in transmission, not.
hold option
hold unread
$client s d script "$seed" 0.2 2 >script || fail "beside an unread client"
until_true 30 grep -q gone hold.option || fail "a stalled handshake is kept"

# The end, with one client that does not read and one at work.
$client s d script "$seed" 30 2 >/dev/null 2>&1 &
pids+=($!)
sleep 0.3
start=$(date +%s%N)
kill "$server"
wait "$server" || fail "exit status $? at the end"
took=$((($(date +%s%N) - start) / 1000000))
[ "$took" -lt 30000 ] || fail "the end took $took ms"

# The same below O_DIRECT, on threads, and into a qcow2 image.
truncate -s 16M direct.raw
rm -f out
"$TIDEMARK" serve --direct --read-only --socket=probe direct.raw >out 2>&1 &
probe=$!
pids+=("$probe")
answers() { grep -q listening out || ! kill -0 "$probe"; }
until_true 30 answers || fail "neither served nor refused: $(cat out)"
if grep -q listening out; then
	kill "$probe"
	wait "$probe"
	serve --direct d=direct.raw
	timeout 200 $client s d script "$seed" 1 4 || fail "O_DIRECT"
	kill "$server"
	wait "$server" || fail "exit status $?"
fi
TIDEMARK_IO=threads serve --threads=1 d=a.raw
timeout 200 $client s d script "$seed" 1 4 || fail "threads"
kill "$server"
wait "$server" || fail "exit status $?"
"$TIDEMARK" qcow2 create --size=16M b.qcow2 >/dev/null 2>&1 ||
	qemu-img create -q -f qcow2 b.qcow2 16M
serve d=b.qcow2
round "qcow2"
kill "$server"
wait "$server" || fail "exit status $?"
"$TIDEMARK" qcow2 check b.qcow2 >check 2>&1 || fail "$(cat check)"

# No descriptors: refused without spinning, and better when some are free.
rm -f out
(
	ulimit -n 40
	exec "$TIDEMARK" serve --threads=1 --socket="$dir/few" --quiet d=a.raw
) >out 2>err &
few=$!
pids+=("$few")
until_true 10 grep -q listening out || fail "few: $(cat err)"
timeout 200 python3 - <<-'END' || fail "without descriptors"
	import socket, time
	def connect():
	    s = socket.socket(socket.AF_UNIX)
	    s.settimeout(5)
	    s.connect("few")
	    return s
	def greeted(s):
	    try:
	        return s.recv(18) != b""
	    except (ConnectionResetError, TimeoutError):
	        return False
	held = [connect() for _ in range(60)]
	good = [s for s in held[:20] if greeted(s)]
	assert good, "nobody was let in"
	for s in held: s.close()
	time.sleep(0.5)
	assert any(greeted(connect()) for _ in range(10)), "nobody after it"
END
ticks=$(awk '{ print $14 + $15 }' "/proc/$few/stat")
[ "$ticks" -lt 300 ] || fail "it spun: $ticks ticks"
kill "$few"
wait "$few" || fail "exit status $?"
echo ok
