#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The NEON kernels against the scalar ones, cross-compiled and emulated.
set -euo pipefail

cc=aarch64-linux-gnu-gcc
for tool in $cc qemu-aarch64; do
	command -v $tool >/dev/null ||
		{ echo "SKIP: no $tool"; exit 77; }
done
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$SRC"
$cc -std=gnu11 -O2 -static -D_GNU_SOURCE -fno-strict-aliasing \
	-Wall -Wextra -Wno-missing-field-initializers \
	-Itests/cross -Iinclude -Isrc -o "$dir/scan_test" \
	tests/unit/scan_test.c src/base/error.c src/base/text.c \
	src/bits/{bitmap,kernels,scalar,neon,scan}.c
qemu-aarch64 "$dir/scan_test" | tee "$dir/out"
grep -qx '# neon' "$dir/out"
