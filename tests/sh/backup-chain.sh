#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Incremental backups of a disk under write: every point is what cp saw of the
# disk at that moment; client and server killed with -9, at random and at each
# step (of which one in four is met here). CAMPAIGN=1: 300 kills and every step;
# POINTS=, KILLS=, STRIDE= and SEED= for others.
. "$SRC/tests/sh/lib.sh"

/usr/bin/python3 -c 'import nbd' 2>/dev/null || { echo "SKIP: no python3-libnbd"; exit 77; }
"$TIDEMARK" backup nbd+unix:///x?socket=/none "$dir/none" 2>&1 | grep -q "without libnbd" &&
	{ echo "SKIP: built without libnbd"; exit 77; }
preload=$BUILD/tests/support/kill_at.so
[ -n "${SANITIZED:-}" ] && preload=
if [ -n "${CAMPAIGN:-}" ]; then
	KILLS=${KILLS:-300} STRIDE=${STRIDE:-1}
fi
export STRIDE=${STRIDE:-4}
timeout 7200 /usr/bin/python3 "$SRC/tests/support/backup_chain.py" "$TIDEMARK" "$dir" \
	"${POINTS:-12}" "${KILLS:-6}" "${SEED:-1}" ${preload:+"$preload"} ||
	fail "the chain is not what the disk was"
exit 0
