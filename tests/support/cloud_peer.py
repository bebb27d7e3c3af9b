# SPDX-License-Identifier: BSD-2-Clause
"""A Cloud Hypervisor of the tests' own: its migration protocol, byte by byte.

Both directions, from its documentation; nothing of the real program. A guest is
slots of memory in memfds, which this process maps and writes to.
"""
import array, ctypes, json, mmap, os, random, select, socket, struct, time

START, CONFIG, STATE, MEMORY, COMPLETE, ABANDON, MEMORY_FD, COMPLETE_PAUSED, PAGE_FAULT = range(1, 10)
PAGE = 4096


def frame(command, length=0, version=0):
    return struct.pack('<HHIQ', command, version, 0, length)


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    for _ in range(3000):  # its name is there before anybody listens
        try:
            s.connect(path)
            return s
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.01)
    raise SystemExit(f'nobody listens at {path}')


def exactly(s, n):
    got = b''
    while len(got) < n:
        piece = s.recv(n - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got


def answer(s):
    """'good', 'error', or 'gone': it hung up, perhaps on what was not read."""
    try:
        status, pad, length = struct.unpack('<H6sQ', exactly(s, 16))
    except (EOFError, ConnectionResetError, BrokenPipeError):
        return 'gone'
    assert pad == bytes(6) and not length, 'not as it should be'
    return {1: 'good', 2: 'error'}[status]


def pass_fd(s, data, *fds):
    s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])


