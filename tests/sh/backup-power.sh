#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Power cuts on the destination of backups and prunes, at one step in four;
# CAMPAIGN=1: at each, with several seeds. STRIDE= and SEED= for others.
. "$SRC/tests/sh/lib.sh"

/usr/bin/python3 -c 'import nbd' 2>/dev/null || { echo "SKIP: no python3-libnbd"; exit 77; }
[ -z "${SANITIZED:-}" ] || { echo "SKIP: a preload and a sanitizer do not go together"; exit 77; }
"$TIDEMARK" backup nbd+unix:///x?socket=/none "$dir/none" 2>&1 | grep -q "without libnbd" &&
	{ echo "SKIP: built without libnbd"; exit 77; }
seeds=${SEED:-1}
if [ -n "${CAMPAIGN:-}" ]; then
	seeds=${SEED:-1 2 3 4 5} STRIDE=${STRIDE:-1}
fi
for seed in $seeds; do
	mkdir "$dir/$seed"
	timeout 1800 /usr/bin/python3 "$SRC/tests/support/backup_power.py" "$TIDEMARK" \
		"$dir/$seed" "$BUILD/tests/support/power_cut.so" "${STRIDE:-4}" "$seed" ||
		fail "what was reported did not survive"
done
exit 0
