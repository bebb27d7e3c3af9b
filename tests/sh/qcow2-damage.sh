#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Images of all shapes, one to five fields or entries of each damaged at once:
# what the reference tool could read of the disk and of a snapshot can be read
# after a repair, and after one with --accept-loss, too, but for what it listed.
# SEED, CASES and ONLY choose the script; 100 images by default, 1,000 with
# CAMPAIGN set, each of them repaired by the reference tool, too.
. "${SRC:?}/tests/sh/lib.sh"
command -v qemu-io >/dev/null || { echo "SKIP: no qemu-io"; exit 77; }
# Thousands of small files, each synced: not on a disk, where that can be.
if [ -w /dev/shm ]; then
	rm -rf "$dir"
	dir=$(mktemp -d /dev/shm/tidemark.XXXXXX) || exit 1
fi
cd "$dir" || exit 1
[ -z "${CAMPAIGN:-}" ] || export CASES="${CASES:-1000}" COMPARE=1
python3 "$SRC/tests/support/qcow2_damage.py" "$TIDEMARK" || fail "data that could be read is lost"
echo "ok - what could be read can still be read"
