#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The spin model of marker against taker: the protocol as written must hold,
# and the model must find the lost mark in each way of breaking it.
set -euo pipefail

command -v spin >/dev/null || { echo "SKIP: spin is not installed"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# prints the number of errors that an exhaustive search finds
errors()
{
	spin "$@" -a "$SRC/model/mark-take.pml" >spin.log 2>&1 ||
		{ cat spin.log >&2; return 1; }
	${CC:-cc} -O2 -w -DSAFETY -DVECTORSZ=2048 -o pan pan.c
	./pan -m100000 >pan.log
	grep -q 'max search depth too small' pan.log && return 1
	sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log
}

n=0
check()		# check NAME EXPECTED FLAGS...
{
	local name=$1 expected=$2 found
	shift 2
	n=$((n + 1))
	found=$(errors "$@")
	if [ "$found" = "$expected" ]; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name: errors: $found, expected $expected"
	fi
}

echo 1..5
check 'no mark is lost' 0
check 'found: marker without barrier' 1 -DNO_MARKER_BARRIER
check 'found: taker without barrier' 1 -DNO_TAKER_BARRIER
check 'found: leaf tested without fence' 1 -DNO_TEST_FENCE
check 'found: marker stops at the leaf' 1 -DSTOP_AT_LEAF
