# SPDX-License-Identifier: BSD-2-Clause
# Shared by the tests that need a stock QEMU with a guest in it that checks
# itself. Sourced after lib.sh.
command -v qemu-system-x86_64 >/dev/null || {
	echo "skip: there is no qemu-system-x86_64"
	exit 77
}
printf 'int x;' | gcc -m32 -x c -c -o "$dir/x.o" - 2>/dev/null || {
	echo "skip: the compiler makes no code for a PC's boot sector"
	exit 77
}
"$TIDEMARK" sources | grep -q '^foreign  *works' || {
	echo "skip: $("$TIDEMARK" sources | grep '^foreign')"
	exit 77
}

# boot_image RATE [FLAGS]: how long the guest idles between two writes.
boot_image() {
	local rate=$1
	shift
	gcc -m32 -nostdlib -ffreestanding -static -no-pie -DRATE="$rate" "$@" \
		-Wl,--oformat=binary -Wl,-Ttext=0x7c00 -Wl,--build-id=none \
		-o "$dir/boot.img" "$SRC/tests/support/boot.S" 2>"$dir/err" ||
		fail "no boot sector: $(cat "$dir/err")"
}

# start_qemu NAME MEMORY-BACKEND [OPTIONS...]: pid in $qemu; monitors NAME.qmp
# for Tidemark, NAME.mon for the test, serial line NAME.serial.
start_qemu() {
	local name=$1 backend=$2
	shift 2
	qemu-system-x86_64 -nodefaults -display none -machine pc,memory-backend=ram \
		-object "$backend,id=ram" -drive file.filename="$dir/boot.img",file.locking=off,format=raw \
		-serial "file:$dir/$name.serial" \
		-qmp "unix:$dir/$name.qmp,server=on,wait=off" \
		-qmp "unix:$dir/$name.mon,server=on,wait=off" "$@" 2>"$dir/$name.err" &
	qemu=$!
	pids+=("$qemu")
	until_true 10 test -S "$dir/$name.mon" || fail "no QEMU: $(cat "$dir/$name.err")"
}

cat >"$dir/qmp.py" <<'P'
import json, socket, sys, time
class Monitor:
    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX); self.s.settimeout(60)
        for n in range(3000): # its name is there before anybody listens
            try: self.s.connect(path); break
            except ConnectionRefusedError: time.sleep(0.02)
        self.f = self.s.makefile('rw')
        json.loads(self.f.readline()); self.ask('qmp_capabilities')
    def ask(self, command, **arguments):
        self.f.write(json.dumps(dict(execute=command, arguments=arguments)) + '\n'); self.f.flush()
        while True:
            r = json.loads(self.f.readline())
            if 'error' in r: raise Exception(command + ': ' + r['error']['desc'])
            if 'return' in r: return r['return']
    def until(self, status):
        for _ in range(3000):
            now = self.ask('query-status')['status']
            if now in status: return
            time.sleep(0.02)
        raise Exception('its status is ' + now)
P
# qmp NAME COMMAND [JSON]
qmp() {
	(cd "$dir" && python3 -c '
import json, sys; from qmp import Monitor
print(json.dumps(Monitor(sys.argv[1]).ask(sys.argv[2], **json.loads(sys.argv[3] if len(sys.argv) > 3 else "{}"))))' \
		"$1.mon" "${@:2}")
}

# lives NAME: the guest adds up what it counted, and it is right.
lives() {
	local n
	n=$(stat -c %s "$dir/$1.serial" 2>/dev/null || echo 0)
	until_true 60 sh -c "[ \$(stat -c %s '$dir/$1.serial') -gt $((n + 2)) ]" ||
		fail "the guest $1 does nothing: $(cat "$dir/$1.err")"
	! grep -q X "$dir/$1.serial" || fail "the guest $1 counted wrong"
}
