#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# `make run-disk`, with more kills: Linux on a served disk, whose server dies
# three times under it. And a server that forgot what was written is found out.
. "${SRC:?}/tests/sh/lib.sh"
for p in qemu-system-x86_64 cpio busybox; do
	command -v $p >/dev/null || { echo "skip: there is no $p"; exit 77; }
done
need_guest_kernel
run=$SRC/examples/run-disk/run
KILLS=3 FILES=16 timeout 400 "$run" "$TIDEMARK" "$kernel" >"$dir/out" 2>&1 || fail "$(cat "$dir/out")"
[ "$(grep -c 'is killed with -9' "$dir/out")" = 3 ] || fail "kills: $(cat "$dir/out")"
grep -q 'verified 16 files' "$dir/out" || fail "$(cat "$dir/out")"
grep -q ' 0 are missing$' "$dir/out" || fail "$(cat "$dir/out")"
tail -2 "$dir/out"

cat >"$dir/forgets" <<E2
#!/bin/sh
[ "\$1" = diff ] || exec "$TIDEMARK" "\$@"
echo '{"changed": [{"byte_offset": 0, "size_bytes": 65536}], "complete": true, "granularity_bytes": 65536}'
E2
chmod +x "$dir/forgets"
KILLS=0 FILES=2 timeout 300 "$run" "$dir/forgets" "$kernel" >"$dir/out" 2>&1 && fail "it believes anything"
grep -q 'is not in the diff' "$dir/out" || fail "$(cat "$dir/out")"
ls /dev/shm/run-disk.* >/dev/null 2>&1 && fail "it leaves something behind"
echo ok
