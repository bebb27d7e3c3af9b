#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Cloud Hypervisor's offload daemon: snapshots that it asks for, and guests that go
# back into it, whole and lazily, against a peer of the tests' own
# (support/cloud_peer.py) that speaks its protocol byte by byte; and what a peer may
# send that makes no sense, or leave off. The real program was not tried.
. "${SRC:?}/tests/sh/lib.sh"
cd "$dir" || exit 1
export PYTHONPATH="$SRC/tests/support" PYTHONDONTWRITEBYTECODE=1
cat >world.py <<'P'
import os, subprocess, sys, threading, time
from cloud_peer import *
tm = os.environ['TIDEMARK']
# A thread that may be borrowed at once: it is in no call that would be cut short.
threading.Thread(target=lambda: [sum(range(999)) and time.sleep(.001) for _ in iter(int, 1)], daemon=True).start()
def create(name, *args, to='chain'):
    return subprocess.Popen([tm, 'snapshot', 'create', '--cloud-hypervisor=ch', f'--to={to}', *args, name],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
def made(p, code=0):
    out, err = p.communicate(timeout=100)
    assert p.returncode == code, f'{p.returncode}: {out} {err}'
    return out, err
def tidemark(*args, code=0):
    r = subprocess.run([tm, 'snapshot', *args], capture_output=True, text=True)
    assert r.returncode == code, f'{args}: {r.returncode} {r.stdout} {r.stderr}'
    return r.stdout + r.stderr
def restored(name, to='chain'):
    tidemark('restore', to, name, '--memory=back', '--devices=devices', '--force')
    return open('back', 'rb').read(), open('devices', 'rb').read()
def is_right(guest, name, paused=1, memory=None):
    back, devices = restored(name)
    assert back == (memory or guest.memory()), f'{name}: other memory'
    assert devices == (b'TIDECLHV' + struct.pack('<IIQQ', 1, paused, len(guest.config), len(guest.state)) +
        guest.config + guest.state), f'{name}: other devices'
P

# --- a paused guest: a base, and what changed since; the last answer when it is durable ---
python3 - <<'P' || fail "see above"
from world import *
g = Guest()
p = create('one', '--json')
s = connect('ch')
g.begin(s)
assert not os.path.exists('chain/one.tides')
assert g.finish(s) == 'good' and os.path.exists('chain/one.tides')
said = json.loads(made(p)[0])
assert said['base'] and said['memory_pages'] == 517 and not os.path.exists('ch'), said
is_right(g, 'one')
g.change(9)
p = create('two', '--json')
assert g.send('ch') == 'good'
said = json.loads(made(p)[0])
assert not said['base'] and said['stored_pages'] == 9, said
is_right(g, 'two')
# Other slots: a chain of their own.
other = Guest(2, Guest.SLOTS[:1])
p = create('other', '--json')
assert other.send('ch') == 'good'
assert json.loads(made(p)[0])['base']
is_right(other, 'other')
P
"$TIDEMARK" snapshot verify chain >out || fail "$(cat out)"
echo "ok - snapshots of a paused guest"

# --- one that runs until its configuration is answered, three times, and is tracked ---
if "$TIDEMARK" sources | grep -q '^foreign  *works'; then
	python3 - <<'P' || fail "see above"
from world import *
g = Guest(3, [(0, 6000, 0, 0), (0x100000000, 2000, 0, 1)])
p = create('run', '--json', '--count=3', to='chain')
stop = threading.Event()
def write():
    n = 0
    while not stop.is_set():
        n += 1
        at = n * 7919 % 6000 * PAGE
        g.maps[0][at:at + 8] = struct.pack('<Q', n)
        if n % 50 == 0:
            time.sleep(0.001)
def one(name):
    stop.clear()
    w = threading.Thread(target=write)
    w.start()
    s = connect('ch')
    g.begin(s)
    # It stands when that is answered.
    while not select.select([s], [], [], 0.001)[0]:
        pass
    stop.set()
    w.join()
    g.change(4)
    assert g.finish(s, running=True) == 'good'
    return g.memory()
memory = [one(n) for n in range(3)]
out, err = made(p)
said = [json.loads(l) for l in out.splitlines()]
assert 'not tracked' not in err, err
for n, m in enumerate(memory):
    is_right(g, said[n]['name'], 0, m)
# What it wrote while it ran, not all that it has.
assert said[0]['live_pages'] >= 8000 and said[0]['paused_pages'] < 4000, said[0]
assert all(s['live_pages'] + s['paused_pages'] < 8000 and s['stood_us'] for s in said[1:]), said
P
	echo "ok - tracked from one to the next"
else
	echo "# not tracked: $("$TIDEMARK" sources | grep '^foreign')"
fi

# --- what a peer may send ---
python3 - <<'P' || fail "see above"
from world import *
g = Guest(4)
def files():
    return sorted(n for n in os.listdir('bad') if n != '.lock') if os.path.isdir('bad') else []
def bad(what, says, act, code=1, ends=('error', 'gone')):
    p = create('x', to='bad')
    s = connect('ch')
    end = act(s)
    s.close()
    out, err = made(p, code)
    assert end in ends, f'{what}: it was answered {end}'
    assert says in err, f'{what}: it says: {err}'
    assert not files(), f'{what}: {files()}'
def raw(data):
    def act(s):
        try: s.sendall(data)
        except (BrokenPipeError, ConnectionResetError): pass
        return answer(s)
    return act
def after(steps, data=b'', fds=None):
    """After Start (1), the memory (2), the configuration (3), the state (4)."""
    def act(s):
        s.sendall(frame(START))
        assert answer(s) == 'good'
        if steps >= 2:
            for n, _, _, _, file in g.slots:
                s.sendall(frame(MEMORY_FD, 4)); pass_fd(s, struct.pack('<I', n), g.fds[file])
                assert answer(s) == 'good'
        if steps >= 3:
            s.sendall(frame(CONFIG, len(g.config)) + g.config)
            assert answer(s) == 'good'
        if steps >= 4:
            s.sendall(frame(STATE, len(g.state)) + g.state)
            assert answer(s) == 'good'
        if fds:
            s.sendall(frame(MEMORY_FD, 4)); pass_fd(s, data, *fds)
            return answer(s)
        return raw(data)(s)
    return act
def config(edit):
    m = g.mappings()
    m = edit(m) or m
    text = json.dumps({'memory_manager_data': {'guest_ram_mappings': m}}).encode()
    return frame(CONFIG, len(text)) + text
def of(i, **what):
    return config(lambda m: m[i].update(what))

for n in (0, 10, 99, 65535):
    bad(f'command {n}', 'unknown command', raw(frame(n)))
    bad(f'command {n}', 'unknown command', after(3, frame(n)))
for n in (CONFIG, STATE, MEMORY, COMPLETE, MEMORY_FD, COMPLETE_PAUSED, PAGE_FAULT):
    bad(f'{n} first', 'begin with Start', raw(frame(n)))
bad('Start twice', 'out of its order', after(1, frame(START)))
bad('Start with something', 'begin with Start', raw(frame(START, 3) + b'abc'))
bad('version 1', 'newer version', raw(frame(START, 0, 1)))
bad('a fault', 'out of its order', after(2, frame(PAGE_FAULT, 16) + bytes(16)))
bad('a short MemoryFd', 'not of 4 bytes', after(1, frame(MEMORY_FD, 3) + b'abc'))
bad('a long MemoryFd', 'not of 4 bytes', after(1, frame(MEMORY_FD, 1 << 63)))
bad('no descriptor', 'without its descriptor', after(1, frame(MEMORY_FD, 4) + bytes(4)))
bad('two descriptors', 'without its descriptor', after(1, bytes(4), [g.fds[0], g.fds[1]]))
bad('a slot twice', 'twice', after(2, struct.pack('<I', 7), [g.fds[0]]))
def many(s):
    s.sendall(frame(START)); assert answer(s) == 'good'
    for n in range(40):
        try: s.sendall(frame(MEMORY_FD, 4)); pass_fd(s, struct.pack('<I', n), g.fds[0])
        except (BrokenPipeError, ConnectionResetError): return 'gone'
        end = answer(s)
        if end != 'good': return end
bad('40 slots', 'more than 32', many)
r, w = os.pipe()
def with_fd(fd, *numbers):
    def act(s):
        s.sendall(frame(START)); assert answer(s) == 'good'
        for n in numbers:
            s.sendall(frame(MEMORY_FD, 4)); pass_fd(s, struct.pack('<I', n), fd)
            assert answer(s) == 'good'
        return raw(frame(CONFIG, len(g.config)) + g.config)(s)
    return act
small = os.memfd_create('small'); os.ftruncate(small, 4 * PAGE)
bad('a pipe', 'not as large', with_fd(r, 7, 10, 13))
bad('a small file', 'not as large', with_fd(small, 7, 10, 13))
bad('no memory', 'other memory slots', with_fd(r))
bad('a slot too few', 'other memory slots', with_fd(g.fds[0], 7, 10))
bad('a slot too many', 'other memory slots', with_fd(g.fds[0], 7, 10, 13, 16))
bad('another slot', 'no memory for a slot', with_fd(g.fds[0], 7, 10, 14))
bad('no JSON', 'names no memory', after(2, frame(CONFIG, 3) + b'{]}'))
bad('an empty configuration', 'names no memory', after(2, frame(CONFIG)))
bad('a deep one', 'names no memory', after(2, frame(CONFIG, 1 << 20) + b'[' * (1 << 20)))
bad('no slots', 'names no memory', after(2, config(lambda m: m.clear())))
for what in ({'size': 0}, {'size': 4095}, {'size': -4096}, {'size': '4096'}, {'size': 1 << 62}, {'gpa': 12}, {'gpa': -4096},
        {'gpa': (1 << 63) - PAGE}, {'gpa': 1 << 63}, {'slot': 1 << 32}, {'slot': -1}, {'slot': None}, {'file_offset': 1},
        {'file_offset': (1 << 63) - PAGE}, {'gpa': 1e3}):
    bad(f'{what}', 'its configuration', after(2, of(1, **what)))
bad('slots that overlap', 'overlap', after(2, of(1, gpa=299 * PAGE)))
bad('a slot named twice', 'overlap', after(2, of(1, slot=7)))
bad('33 slots', 'more than 32', after(2, config(lambda m: [dict(m[0], slot=n, gpa=n << 32) for n in range(33)])))
for n in ((64 << 20) + 1, 1 << 32, 1 << 63, (1 << 64) - 1):
    bad(f'a configuration of {n} bytes', 'larger than 64 MiB', after(2, frame(CONFIG, n)))
    bad(f'a state of {n} bytes', 'larger than 64 MiB', after(3, frame(STATE, n)))
bad('its memory over the socket', 'local=on', after(3, frame(MEMORY, 16) + bytes(16)))
bad('Config twice', 'State after Config', after(3, frame(CONFIG, len(g.config)) + g.config))
bad('Complete without a state', 'State after Config', after(3, frame(COMPLETE)))
bad('State twice', 'end with Complete', after(4, frame(STATE, 1) + b'x'))
bad('Complete with something', 'end with Complete', after(4, frame(COMPLETE, 8) + bytes(8)))
bad('Complete with something', 'end with Complete', after(4, frame(COMPLETE_PAUSED, 1 << 40)))
for steps in range(1, 5):
    bad(f'Abandon after {steps}', 'abandoned', after(steps, frame(ABANDON)), ends=('good',))
bad('Abandon first', 'abandoned', raw(frame(ABANDON)), ends=('good',))

# Whoever goes away, at each byte of a frame and each step.
def leave(act):
    def end(s):
        act(s)
        s.close()
        return 'gone'
    return end
bad('nothing said', 'hung up', leave(lambda s: None))
for n in (1, 2, 15):
    bad(f'{n} bytes', 'hung up', leave(lambda s: s.sendall(frame(START)[:n])))
for steps in range(1, 5):
    for data in (b'', frame(STATE, 100)[:7], frame(MEMORY_FD, 4) if steps == 1 else frame(CONFIG, 100) + b'abc' if steps == 2
            else frame(STATE, 1 << 20) + b'abc'):
        if steps < 4 or len(data) < 16:
            def act(s):
                s.sendall(frame(START)); assert answer(s) == 'good'
                if steps > 1:
                    for n, _, _, _, file in g.slots:
                        s.sendall(frame(MEMORY_FD, 4)); pass_fd(s, struct.pack('<I', n), g.fds[file])
                        assert answer(s) == 'good'
                if steps > 2:
                    s.sendall(frame(CONFIG, len(g.config)) + g.config); assert answer(s) == 'good'
                if steps > 3:
                    s.sendall(frame(STATE, len(g.state)) + g.state); assert answer(s) == 'good'
                s.sendall(data)
            bad(f'away after {steps} and {len(data)} bytes', 'hung up', leave(act))

# It goes on after one that was bad; whoever does not wait for the last answer has his snapshot.
p = create('on', '--count=3', to='on')
assert g.send('ch') == 'good'
s = connect('ch')
assert raw(frame(99))(s) in ('error', 'gone')
s.close()
s = connect('ch')
g.begin(s)
assert answer(s) == 'good'
s.sendall(frame(STATE, len(g.state)) + g.state)
assert answer(s) == 'good'
s.sendall(frame(COMPLETE_PAUSED))
s.close()
out, err = made(p, 1)
assert 'going on' in err and 'were not made' in err, err
assert len(out.splitlines()) == 2, out
tidemark('verify', 'on')

# A name that is taken, a folder in use, words that do not go together.
p = create('on-000001', to='on')
s = connect('ch')
g.begin(s)
assert answer(s) == 'error'
assert 'exists' in made(p, 1)[1]
for words in (['--pid=1'], ['--every=1s'], ['--qmp=x'], ['--vm=x'], ['--memory-only']):
    made(create('x', *words, to='words'), 2)
open('file', 'w').close()
assert 'no socket' in tidemark('create', '--cloud-hypervisor=file', '--to=words', 'x', code=1)
P
echo "ok - what makes no sense is refused, and leaves nothing"

# --- whoever takes it is killed: the peer sees the end, and no snapshot has a name ---
python3 - <<'P' || fail "see above"
from world import *
g = Guest(5, [(0, 20000, 0, 0)])
for i in range(12):
    p = create('k', to='killed')
    s = connect('ch')
    g.begin(s)
    if i % 3: assert answer(s) == 'good'
    if i % 3 == 2:
        s.sendall(frame(STATE, len(g.state)) + g.state); assert answer(s) == 'good'
        s.sendall(frame(COMPLETE))
        time.sleep(i * .004)
    p.kill(); p.wait()
    there = os.path.exists('killed/k.tides')
    end = answer(s)
    assert end == 'gone' or there, 'it was told that a snapshot is there that is not'
    if there:
        tidemark('verify', 'killed')
        os.unlink('killed/k.tides')
    s.close()
p = create('k', to='killed')
assert g.send('ch') == 'good'
made(p)
assert restored('k', 'killed')[0] == g.memory()
P
echo "ok - killed"

# --- back into one: whole, and lazily, with faults of the kernel's where it has them ---
cat >>world.py <<'P'
def restore(*args, name='two', to='chain'):
    if os.path.exists('in'): os.unlink('in')
    r = Receiver('in')
    return r, subprocess.Popen([tm, 'snapshot', 'restore', to, name, '--cloud-hypervisor=in', '--json', *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
def sent(g, r):
    assert (r.config, r.state) == (g.config, g.state), 'not as it was sent'
    assert [os.fstat(r.files[m['slot']]).st_size for m in r.mappings()] == [
        m['size'] + m['file_offset'] for m in r.mappings()]
def world():
    g = Guest()
    g.change(9)
    assert g.memory() == restored('two')[0]
    return g
P
python3 - <<'P' || fail "see above"
from world import *
g = world()
for args, last in ((), COMPLETE), (('--paused',), COMPLETE_PAUSED):
    r, p = restore(*args)
    r.meet(); r.take_state(); r.say()
    r.hear([last])
    r.say()
    made(p)
    sent(g, r)
    assert r.memory() == g.memory(), 'other memory'
P
echo "ok - back, whole"
python3 - <<'P'
from world import *
r = Receiver('probe')
r.config, r.files = b'{"memory_manager_data":{"guest_ram_mappings":[{"slot":1,"gpa":0,"size":4096,"file_offset":0}]}}', {1: os.memfd_create('x')}
os.ftruncate(r.files[1], 4096)
Faults(r)
P
kernel=$?
[ $kernel = 0 ] || echo "# no userfaultfd for a file's pages here: faults by the protocol only"
kernel=$kernel python3 - <<'P' || fail "see above"
from world import *
g = world()
want, rng = g.memory(), random.Random(7)
def at(page):
    """Where in the guest."""
    for m in r.mappings():
        if page < m['size'] // PAGE: return m['gpa'] + page * PAGE
        page -= m['size'] // PAGE
def lazily(*args):
    global r
    r, p = restore('--lazy', *args)
    r.meet(); r.meet_faults()
    assert not any(os.fstat(f).st_blocks for f in r.files.values()) or '--order=order' in args
    pages = rng.sample(range(517), 60)
    if os.environ['kernel'] != '0':
        # Without the kernel: asked for, and read from the file.
        r.take_state()
        for page in pages:
            assert r.ask(at(page)) == 'good'
        r.say(); r.hear([COMPLETE]); r.say()
        for page in range(517): assert r.ask(at(page)) == 'good'
        r.fault.close()
        assert r.memory() == want
        return pages, json.loads(made(p)[0])
    f = Faults(r)
    child = os.fork()
    if not child:
        try: f.serve(True)
        except BaseException as e: print(e, file=sys.stderr); os._exit(1)
        os._exit(0)
    r.fault.close()
    maps = [(n, m, i) for m in f.maps for n, i in enumerate(range(0, len(m), PAGE))]
    def check(page):
        n, m, i = maps[page]
        assert m[i:i + PAGE] == want[page * PAGE:(page + 1) * PAGE], f'page {page}'
    # The devices are loaded, and touch memory, before State is answered.
    r.take_state()
    for page in pages[:30]: check(page)
    r.say(); r.hear([COMPLETE]); r.say()
    for page in pages[30:]: check(page)
    # What the guest writes stays, whatever is brought in behind.
    for page in pages[:20]:
        n, m, i = maps[page]
        m[i:i + 4] = b'MINE'
    for page in range(517):
        if page not in pages[:20]: check(page)
    assert os.waitpid(child, 0)[1] == 0, 'its handler failed'
    for page in pages[:20]:
        n, m, i = maps[page]
        assert m[i:i + PAGE] == b'MINE' + want[page * PAGE + 4:(page + 1) * PAGE], f'page {page} came twice'
    sent(g, r)
    return pages, json.loads(made(p)[0])
pages, said = lazily('--order=order')
assert said['running_us'] and said['complete_us'], said
order = struct.unpack(f'<{os.path.getsize("order") // 8}Q', open('order', 'rb').read())
# Faults of its own, not its walk through all of them.
assert set(order) <= set(range(517)) and 20 < len(order) < 400, len(order)
lazily('--order=order')
P
echo "ok - back, lazily"

python3 - <<'P' || fail "see above"
from world import *
def bad(what, says, act, *args, code=1, **more):
    r, p = restore(*args, **more)
    end = act(r)
    for s in (r.s, r.fault, r.listener):
        if s: s.close()
    out, err = made(p, code)
    assert says in err, f'{what}: it says: {err}'
    return end
def stop_at(n, how):
    """After so many requests: refuse, hang up, talk nonsense."""
    def act(r):
        r.s, _ = r.listener.accept()
        r.s.settimeout(60)
        for i in range(n + 1):
            command, _ = r.hear()
            if command == MEMORY_FD: socket.recv_fds(r.s, 4, 4)
            elif command in (CONFIG, STATE): exactly(r.s, _)
            if i == n:
                if how: r.s.sendall(how)
                return
            r.say()
    return act
for n in range(7):  # Start, three slots, Config, State, Complete
    bad(f'refused at {n}', 'it refused', stop_at(n, struct.pack('<H6xQ', 2, 0)))
    bad(f'away at {n}', 'hung up', stop_at(n, None))
    bad(f'half an answer at {n}', 'hung up', stop_at(n, b'\1\0\0'))
    bad(f'nonsense at {n}', 'no answer', stop_at(n, struct.pack('<H6xQ', 7, 0)))
    bad(f'an answer with something at {n}', 'no answer', stop_at(n, struct.pack('<H6xQ', 1, 9)))
def faults(*asked):
    def act(r):
        r.meet(); r.meet_faults(); r.take_state()
        r.fault.sendall(b''.join(asked))
        return answer(r.fault)
    return act
def fault(gpa, length): return frame(PAGE_FAULT, 16) + struct.pack('<QQ', gpa, length)
top = 0x200000000 + 17 * PAGE
for gpa, length in (top, PAGE), (300 * PAGE, PAGE), (299 * PAGE, 2 * PAGE), (0x80000000, PAGE), (1 << 63, PAGE), (2**64 - PAGE, PAGE):
    assert bad('outside', 'outside of its memory', faults(fault(gpa, length)), '--lazy') == 'error'
for gpa, length in (0, 0), (5, PAGE), (0, 5), (0, 2**64 - PAGE), (0, 1 << 40):
    assert bad('no page', 'that is none', faults(fault(gpa, length)), '--lazy') == 'error'
assert bad('a command', 'something else', faults(frame(STATE, 5) + b'12345'), '--lazy') == 'error'
assert bad('a fault of 8 bytes', 'something else', faults(frame(PAGE_FAULT, 8) + bytes(8)), '--lazy') == 'error'
assert bad('no command', 'unknown command', faults(frame(77)), '--lazy') == 'error'
# Enough of it, and it has had what it wants: no failure.
r, p = restore('--lazy')
r.meet(); r.meet_faults(); r.take_state()
assert r.ask(0, 300 * PAGE) == 'good'
r.fault.sendall(frame(ABANDON))
assert answer(r.fault) == 'good'
r.say(); r.hear([COMPLETE]); r.say()
made(p)
assert r.memory()[:300 * PAGE] == restored('two')[0][:300 * PAGE]

# Words, and what is none of its snapshots.
for words in ((), ('--lazy', '--memory=m'), ('--order=o',), ('--lazy', '--pid=1')):
    if words: tidemark('restore', 'chain', 'two', '--cloud-hypervisor=in', *words, code=2)
assert '--paused is of' in tidemark('restore', 'chain', 'two', '--memory=m', '--paused', code=2)
nobody = tidemark('restore', 'chain', 'two', '--cloud-hypervisor=nobody', code=1)
assert 'nobody' in nobody, nobody
import shutil
# Damage: no page that is wrong, and it is told.
shutil.copytree('chain', 'damaged')
b = bytearray(open('damaged/one.tides', 'rb').read())
for i in range(8192, 200000, 512): b[i] ^= 1
open('damaged/one.tides', 'wb').write(b)
def all_pages(r):
    r.meet(); r.meet_faults(); r.take_state()
    for page in range(300):
        end = r.ask(page * PAGE)
        if end != 'good': return end
assert bad('damaged', '', all_pages, '--lazy', to='damaged', code=3) == 'error'
err = tidemark('restore', 'damaged', 'two', '--cloud-hypervisor=in', code=3)
P
if "$TIDEMARK" sources | grep -q '^foreign  *works'; then
	python3 -c 'import time; x = bytearray(b"x" * (8 << 20)); open("ready", "w"); time.sleep(600)' &
	pids+=($!)
	until_true 30 test -e ready
	"$TIDEMARK" snapshot create --pid=$! --to=others p >/dev/null 2>err || fail "a process: $(cat err)"
	"$TIDEMARK" snapshot restore others p --cloud-hypervisor=in 2>err && fail "of a process"
	grep -q 'not a snapshot of a Cloud' err || fail "it says: $(cat err)"
fi
echo "ok - refusals on the way back"
exit 0
