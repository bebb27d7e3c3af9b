#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The hot paths take as many instructions as were recorded, within 3 %: counted by
# callgrind on fixed inputs, so that neither the machine nor its load matters. What
# became cheaper is to be recorded, too: RECORD=1. Instructions of another compiler
# are others: then it skips. AVX2 at most, as valgrind knows no more.
. "$SRC/tests/sh/lib.sh"

program=$BUILD/tests/support/hot-paths
record=$SRC/tests/data/hot-paths.txt
skip() { echo "skipped: $*"; exit 77; }

command -v valgrind >/dev/null || skip "no valgrind"
# It says the name that it was called by: cc is the same gcc.
built=$("$program" | sed -n 's/^built //p' | sed 's/^cc (/gcc (/')
[ -n "${RECORD:-}" ] || [ "$(sed -n 's/^built //p' "$record")" = "$built" ] ||
	skip "recorded for $(sed -n 's/^built //p' "$record"), this is $built"

# instructions NAME ISA: of what the function `measured` does. Nothing of the
# environment: its length is looked through by who asks for the ISA.
instructions() {
	env -i TIDEMARK_ISA="$2" valgrind --tool=callgrind \
		--toggle-collect=measured --callgrind-out-file=/dev/null \
		"$program" "$1" >"$dir/out" 2>"$dir/err" ||
		fail "$1 with $2: $(tail -3 "$dir/err")"
	sed -n 's/.*Collected : //p' "$dir/err"
}

isas="scalar"
grep -qw avx2 /proc/cpuinfo && isas="avx2 scalar"
echo "built $built" >"$dir/now"
for name in $("$program" | grep -v '^built'); do
	for isa in $isas; do
		case $name in		# the others have no kernels
		scan-*|cut-*) ;;
		*) [ "$isa" = scalar ] || continue ;;
		esac
		echo "$name $isa $(instructions "$name" "$isa")" >>"$dir/now"
	done
done
if [ -n "${RECORD:-}" ]; then
	cp "$dir/now" "$record"
	exit
fi
awk '
	FNR == 1 { next }
	NR == FNR { want[$1 " " $2] = $3; next }
	{
		key = $1 " " $2
		ratio = want[key] ? $3 / want[key] : 0
		good = ratio > 0.97 && ratio < 1.03
		printf "%s - %s: %d, %.3f of what was recorded\n",
			good ? "ok" : "not ok", key, $3, ratio
		bad += !good
	}
	END { exit bad > 0 }' "$record" "$dir/now" ||
	fail "see above; if it is meant so: RECORD=1 tests/sh/hot-paths.sh"
