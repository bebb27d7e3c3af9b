# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks of a stock QEMU share: its monitor, starting one, its guests."""
import glob, json, os, pathlib, re, shutil, socket, statistics, subprocess, sys, tempfile, time

source = pathlib.Path(__file__).resolve().parents[2]
children = []


class Monitor:
    def __init__(self, path):
        for _ in range(5000):
            try:
                self.s = socket.socket(socket.AF_UNIX)
                self.s.connect(path)
                break
            except OSError:
                time.sleep(0.002)
        self.f = self.s.makefile('rw')
        self.f.readline()
        self.ask('qmp_capabilities')

    def ask(self, command, **arguments):
        self.f.write(json.dumps(dict(execute=command, arguments=arguments)) + '\n')
        self.f.flush()
        while True:
            line = json.loads(self.f.readline())
            if 'error' in line:
                sys.exit(f"{command}: {line['error']['desc']}")
            if 'return' in line:
                return line['return']

    def until(self, *status):
        while self.ask('query-status')['status'] not in status:
            time.sleep(0.001)

    def take_devices(self, uri, shared=True):
        if shared:
            self.ask('migrate-set-capabilities', capabilities=[dict(capability='x-ignore-shared', state=True)])
        self.ask('migrate-incoming', uri=uri)
        self.until('paused', 'running', 'postmigrate')
        self.ask('cont')
        self.until('running')

    def migrate(self, uri):
        self.ask('migrate', uri=uri)
        while self.ask('query-migrate')['status'] not in ('completed', 'failed'):
            time.sleep(0.01)


def boot_sector(rate):
    subprocess.run(['gcc', '-m32', '-nostdlib', '-ffreestanding', '-static', '-no-pie', f'-DRATE={rate}',
        '-Wl,--oformat=binary', '-Wl,-Ttext=0x7c00', '-Wl,--build-id=none', '-o', 'boot.img',
        f'{source}/tests/support/boot.S'], check=True)


def linux(kernel, redis, words):
    """Options that boot the guest of tests/support/linux-guest."""
    if not os.path.exists('initrd'):
        subprocess.run([f'{source}/tests/support/linux-guest', 'initrd', redis], check=True)
    open('boot.img', 'ab').truncate(512)
    return ['-kernel', f'{kernel}/vmlinuz', '-initrd', 'initrd',
        '-append', f'console=ttyS0 quiet panic=-1 rdinit=/init {words}']


def qemu(name, backend, mib, accel, *more):
    for n in glob.glob(f'{name}.*'):
        os.unlink(n)
    p = subprocess.Popen(['qemu-system-x86_64', '-nodefaults', '-display', 'none', '-accel', accel,
        '-machine', 'pc,memory-backend=ram', '-object', f'{backend},id=ram,size={mib}M',
        '-drive', 'file.filename=boot.img,file.locking=off,format=raw', '-serial', f'file:{name}.serial',
        '-qmp', f'unix:{name}.qmp,server=on,wait=off', '-qmp', f'unix:{name}.mon,server=on,wait=off', *more])
    children.append(p)
    return p


def end(p):
    p.kill()
    p.wait()
    children.remove(p)


def said(name, what):
    """How often the guest said so."""
    try:
        text = open(f'{name}.serial', errors='replace').read()
    except FileNotFoundError:
        return 0
    if 'wrong' in text or 'X' in text.replace('GUEST', ''):
        sys.exit(f'{name}: the guest found a wrong page')
    return text.count(what)


def until_said(name, what, n):
    while said(name, what) < n:
        time.sleep(0.001)


def folders(prefix):
    folder = tempfile.mkdtemp(prefix=prefix)
    shm = tempfile.mkdtemp(prefix=prefix, dir='/dev/shm')
    os.chdir(folder)
    return folder, shm


def clean(*folders):
    for c in list(children):
        c.kill()
        c.wait()
    for f in folders:
        shutil.rmtree(f)
