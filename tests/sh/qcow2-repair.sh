#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# qcow2 repair: good images stay byte for byte what they are; what can be
# repaired without loss is clean afterwards, for the reference tool, too, and
# the guest reads the same; what cannot is left until loss is accepted.
. "${SRC:?}/tests/sh/lib.sh"

command -v zstd >/dev/null || { echo "SKIP: no zstd"; exit 77; }
command -v qemu-img >/dev/null || { echo "SKIP: no qemu-img to judge"; exit 77; }

# Cannot be repaired without giving something up.
lossy=" bad-l1-to-reftable bad-data-past-eof bad-l2-over-l1
 bad-l2-unaligned bad-snapshots-past-eof bad-truncated-l2 "

# try IMAGE NAME [OPTION]: repair a copy; status in $code, copy in $dir/y.qcow2
try() {
	cp --sparse=always "$1" "$dir/y.qcow2"
	shift 2
	timeout 60 "$TIDEMARK" qcow2 repair --json "$@" "$dir/y.qcow2" >"$dir/out" 2>"$dir/err"
	code=$?
}

clean() {
	[ $code = 0 ] || fail "$1: repair ended with $code: $(cat "$dir/out" "$dir/err")"
	qemu-img check -q "$dir/y.qcow2" >"$dir/q" 2>&1 ||
		fail "$1: the reference tool is not content: $(head -3 "$dir/q")"
}

one() {
	local image=$1 name=$2 before
	"$TIDEMARK" qcow2 check "$image" >/dev/null 2>&1
	before=$?
	try "$image" "$name"
	if [ $before -le 1 ]; then
		[ $code = $before ] || fail "$name: repair ended with $code, not $before"
		cmp -s "$image" "$dir/y.qcow2" || fail "$name: written to without need"
	elif [[ $lossy == *" $name "* || $lossy == *" $name"$'\n'* ]]; then
		[ $code = 2 ] || fail "$name: ended with $code though something is lost"
		try "$image" "$name" --accept-loss
		clean "$name"
	else
		clean "$name"
		# What the reference tool opened before reads the same now.
		if qemu-img info "$image" >/dev/null 2>&1; then
			qemu-img compare -q "$image" "$dir/y.qcow2" 2>/dev/null ||
				fail "$name: the guest reads something else"
		fi
	fi
	echo "ok - $name: $before -> $code"
}

while read -r name _; do
	case $name in '#'*) continue ;; esac
	zstd -qdc "$SRC/tests/data/qcow2/$name.qcow2.zst" >"$dir/x.qcow2"
	one "$dir/x.qcow2" "$name"
done <"$SRC/tests/data/qcow2/verdicts"

# Somebody else has the image open: repair keeps away.
zstd -qdc "$SRC/tests/data/qcow2/lazy-killed.qcow2.zst" >"$dir/x.qcow2"
if command -v qemu-io >/dev/null; then
	qemu-io -f qcow2 -c 'sleep 120000' "$dir/x.qcow2" >/dev/null 2>&1 &
	pids+=($!)
	inode=$(stat -c %i "$dir/x.qcow2")
	until_true 10 grep -q ":$inode " /proc/locks || fail "qemu-io did not open the image"
	"$TIDEMARK" qcow2 repair "$dir/x.qcow2" >/dev/null 2>"$dir/err" &&
		fail "an image that is open elsewhere was repaired"
	grep -q "is in use" "$dir/err" || fail "$(cat "$dir/err")"
	echo "ok - repair keeps away from an open image"
fi

images=$recorded/images
if [ ! -f "$images/images.tar.zst" ]; then
	echo "# SKIP: the full set of images is not there"
	exit 0
fi
mkdir "$dir/all" && zstd -qdc --long=27 "$images/images.tar.zst" | tar x -C "$dir/all"
for image in "$dir"/all/*.qcow2; do
	one "$image" "$(basename "$image" .qcow2)"
done
