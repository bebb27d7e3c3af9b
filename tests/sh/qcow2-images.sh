#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# qcow2 check against images of the reference tool and its own verdicts: the
# packed ones of tests/data, and all of the recorded ones where those are there.
# The image itself must never change.
. "${SRC:?}/tests/sh/lib.sh"

command -v zstd >/dev/null || { echo "SKIP: no zstd"; exit 77; }

# check IMAGE: its exit status, within a minute and 1 GiB of memory.
check() {
	(
		limit_memory 1048576
		timeout 60 "$TIDEMARK" qcow2 check --json "$1"
	) >"$dir/out" 2>"$dir/err"
}

while read -r name want; do
	case $name in '#'*) continue ;; esac
	zstd -qdc "$SRC/tests/data/qcow2/$name.qcow2.zst" >"$dir/x.qcow2"
	check "$dir/x.qcow2"
	code=$?
	[ $code = "$want" ] || fail "$name: exit status $code, not $want: $(cat "$dir/out" "$dir/err")"
	"$TIDEMARK" qcow2 info --json "$dir/x.qcow2" >"$dir/info" || fail "$name: info"
	python3 -m json.tool "$dir/info" >/dev/null || fail "$name: info is no JSON"
	echo "ok - $name: $want"
done <"$SRC/tests/data/qcow2/verdicts"

images=$recorded/images
if [ ! -f "$images/images.tar.zst" ]; then
	echo "# SKIP: the full set of images is not there"
	exit 0
fi
mkdir "$dir/all" && zstd -qdc --long=27 "$images/images.tar.zst" | tar x -C "$dir/all" ||
	fail "images.tar.zst cannot be unpacked"

# kind, the reference tool's exit status, leaks and corruptions as it saw them
verdict() {
	python3 - "$1" <<-'P'
	import json, sys
	j = json.load(open(sys.argv[1]))
	o = j["qemu_img_check"]["out"]
	leaks = o.get("leaks", 0) if isinstance(o, dict) else 0
	print(j["kind"], j["qemu_img_check"]["rc"], leaks)
	P
}

n=0
for f in "$images"/*.json; do
	name=$(basename "$f" .json)
	image=$dir/all/$name.qcow2
	[ -f "$image" ] || continue
	read -r kind want leaks < <(verdict "$f")
	before=$(sha256sum <"$image")
	check "$image"
	code=$?
	[ "$before" = "$(sha256sum <"$image")" ] || fail "$name: changed by check"
	case $kind:$code:$want in
	corrupt:1:1) [ -s "$dir/err" ] || fail "$name: no reason given" ;;
	# What the reference tool does not open, or does not see, is found here.
	corrupt:2:*) ;;
	corrupt:3:3 | edited:"$want":*) ;;
	good:0:0 | killed:[023]:"$code") ;;
	*) fail "$name ($kind): exit status $code, the reference tool says $want" ;;
	esac
	if [ $code = 3 ]; then
		[ "$(field "$dir/out" leaks)" = "$leaks" ] ||
			fail "$name: $(field "$dir/out" leaks) leaks, not $leaks"
	fi
	n=$((n + 1))
	echo "ok - $name ($kind): $code"
done
[ $n -ge 50 ] || fail "only $n images were tried"
