#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# What the command promises on its command line: --help everywhere, exit codes,
# errors that say what is wrong, completion that bash accepts, and manuals that
# say the same as --help.
. "$SRC/tests/sh/lib.sh"

commands() { "$TIDEMARK" --help | sed -n 's/^  \([a-z0-9]*\( [a-z0-9-]*\)\?\)  .*/\1/p'; }

expect() {
	local want=$1 text=$2
	shift 2
	"$TIDEMARK" "$@" >"$dir/out" 2>"$dir/err"
	local code=$?
	[ $code = "$want" ] || fail "tidemark $*: exit code $code, not $want"
	[ -z "$text" ] || grep -q -- "$text" "$dir/err" || fail "tidemark $*: '$(cat "$dir/err")' lacks '$text'"
	echo "ok - tidemark $*"
}

while read -r c; do
	# shellcheck disable=SC2086
	"$TIDEMARK" $c --help >"$dir/help" || fail "$c --help"
	page=$SRC/man/tidemark-${c// /-}.1
	[ -f "$page" ] || fail "$c has no manual"
	grep -o -- '^  --[a-z0-9-]*' "$dir/help" | tr -d ' ' | sort >"$dir/a"
	grep -o '^\.It Fl Fl [a-z0-9-]*' "$page" | sed 's/.* /--/' | sort >"$dir/b"
	diff "$dir/a" "$dir/b" >"$dir/diff" || fail "$c: --help and manual differ: $(cat "$dir/diff")"
	if command -v mandoc >/dev/null; then
		mandoc -T lint -W warning "$page" >"$dir/lint" || fail "$c: $(cat "$dir/lint")"
	fi
	echo "ok - $c: --help and its manual agree"
done < <(commands)

python3 "$SRC/scripts/make-man" "$TIDEMARK" --check || fail "a manual is not what --help says"
echo "ok - ranges, defaults and texts of the manuals are those of --help"

# The exit codes of the source are those of tidemark(1), and each is had below
# or, of moving guests, in vm-control and vm-receive.
sed -n 's/^	CLI_[A-Z_]* = \([0-9]*\),.*/\1/p' "$SRC/cli/commands.h" >"$dir/a"
sed -n '/^.Sh EXIT STATUS/,/^.Sh SEE/s/^.It \([0-9]*\)$/\1/p' "$SRC/man/tidemark.1" >"$dir/b"
[ -s "$dir/a" ] && diff "$dir/a" "$dir/b" || fail "exit codes of source and manual differ"
echo "ok - exit codes are documented"

expect 0 "" --version
expect 2 "no command 'frob'" frob
expect 2 "there is no option" demo --frob
expect 2 "a size (64K" demo --memory=12Q
expect 2 "no such pattern" demo --pattern=frob
expect 2 "needed" vm run
expect 2 "one address" vm migrate --control=x
expect 1 "No such file" vm status --control="$dir/none"
expect 1 "steps of 2M" vm run --control="$dir/c" --memory=9M
expect 1 "is no address" vm receive --control="$dir/c" --listen=frob
"$TIDEMARK" completion >"$dir/completion" && bash -n "$dir/completion" || fail "completion"
bash -c ". '$dir/completion'; COMP_WORDS=(tidemark demo --so); COMP_CWORD=2; _tidemark; [[ \${COMPREPLY[*]} == --source=* ]]" || fail "completing --so"
bash -c ". '$dir/completion'; COMP_WORDS=(tidemark vm mi); COMP_CWORD=2; _tidemark; [[ \${COMPREPLY[*]} == migrate ]]" || fail "completing vm mi"
echo "ok - completion"

start_near --slots=1
expect 4 "runs already" vm resume --control="$dir/near"
expect 1 "No such file" vm migrate --control="$dir/near" "unix:$dir/none"
start_far
expect 5 "converge" vm migrate --control="$dir/near" --downtime=0 --max-rounds=2 --max-throttle=0 "unix:$dir/wire"
expect 0 "" vm verify --control="$dir/near"
expect 0 "" vm stop --control="$dir/near"
