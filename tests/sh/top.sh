#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# tidemark top and trace record --pid of a process whose writes are known, in
# lines, as JSON and on a terminal; who cannot be watched is told why.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
tm=$TIDEMARK
"$tm" sources | grep -q '^foreign  *works' || {
	echo "skip: $("$tm" sources | grep '^foreign')"
	exit 77
}
# 64 MiB; every 10 ms the next page of the first 2 MiB, and one at the end.
cat >writer.py <<'P'
import mmap, time
m = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
m.madvise(mmap.MADV_NOHUGEPAGE)
for i in range(0, 64 << 20, 4096): m[i] = 1
open('ready', 'w').close()
n = 0
while True:
    n += 1
    m[(n % 512) * 4096] = n & 255
    m[(64 << 20) - 4096] = n & 255
    time.sleep(0.01)
P
python3 writer.py &
w=$!
pids+=("$w")
until_true 20 test -f ready || fail "no writer"
# The writer may not get a processor all the time; once it does.
one_look() {
	timeout 60 "$tm" top --json --interval=500 "$w" >out 2>err || fail "top: $(cat err)"
	python3 look.py out "$w" >look 2>&1
}
cat >look.py <<'P'
import json, sys
vms = json.load(open(sys.argv[1]))['vms']
assert len(vms) == 1 and vms[0]['pid'] == int(sys.argv[2]), 'one VM'
v = vms[0]
assert not v['error'], v['error']
assert v['memory_bytes'] >= 64 << 20 and v['resident_bytes'] > 64 << 20, 'sizes'
# at most a page in 10 ms and the last one; a busy machine makes it fewer
assert 2 <= v['dirty_pages'] <= 60 + 100 * v['seconds'], v
assert abs(v['dirty_bytes_per_s'] * v['seconds'] - v['dirty_pages'] * 4096) < 1, 'rate'
assert v['migration']['converges'], 'it writes little'
assert len(v['written_percent']) == 64
print('# attached in %d us, harvest %d us' % (v['attach_us'], v['harvest_us']))
P
until_true 60 one_look || fail "$(cat look out)"
cat look
two_looks() {
	timeout 60 "$tm" top --json --interval=300 --count=2 --wire=4K "$w" | python3 -c '
import json, sys
d = json.JSONDecoder(); text = sys.stdin.read(); n = 0
while text.strip():
    o, at = d.raw_decode(text.lstrip()); text = text.lstrip()[at:]; n += 1
assert n == 2, n
assert not o["vms"][0]["migration"]["converges"], "over a wire of 4 KiB/s"
'
}
until_true 60 two_looks || fail "two looks"
timeout 60 "$tm" top --interval=300 "$w" >out || fail "plain"
grep -q "^ *$w python3 .*|.*|\$" out || fail "it says: $(cat out)"
grep -q $'\033' out && fail "a terminal's codes off a terminal"
echo "ok - rates, and one answer off a terminal"

# --- on a terminal ---
cat >term.py <<'P'
import os, pty, select, struct, sys, fcntl, termios, time
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], [sys.argv[1], 'top', '--interval=200', sys.argv[2]])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 10, 60, 0, 0))
seen = b''; end = time.time() + 60
strip = lambda: b'python3' in seen and any(c.encode() in seen for c in '▁▂▃▄▅▆▇█')
while time.time() < end and not strip():
    if select.select([fd], [], [], 0.1)[0]: seen += os.read(fd, 65536)
os.write(fd, b'm'); time.sleep(0.3); os.write(fd, b'q')
try:
    while True: seen += os.read(fd, 65536)
except OSError: pass
_, status = os.waitpid(pid, 0)
text = seen.decode(errors='replace')
assert os.waitstatus_to_exitcode(status) == 0, status
assert '\033[?1049h' in text and text.rstrip().endswith('\033[?1049l'), 'the screen is given back'
assert 'python3' in text and any(c in text for c in '▁▂▃▄▅▆▇█'), 'no strip'
P
timeout 90 python3 term.py "$tm" "$w" || fail "on a terminal"
echo "ok - on a terminal"

