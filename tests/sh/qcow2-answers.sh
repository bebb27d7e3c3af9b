#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# An answer arrives whole or the command fails: output that is full, an image
# with more runs than memory, a pipe as image, an image that another process
# writes, names that hold control characters, traces with numbers that are none.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-img >/dev/null || { echo "SKIP: no qemu-img"; exit 77; }
cd "$dir" || exit 1
qemu-img create -q -f qcow2 a.q 64M
printf '0,write,0,4096\n' >t

# --- the output is full ---
for c in "info a.q" "check a.q" "map a.q" "map --guest a.q" "guard a.q t" \
	"info --json a.q" "check --json a.q" "map --json a.q" \
	"map --guest --json a.q" "guard --json a.q t"; do
	# shellcheck disable=SC2086
	"$TIDEMARK" qcow2 $c >/dev/full 2>err && fail "$c: exit 0 with full output"
	grep -q 'could not be written' err || fail "$c: says nothing: $(cat err)"
done
for c in --help --version "qcow2 map --help" "sources" "scan --help"; do
	# shellcheck disable=SC2086
	"$TIDEMARK" $c >/dev/full 2>err && fail "$c: exit 0 with full output"
done
echo "ok - full output fails every verb, with a message"

# --- a map does not grow with its runs ---
# 512 L1 entries name one L2 table; its entries are by turns data and zero, so
# that no two neighbours are one run: 4 million runs in a file of 450 kB.
python3 - <<'P'
import struct
cs = 65536; n = 512; l2 = 4 * cs
h = bytearray(112); h[0:4] = b'QFI\xfb'; p = struct.pack_into
p('>I', h, 4, 3); p('>I', h, 20, 16); p('>Q', h, 24, 1 << 38)
p('>I', h, 36, n); p('>Q', h, 40, 3 * cs); p('>Q', h, 48, cs)
p('>I', h, 56, 1); p('>I', h, 96, 4); p('>I', h, 100, 112)
with open('b.q', 'wb') as f:
    f.write(h); f.seek(cs); f.write(struct.pack('>Q', 2 * cs))
    f.seek(2 * cs); f.write(struct.pack('>H', 1) * 7)
    f.seek(3 * cs); f.write(struct.pack('>Q', l2) * n)
    f.seek(l2); f.write(struct.pack('>QQ', 5 * cs, 1) * 4096)
    f.truncate(7 * cs)
P
(
	limit_memory 200000
	"$TIDEMARK" qcow2 map --guest --json b.q 2>err | head -c 3000000 | tail -c 200 >some
) || true
grep -q '"type"' some || fail "map --guest below a memory limit: $(cat err)"
(
	limit_memory 200000
	"$TIDEMARK" qcow2 map --guest b.q 2>err | awk '
		NR > 1 { if ($1 != at) exit 1; at += $2; n++ }
		END { print n, at; exit at != 2 ^ 38 }'
) >sum || fail "map --guest leaves something out: $(cat sum err)"
echo "ok - $(cut -d' ' -f1 sum) runs below a limit of 200 MB"

# --- what is no image ---
mkfifo pipe
for c in info check map "map --guest" repair; do
	# shellcheck disable=SC2086
	timeout 60 "$TIDEMARK" qcow2 $c pipe >/dev/null 2>err
	[ $? = 1 ] || fail "$c of a pipe: $(cat err)"
	grep -q 'pipe is neither' err || fail "$c of a pipe says: $(cat err)"
done
echo "ok - a pipe is refused at once"

# --- beside a writer ---
if command -v qemu-io >/dev/null; then
	qemu-io -f qcow2 -c 'sleep 300000' a.q >/dev/null 2>&1 &
	writer=$!
	pids+=("$writer")
	until_true 10 grep -q ":$(stat -c %i a.q) " /proc/locks ||
		fail "qemu-io did not lock the image"
	for c in info check map "map --guest" repair "guard a.q t"; do
		# shellcheck disable=SC2086
		case $c in guard*) set -- $c ;; *) set -- $c a.q ;; esac
		"$TIDEMARK" qcow2 "$@" >/dev/null 2>err && fail "$c beside a writer: exit 0"
		grep -q 'is in use' err || fail "$c beside a writer says: $(cat err)"
	done
	"$TIDEMARK" qcow2 check --force-share a.q >out 2>err ||
		fail "check --force-share: $(cat err)"
	[ "$(grep -vc '^in use' out)" = 0 ] || fail "a line does not say so: $(cat out)"
	"$TIDEMARK" qcow2 check --force-share --json a.q |
		grep -q '"in_use": true' || fail "the JSON does not say so"
	kill "$writer"
	echo "ok - beside a writer: refused, or said on every line"
else
	echo "ok - beside a writer # SKIP no qemu-io"
fi

# --- names that others chose ---
cp a.q evil.q
python3 - <<'P'
f = open('evil.q', 'r+b'); name = b'x\nversion: 9\x1b[2Jy'
f.seek(8); f.write((512).to_bytes(8, 'big') + len(name).to_bytes(4, 'big'))
f.seek(512); f.write(name)
P
"$TIDEMARK" qcow2 info evil.q >out || fail "info of a strange name"
grep -q $'\x1b' out && fail "an escape sequence reaches the terminal"
[ "$(grep -c '^version' out)" = 1 ] || fail "a name forges a line: $(cat out)"
grep -qF 'x\x0aversion: 9\x1b[2Jy' out || fail "the name is not shown: $(cat out)"
"$TIDEMARK" qcow2 info --json evil.q | python3 -c '
import json, sys
assert json.load(sys.stdin)["backing_file"] == "x\nversion: 9\x1b[2Jy"' ||
	fail "the JSON has another name"
echo "ok - foreign bytes are shown, not obeyed"

# --- traces ---
for line in 0,write,-1,4096 0,write,99999999999999999999,1 0,write,1 x \
	0,write,1,2,3 -1,write,0,1; do
	printf '%s\n' "$line" >t
	"$TIDEMARK" qcow2 guard a.q t >/dev/null 2>err && fail "guard takes '$line'"
	grep -q 'line 1 is not' err || fail "guard of '$line' says: $(cat err)"
done
printf '0,write,67108864,4096\n' >t
"$TIDEMARK" qcow2 guard a.q t >/dev/null && fail "a write past the end is fine for guard"
echo "ok - guard refuses what the driver refuses"
