#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Completion in bash, zsh and fish, where the shell exists: each command and
# each option of --help is offered, and a group by itself lists its commands.
. "${SRC:?}/tests/sh/lib.sh"

commands() { "$TIDEMARK" --help | sed -n 's/^  \([a-z0-9]*\( [a-z0-9-]*\)\?\)  .*/\1/p'; }

for group in vm qcow2 trace; do
	"$TIDEMARK" $group --help >"$dir/help" 2>"$dir/err" || fail "$group --help"
	commands | grep "^$group " | while read -r c; do
		grep -q "^  $c " "$dir/help" || fail "$group --help lacks $c"
	done || exit 1
	[ -s "$dir/err" ] && fail "$group --help: $(cat "$dir/err")"
	"$TIDEMARK" $group >"$dir/out" 2>"$dir/err"
	[ $? = 2 ] || fail "$group by itself"
	[ ! -s "$dir/out" ] && diff -q "$dir/help" "$dir/err" >/dev/null || fail "$group says $(cat "$dir/err")"
	"$TIDEMARK" $group frob 2>"$dir/err"
	[ $? = 2 ] && grep -q "no command '$group frob'" "$dir/err" || fail "$group frob"
done
echo "ok - groups list their commands"

for shell in bash zsh fish; do
	"$TIDEMARK" completion $shell >"$dir/$shell" || fail "completion $shell"
done
"$TIDEMARK" completion tcsh 2>/dev/null
[ $? = 2 ] || fail "completion tcsh"
"$TIDEMARK" completion | cmp -s - "$dir/bash" || fail "bash is not the default"

# offers SHELL WORD...: what may stand in the last place, one a line.
offers_bash() {
	bash -c ". '$dir/bash'; COMP_WORDS=(tidemark \"\$@\"); COMP_CWORD=\$#; _tidemark; printf '%s\n' \"\${COMPREPLY[@]}\"" - "$@"
}
# The two builtins of zsh's completion stand in as printers.
offers_zsh() {
	zsh -fc '_describe() { print -rl -- ${${(P)argv[-1]}%%:*} };
		_arguments() { print -rl -- ${${${@#\*}%%\[*}%%:*} }; compdef() { };
		. "$0"; words=(tidemark "$@"); CURRENT=$#words; _tidemark' "$dir/zsh" "$@"
}
offers_fish() {
	fish -N -c "source $dir/fish; complete -C '$(printf '%s ' tidemark "$@" | sed 's/ $//')'" | cut -f1
}

for shell in bash zsh fish; do
	command -v $shell >/dev/null || { echo "skip - no $shell here"; continue; }
	[ $shell = zsh ] && { zsh -n "$dir/zsh" || fail "zsh cannot read it"; }
	offers_$shell '' >"$dir/first"
	options=0
	while read -r c; do
		one=${c%% *}
		grep -qx "$one" "$dir/first" || fail "$shell: no $one: $(cat "$dir/first")"
		if [ "$one" != "$c" ]; then
			offers_$shell "$one" '' >"$dir/second"
			grep -qx "${c#* }" "$dir/second" || fail "$shell: $one has no ${c#* }"
		fi
		# shellcheck disable=SC2086
		offers_$shell $c -- >"$dir/has"
		# shellcheck disable=SC2086
		for o in $("$TIDEMARK" $c --help | grep -o '^  --[a-z0-9-]*' | grep -v -- '--help'); do
			grep -qx -- "$o=\?" "$dir/has" || fail "$shell: $c has no $o: $(cat "$dir/has")"
			options=$((options + 1))
		done
	done < <(commands)
	[ $options -gt 50 ] || fail "$shell: only $options options were looked at"
	echo "ok - $shell offers all commands and $options options"
done