# --- as a picture ---
timeout 100 "$tm" top --interval=100 --count=5 --svg=top.svg "$w" >out 2>err || fail "svg: $(cat err)"
python3 - "$w" <<'P' || fail "the picture"
import sys, xml.etree.ElementTree as ET
root = ET.parse('top.svg').getroot()
text = [t.text for t in root.iter('{http://www.w3.org/2000/svg}text')]
assert len(text) == 1 and f'({sys.argv[1]})' in text[0], text
blue = [r for r in root.iter('{http://www.w3.org/2000/svg}rect') if r.get('fill') == '#1a56a0']
assert len(blue) == 5, len(blue)
P
"$tm" top --interval=100 --svg=top.svg "$w" 2>err && fail "over a picture"
echo "ok - as a picture"

# --- recorded from outside ---
mkdir rec
timeout 60 "$tm" trace record --pid="$w" --rounds=5 --interval=200 rec >out 2>err ||
	fail "record: $(cat err)"
"$tm" trace info rec --json >out || fail "info"
"$tm" trace replay rec >out || fail "replay: $(cat out)"
"$tm" trace record --pid="$w" rec 2>err && fail "over a recording"
"$tm" trace record --pid="$w" --control=x rec 2>err && fail "both"
echo "ok - recorded"

# --- beside a debugger: who came first has it, and watching is no hindrance to one ---
held() { ! grep -q '^TracerPid:.0$' "/proc/$w/status"; }
beside() { # NAME COMMAND...: it holds the writer until it is ended
	local other
	"${@:2}" >debugger.out 2>&1 </dev/null &
	other=$!
	pids+=("$other")
	if ! until_true 30 held; then
		echo "# $1 does not attach here: $(tail -1 debugger.out)"
		return
	fi
	timeout 60 "$tm" top --json --interval=100 "$w" >out 2>&1
	[ $? = 4 ] && grep -q 'is traced by' out || fail "under $1: $(cat out)"
	kill -TERM "$other"
	wait "$other" 2>/dev/null
	until_true 30 eval '! held' || fail "$1 does not let go"
	until_true 60 one_look || fail "after $1: $(cat look out)"
	# The other way round.
	"$tm" top --json --interval=100 --count=0 "$w" >watching 2>&1 &
	other=$!
	pids+=("$other")
	until_true 30 grep -q attach_us watching || fail "it does not watch: $(cat watching)"
	"${@:2}" >debugger.out 2>&1 </dev/null &
	pids+=($!)
	until_true 30 held || fail "$1 is kept out: $(cat debugger.out)"
	kill -0 "$other" || fail "it ended under $1: $(cat watching)"
	kill -TERM $!
	wait $! 2>/dev/null
	kill -INT "$other"
	wait "$other" 2>/dev/null
	until_true 30 eval '! held' || fail "$1 does not let go"
	until_true 60 one_look || fail "after $1: $(cat look out)"
	echo "ok - beside $1"
}
command -v strace >/dev/null && beside strace strace -qq -e trace=none -p "$w"
command -v gdb >/dev/null && beside gdb gdb -nx -batch -p "$w" -ex 'shell sleep 600'

# --- who cannot be watched ---
kill -STOP "$w"
until_true 30 grep -q '^State:.T' "/proc/$w/status" || fail "it does not stop"
timeout 20 "$tm" top --interval=100 "$w" >out 2>err
[ $? = 4 ] || fail "a stopped process: $(cat out err)"
grep -q 'is stopped' err || fail "it says: $(cat err)"
kill -CONT "$w"
"$tm" top 999999999 2>err
[ $? = 2 ] || fail "no process number"
kill -9 "$w"
wait "$w" 2>/dev/null
timeout 20 "$tm" top --interval=100 "$w" >out 2>err
[ $? = 1 ] || fail "an ended process"
timeout 20 "$tm" top --json --interval=100 >out || fail "nobody at all"
echo "ok - refusals"