class Guest:
    """Slots of (gpa, pages, offset in pages, which memfd)."""
    SLOTS = [(0, 300, 0, 0), (0x100000000, 200, 300, 0), (0x200000000, 17, 5, 1)]

    def __init__(self, seed=1, slots=SLOTS):
        rng = random.Random(seed)
        self.slots = [(7 + 3 * i, *s) for i, s in enumerate(slots)]
        self.fds, self.maps, self.rng = {}, [], rng
        for _, _, pages, offset, file in self.slots:
            if file not in self.fds:
                self.fds[file] = os.memfd_create('ch_ram')
            size = max(os.fstat(self.fds[file]).st_size, (pages + offset) * PAGE)
            os.ftruncate(self.fds[file], size)
        for _, _, pages, offset, file in self.slots:
            self.maps.append(mmap.mmap(self.fds[file], pages * PAGE, offset=offset * PAGE))
        for m in self.maps:
            for page in range(len(m) // PAGE):
                if rng.random() < .7:
                    m[page * PAGE:(page + 1) * PAGE] = rng.randbytes(2048) + bytes(2048)
        # Not as any library would write it: it must come back as it is.
        self.config = ('{"vm_config" :{"z":1,"a":"\\u00e9é", "memory":{"shared":true}},\n\n'
            '"memory_manager_data":{"guest_ram_mappings":' + json.dumps(self.mappings()) +
            ',"next_hotplug_slot":0}, "common_cpuid":[]}').encode()
        self.state = b'{"state": [' + b'1e5,' * rng.randrange(1, 90000) + b'0]}\n'

    def mappings(self):
        return [dict(slot=n, gpa=gpa, size=pages * PAGE, zone_id='mem0', virtio_mem=False, file_offset=offset * PAGE)
            for n, gpa, pages, offset, _ in self.slots]

    def memory(self):
        return b''.join(bytes(m) for m in self.maps)

    def change(self, count):
        """That many pages, none twice."""
        places = [(m, p) for m in self.maps for p in range(len(m) // PAGE)]
        for m, p in self.rng.sample(places, count):
            m[p * PAGE + 9:p * PAGE + 17] = self.rng.randbytes(8)

    def begin(self, s):
        """Up to the configuration, which is sent and not answered."""
        s.sendall(frame(START))
        assert answer(s) == 'good'
        for n, _, _, _, file in self.slots:
            s.sendall(frame(MEMORY_FD, 4))
            pass_fd(s, struct.pack('<I', n), self.fds[file])
            assert answer(s) == 'good'
        s.sendall(frame(CONFIG, len(self.config)))
        s.sendall(self.config)

    def finish(self, s, running=False):
        """From there on, and the last answer."""
        assert answer(s) == 'good'
        s.sendall(frame(STATE, len(self.state)))
        s.sendall(self.state)
        assert answer(s) == 'good'
        s.sendall(frame(COMPLETE if running else COMPLETE_PAUSED))
        return answer(s)

    def send(self, path):
        s = connect(path)
        self.begin(s)
        return self.finish(s)


class Receiver:
    """One that waits for a guest (receive-migration)."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.settimeout(60)
        self.listener.bind(path)
        self.listener.listen(4)
        self.files, self.config, self.state, self.fault = {}, None, None, None

    def hear(self, want=None):
        command, version, _, length = struct.unpack('<HHIQ', exactly(self.s, 16))
        assert version == 0 and (want is None or command in want), (command, want)
        return command, length

    def say(self, good=True):
        self.s.sendall(struct.pack('<H6xQ', 1 if good else 2, 0))

    def meet(self, refuse=None):
        """Up to Config, answered; @refuse(command): what is answered instead."""
        self.s, _ = self.listener.accept()
        self.s.settimeout(60)
        self.hear([START])
        self.say()
        while self.config is None:
            command, length = self.hear([MEMORY_FD, CONFIG])
            if command == CONFIG:
                self.config = exactly(self.s, length)
            else:
                assert length == 4
                data, fds, _, _ = socket.recv_fds(self.s, 4, 4)
                assert len(data) == 4 and len(fds) == 1
                self.files[struct.unpack('<I', data)[0]] = fds[0]
            self.say()

    def meet_faults(self):
        self.fault, _ = self.listener.accept()
        self.fault.settimeout(60)
        assert exactly(self.fault, 2) == b'\2\0'

    def take_state(self):
        _, length = self.hear([STATE])
        self.state = exactly(self.s, length)

    def mappings(self):
        return json.loads(self.config)['memory_manager_data']['guest_ram_mappings']

    def memory(self):
        return b''.join(os.pread(self.files[m['slot']], m['size'], m['file_offset']) for m in self.mappings())

    def ask(self, gpa, length=PAGE):
        self.fault.sendall(frame(PAGE_FAULT, 16) + struct.pack('<QQ', gpa, length))
        return answer(self.fault)


libc = ctypes.CDLL(None, use_errno=True)


class Faults:
    """Memory of a receiver that is mapped and not there, as the real one has it:
    missing pages and those that are in the file but in no page table are faults,
    and UFFDIO_CONTINUE maps what was written."""
    API, REGISTER, CONTINUE = 0xc018aa3f, 0xc020aa00, 0xc020aa07
    MISSING_SHMEM, MINOR_SHMEM = 1 << 5, 1 << 10

    def __init__(self, receiver):
        self.r, self.maps, self.at = receiver, [], []
        self.fd = libc.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK | 1)
        if self.fd < 0:
            raise OSError('no userfaultfd')
        self.ioctl(self.API, struct.pack('<QQQ', 0xaa, self.MISSING_SHMEM | self.MINOR_SHMEM, 0))
        for m in receiver.mappings():
            mem = mmap.mmap(receiver.files[m['slot']], m['size'], offset=m['file_offset'])
            at = ctypes.addressof(ctypes.c_char.from_buffer(mem))
            self.ioctl(self.REGISTER, struct.pack('<QQQQ', at, m['size'], 1 | 4, 0))
            self.maps.append(mem)
            self.at.append((at, m['gpa'], m['size']))

    def ioctl(self, request, data):
        b = ctypes.create_string_buffer(data, len(data))
        if libc.ioctl(self.fd, ctypes.c_ulong(request), b) < 0:
            raise OSError(ctypes.get_errno(), f'ioctl {request:x}')
        return b.raw

    def bring(self, gpa):
        assert self.r.ask(gpa) == 'good', 'a page was refused'
        at = next(a + gpa - g for a, g, n in self.at if g <= gpa < g + n)
        try:
            self.ioctl(self.CONTINUE, struct.pack('<QQQQ', at, PAGE, 0, 0))
        except OSError as e:
            assert e.errno == 17, e

    def serve(self, prefault):
        """Faults first, between them the lowest page that was not asked for;
        then it hangs up. Without @prefault: until nobody faults for 0.3 s."""
        left = [gpa + i for _, gpa, n in self.at for i in range(0, n, PAGE)]
        asked = set()
        while left or not prefault:
            if select.select([self.fd], [], [], 0 if prefault else .3)[0]:
                event, address = struct.unpack('<B15xQ8x', os.read(self.fd, 32))
                assert event == 0x12
                gpa = next(g + (address & -PAGE) - a for a, g, n in self.at if a <= address < a + n)
            elif not prefault:
                break
            else:
                gpa = left.pop(0)
                if gpa in asked:
                    continue
            asked.add(gpa)
            self.bring(gpa)
        self.r.fault.close()
