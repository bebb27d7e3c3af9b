#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# An image's word is not enough to open another file: data and backing files
# are followed within the image's own folder, elsewhere only into a folder that
# the operator names, and never to what is no regular file or no file at all.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-img >/dev/null || { echo "SKIP: no qemu-img"; exit 77; }
cd "$dir" || exit 1
mkdir own other own/sub live
truncate -s 1M other/secret own/near own/sub/deep
ln -s ../other/secret own/link
ln -s near own/near-link
mkfifo own/pipe

# image NAME: a qcow2 that says NAME is its backing file, whatever that is.
image() {
	rm -f own/i.qcow2
	qemu-img create -qf qcow2 -u -b "$1" -F raw own/i.qcow2 1M || fail "qemu-img: $1"
}
# data NAME: the same for its data file; the name is written over a good one.
data() {
	rm -f own/i.qcow2
	printf -v pad '%-60s' x
	qemu-img create -qf qcow2 -o "data_file=own/$(printf '%060d' 0)" own/i.qcow2 1M || fail "qemu-img data"
	python3 - own/i.qcow2 "own/$(printf '%060d' 0)" "$1" <<'P' || fail "name"
import struct, sys
path, old, new = sys.argv[1:]
b = bytearray(open(path, "rb").read())
at = b.index(old.encode())
assert len(new) <= len(old)
b[at - 4:at] = struct.pack(">I", len(new))
end = at + (len(old) + 7) // 8 * 8
rest = b[end:end + 4096]
b[at:at + len(new)] = new.encode()
move = at + (len(new) + 7) // 8 * 8
b[move:move + len(rest)] = rest
open(path, "wb").write(b)
P
}
opens() {
	"$TIDEMARK" serve --socket=s --quiet --live-folder=live "$@" d=own/i.qcow2 >out 2>err &
	local server=$! ok
	pids+=("$server")
	until_true 3 eval 'grep -q listening out || ! kill -0 '$server
	grep -q listening out
	ok=$?
	kill "$server" 2>/dev/null
	wait "$server" 2>/dev/null
	rm -f out own/*.tidemark
	return $ok
}
refused() {
	opens && fail "$1 was followed"
	grep -q "$2" err || fail "$1: $(cat err)"
}

for name in near sub/deep near-link "$PWD/own/near"; do
	image "$name"
	opens || fail "$name: $(cat err)"
done
echo "ok - within the folder"
for name in ../other/secret "$PWD/other/secret" link /etc/passwd; do
	image "$name"
	refused "$name" "not in its own folder"
done
echo "ok - a backing file elsewhere"
for name in /dev/zero pipe sub; do
	image "$name"
	refused "$name" "no regular file"
done
for name in nbd://host/x 'json:{"driver":"file","filename":"/etc/passwd"}' ssh://h/x; do
	image "$name"
	refused "$name" "only files are supported"
done
echo "ok - devices, pipes, folders, protocols"
data ../other/secret
refused "data file" "not in its own folder"
data /etc/passwd
refused "data file" "not in its own folder"
data /dev/zero
refused "data file" "no regular file"
data near
opens || fail "a data file beside it: $(cat err)"
echo "ok - data files"
image ../other/secret
opens --allow-folder=other || fail "allowed: $(cat err)"
image /etc/passwd
opens --allow-folder=other && fail "beside what is allowed"
echo "ok - a folder that is allowed"
