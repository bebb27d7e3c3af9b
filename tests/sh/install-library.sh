#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# An installed Tidemark serves a stranger: header, pkg-config, shared and static
# library are found where they were installed, a program builds against each
# and runs, no internal symbol shows, and shells find their completion.
set -euo pipefail
[ -z "${SANITIZED:-}" ] || { echo "SKIP: a sanitizer's library is not for strangers"; exit 77; }
dir=$(mktemp -d)
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
if nm -D --defined-only "$so" | awk '{print $3}' |
	grep -Ev '^(tide_[a-z]|TIDEMARK_)'; then
	echo "the shared library shows symbols that are not public"
	exit 1
fi
