#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Processes killed with -9 in every round, and a migration called off: the guest
# runs on, whole, and the next attempt moves it. A killed source leaves no
# running copy, since the receiver does not run a guest that is not whole.
. "$SRC/tests/sh/lib.sh"

rounds=${ROUNDS:-0 1 2 3}

migrates() { [ "$(state "$dir/near")" = "migrating True" ]; }
# in_round K: wait until round K is being sent (the one before has ended).
in_round() {
	[ "$1" = 0 ] && {
		until_true 30 migrates
		return
	}
	until_true 20 grep -q "^round *$(($1 - 1)) " "$dir/migrate.out"
}

start_near --footprint=8M
sleep 1
for k in $rounds; do
	start_far
	start_migration --bandwidth=10M
	in_round "$k" || fail "round $k did not come: $(cat "$dir/migrate.out")"
	kill -9 "$far"
	wait "$migrate"
	code=$?
	[ $code = 1 ] || fail "receiver killed in round $k: exit code $code"
	grep -q "tidemark vm migrate:" "$dir/migrate.out" || fail "no reason"
	[ "$(state "$dir/near")" = "running True" ] || fail "not running"
	echo "ok - receiver killed in round $k"
done

start_far
start_migration --bandwidth=10M
in_round 2
kill -INT "$migrate"
wait "$migrate"
runs_on() { [ "$(state "$dir/near")" = "running True" ]; }
until_true 30 runs_on ||
	fail "called off, but: $(state "$dir/near")"
until_true 10 sh -c "! kill -0 $far" || fail "the receiver lives on"
echo "ok - called off with SIGINT"

"$TIDEMARK" vm verify --control="$dir/near" || fail "the guest lost something"
start_far
start_migration
wait "$migrate" || fail "the next attempt: $(cat "$dir/migrate.out")"
[ "$(state "$dir/near")" = "moved False" ] || fail "$(state "$dir/near")"
# Its state follows after the answer that it runs.
runs_there() { [ "$(state "$dir/far")" = "running True" ]; }
until_true 30 runs_there || fail "$(state "$dir/far")"
"$TIDEMARK" vm verify --control="$dir/far" || fail "not verified"
"$TIDEMARK" vm resume --force --control="$dir/near" 2>/dev/null &&
	fail "a guest that moved was resumed"
echo "ok - moved at the next attempt, verified, not to be resumed at the source"
"$TIDEMARK" vm stop --control="$dir/far"
"$TIDEMARK" vm stop --control="$dir/near"
wait "$near" "$far"

for k in $rounds; do
	rm -f "$dir/near"
	start_near --footprint=8M
	sleep 1
	start_far
	start_migration --bandwidth=10M
	in_round "$k" || fail "round $k did not come"
	kill -9 "$near"
	wait "$migrate"
	[ $? = 1 ] || fail "source killed in round $k: the client's exit code"
	until_true 10 sh -c "! kill -0 $far" ||
		fail "the receiver lives on without a source: $(state "$dir/far")"
	grep -q "tidemark vm receive:" "$dir/far.out" || fail "no reason"
	echo "ok - source killed in round $k"
done
