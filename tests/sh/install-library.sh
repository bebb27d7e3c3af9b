#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# An installed Tidemark serves a stranger: headers, pkg-config, shared and static
# libraries are found where they were installed, a program builds against each
# and runs, no internal symbol shows, and shells find their completion.
set -euo pipefail
[ -z "${SANITIZED:-}" ] || { echo "SKIP: a sanitizer's library is not for strangers"; exit 77; }
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

DESTDIR=$dir meson install -C "$BUILD" --no-rebuild >"$dir/log"
for f in bash-completion/completions/tidemark zsh/site-functions/_tidemark \
	fish/vendor_completions.d/tidemark.fish; do
	[ -s "$(find "$dir" -path "*/share/$f")" ] || { echo "no $f"; exit 1; }
done
pc=$(find "$dir" -name tidemark.pc)
prefix=$dir$(sed -n 's/^prefix=//p' "$pc")
export PKG_CONFIG_PATH=${pc%/*}
flags="--define-variable=prefix=$prefix"
cat >"$dir/user.c" <<'C'
#include <tidemark/error.h>
#include <string.h>
int main(void)
{
	struct tide_error e;
	tide_error_set(&e, -5, "user", 1, "hello %d", 1);
	return strcmp(e.text, "hello 1");
}
C
# shellcheck disable=SC2046
{
	cc "$dir/user.c" -o "$dir/shared" $(pkg-config $flags --cflags --libs tidemark)
	cc "$dir/user.c" -o "$dir/static" $(pkg-config $flags --cflags tidemark) \
		"$(find "$dir" -name libtidemark.a)" \
		$(pkg-config --static --libs libzstd libxxhash) -pthread
}
so=$(find "$dir" -name 'libtidemark.so')
LD_LIBRARY_PATH=${so%/*} "$dir/shared"
"$dir/static"
# The second library: its example, both ways.
# shellcheck disable=SC2046
{
	cc "$SRC/examples/disk.c" -o "$dir/disk" $(pkg-config $flags --cflags --libs tidemark-disk) \
		-Wl,-rpath-link,"${so%/*}"
	cc "$SRC/examples/disk.c" -o "$dir/disk-static" $(pkg-config $flags --cflags tidemark-disk) \
		"$(find "$dir" -name libtidemark-disk.a)" "$(find "$dir" -name libtidemark.a)" \
		$(pkg-config --static --libs libzstd libxxhash zlib liburing) -pthread
}
LD_LIBRARY_PATH=${so%/*} "$dir/disk" "$dir"
"$dir/disk-static" "$dir"
# Each links what docs/dependencies.md says, and nothing else.
needs() {
	readelf -d "${so%/*}/$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\.so.*/\1/p' |
		grep -vxE 'ld-linux.*|libpthread' | sort | xargs
}
[ "$(needs libtidemark.so)" = "libc libzstd" ] ||
	{ echo "libtidemark needs $(needs libtidemark.so)"; exit 1; }
[ "$(needs libtidemark-disk.so)" = "libc libtidemark liburing libz libzstd" ] ||
	{ echo "libtidemark-disk needs $(needs libtidemark-disk.so)"; exit 1; }
if nm -D --defined-only "${so%/*}/libtidemark-disk.so" | awk '{print $3}' |
	grep -Ev '^(tide_(disk|queue|qcow2|io)_[a-z]|TIDEMARK_DISK_)'; then
	echo "the disk library shows symbols that are not public"
	exit 1
fi
# What it shows is declared, and what is declared it shows.
diff <(nm -D --defined-only "${so%/*}/libtidemark-disk.so" |
	sed -n 's/.* \(tide_[a-z0-9_]*\)@.*/\1/p' | sort) \
	<(cc -E -P -I"$SRC/include" -include tidemark/disk_driver.h -include tidemark/qcow2.h -xc /dev/null |
		grep -oE '\btide_(disk|queue|qcow2|io)_[a-z0-9_]+\(' | tr -d '(' | sort -u) ||
	{ echo "headers and symbols differ"; exit 1; }
if nm -D --defined-only "$so" | awk '{print $3}' |
	grep -Ev '^(tide_[a-z]|TIDEMARK_)'; then
	echo "the shared library shows symbols that are not public"
	exit 1
fi
