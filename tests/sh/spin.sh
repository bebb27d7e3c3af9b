# SPDX-License-Identifier: BSD-2-Clause
# Sourced: exhaustive searches of a model, as TAP. MODEL is set by who sources.
set -euo pipefail

command -v spin >/dev/null || { echo "SKIP: spin is not installed"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# prints the number of errors that an exhaustive search finds
errors()
{
	spin "$@" -a "$SRC/model/$MODEL" >spin.log 2>&1 ||
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
