#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Every option of every command that takes a number: both edges of its range
# are taken, one beyond is not, nor signs, fractions, rubbish or what does not
# fit; the error says the unit and the range. The ranges are those of --help.
. "${SRC:?}/tests/sh/lib.sh"
cat >"$dir/walk.py" <<'P'
import re, subprocess, sys
tool = sys.argv[1]
UNIT = {'K': 10, 'M': 20, 'G': 30, 'T': 40}
def value(text):
    return int(text[:-1]) << UNIT[text[-1]] if text[-1] in UNIT else int(text)
def run(*a):
    return subprocess.run([tool, *a], capture_output=True, text=True)
commands = re.findall(r'^  ([a-z0-9]+(?: [a-z0-9-]+)?)  ', run('--help').stdout, re.M)
options = 0
for command in commands:
    words = command.split()
    text = run(*words, '--help').stdout
    for m in re.finditer(r'^  --([a-z-]+)=(\S+) .*\((?:default (\S+), )?(\d+[KMGT]?) (?:to (\d+[KMGT]?)|or more)\)$', text, re.M):
        name, _, usual, least, most = m.groups()
        options += 1
        def ask(v):
            # Options are looked at in order, and --help ends it.
            return run(*words, f'--{name}={v}', '--help')
        least, high = value(least), value(most) if most else 2**63 - 1
        for good in {least, high, *([value(usual)] if usual else [])}:
            r = ask(good)
            if r.returncode: sys.exit(f'{command} --{name}={good}: {r.stderr}')
        bad = [high + 1, '-1', '+1', '1.5', 'x', '', '1x', '0x10', 2**64, 10**30, ' 1']
        if least: bad.append(least - 1)
        for b in bad:
            r = ask(b)
            if r.returncode != 2: sys.exit(f'{command} --{name}={b}: exit {r.returncode}')
            if not re.search(r'it takes (a number|a size|milliseconds).* from \d+ to \d+', r.stderr):
                sys.exit(f'{command} --{name}={b} says: {r.stderr}')
    for m in re.finditer(r'^  --([a-z-]+)=(N|MS|SIZE|PERCENT|LEVEL) +(.*)$', text, re.M):
        if not re.search(r'\d+[KMGT]? (to \d+[KMGT]?|or more)\)$', m[3]):
            sys.exit(f'{command} --{m[1]} does not say its range: {m[3]}')
print(f'ok - {options} options of {len(commands)} commands')
P
python3 "$dir/walk.py" "$TIDEMARK" || fail "see above"

# What a bitmap does not say is unknown, not clean.
printf '\377' >"$dir/map"
"$TIDEMARK" scan --pages=9 "$dir/map" 2>"$dir/err" && fail "bits that are not there are clean"
grep -q 'has bits for 8 pages' "$dir/err" || fail "$(cat "$dir/err")"
"$TIDEMARK" scan --pages=8 --first=1099511627776 "$dir/map" >"$dir/out" || fail "the edge"
[ "$(cat "$dir/out")" = "1099511627776 8" ] || fail "$(cat "$dir/out")"
echo "ok - scan past the file"

# The control socket has the same ranges.
start_near --slots=1
python3 - "$dir/near" <<'P' || fail "see above"
import json, socket, sys
def ask(**request):
    s = socket.socket(socket.AF_UNIX); s.settimeout(60); s.connect(sys.argv[1])
    s.sendall((json.dumps(dict(command='migrate', to='unix:/nowhere', **request)) + '\n').encode())
    return json.loads(s.makefile().readline())['result']
for name, bad in dict(zstd=[20, -1, 1.5, '3'], max_throttle=[100, 150], stall_ms=[0, 99, 2**63 - 1],
                      downtime_ms=[-1, 3600001], channels=[0, 65], max_rounds=[0], bandwidth=[-1]).items():
    for b in bad:
        e = ask(**{name: b}).get('error', '')
        if not e.startswith(name + ' is a number from'): sys.exit(f'{name}={b}: {e}')
if 'nowhere' not in ask(zstd=19, max_throttle=99, channels=64)['error']: sys.exit('edges are refused')
P
"$TIDEMARK" vm stop --control="$dir/near"
echo "ok - requests have the same ranges"
