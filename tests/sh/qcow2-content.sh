#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Real images of the reference tool: what the driver reads is what that tool
# reads; what it writes into them leaves them clean and equal for that tool.
. "$SRC/tests/sh/lib.sh"

tool=$BUILD/tests/support/disk-tool
images=$recorded/images
if [ ! -f "$images/images.tar.zst" ]; then
	echo "SKIP: the images and their verdicts are not beside the project"
	exit 77
fi
zstd -qdc --long=27 "$images/images.tar.zst" | tar x -C "$dir" ||
	fail "images.tar.zst cannot be unpacked"
cd "$dir" || exit 1		# data files are named from here

# name, kind and sha256 of the content, where it is known
python3 - "$images" >list <<'P'
import glob, json, os, sys
for f in sorted(glob.glob(sys.argv[1] + "/*.json")):
    j = json.load(open(f))
    c = j.get("guest_content") or {}
    print(os.path.basename(f)[:-5], j["kind"], c.get("sha256", "-"))
P

same=0
refused=0
written=0
while read -r name kind sum; do
	if [ "$name" = luks ]; then
		"$tool" read luks.qcow2 out 2>err && fail "luks was read"
		grep -q encrypted err || fail "luks: $(cat err)"
		continue
	fi
	if [ "$sum" = - ]; then
		# Too large to keep a sum, or unopenable for the reference tool.
		[ "$kind" = corrupt ] || continue
		timeout 60 "$tool" read "$name.qcow2" out 2>err
		[ $? -le 1 ] || fail "$name: the driver ended with $?"
		continue
	fi
	if ! timeout 60 "$tool" read "$name.qcow2" out 2>err; then
		[ "$kind" = corrupt ] || fail "$name: $(cat err)"
		refused=$((refused + 1))
		continue
	fi
	got=$(sha256sum <out)
	[ "${got%% *}" = "$sum" ] || fail "$name: the content differs"
	same=$((same + 1))

	command -v qemu-img >/dev/null || continue
	[ "$kind" = good ] || continue
	"$tool" scribble "$name.qcow2" out 7 2>err || fail "$name: $(cat err)"
	# The lists of bitmaps say that they missed writes; nothing leaks.
	qemu-img check -q "$name.qcow2" >err 2>&1 ||
		fail "$name after writes: $(cat err)"
	qemu-img compare -q -F raw "$name.qcow2" out >err 2>&1 ||
		fail "$name after writes: $(cat err)"
	written=$((written + 1))
done <list
[ $same -ge 28 ] || fail "only $same images were compared"
echo "$same images read alike, $written written, $refused damaged refused"

# Snapshots of an image that was written still hold what they held.
for name in snap3-c4k snap2-v2 snap-40; do
	command -v qemu-img >/dev/null || break
	n=$(qemu-img snapshot -l "$name.qcow2" | awk 'NR > 2 { print $2; exit }')
	rm -rf fresh && mkdir fresh
	zstd -qdc --long=27 "$images/images.tar.zst" |
		tar x -C fresh "$name.qcow2" || fail "unpacking $name"
	qemu-img convert -q -l "snapshot.name=$n" -O raw "fresh/$name.qcow2" a &&
		qemu-img convert -q -l "snapshot.name=$n" -O raw "$name.qcow2" b ||
		fail "$name: converting $n"
	cmp -s a b || fail "$name: snapshot $n changed"
done
