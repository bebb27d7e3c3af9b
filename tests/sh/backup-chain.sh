#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Incremental backups of a disk under write: every point is what cp saw of the
# disk at that moment; client and server killed with -9, at random and at each
# step. POINTS=, KILLS= and SEED= for campaigns.
. "$SRC/tests/sh/lib.sh"

/usr/bin/python3 -c 'import nbd' 2>/dev/null || { echo "SKIP: no python3-libnbd"; exit 77; }
"$TIDEMARK" backup nbd+unix:///x?socket=/none "$dir/none" 2>&1 | grep -q "without libnbd" &&
	{ echo "SKIP: built without libnbd"; exit 77; }
preload=$BUILD/tests/support/kill_at.so
[ -n "${SANITIZED:-}" ] && preload=
timeout 3600 /usr/bin/python3 "$SRC/tests/support/backup_chain.py" "$TIDEMARK" "$dir" \
	"${POINTS:-20}" "${KILLS:-12}" "${SEED:-1}" ${preload:+"$preload"} ||
	fail "the chain is not what the disk was"
exit 0
