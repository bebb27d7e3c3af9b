# SPDX-License-Identifier: BSD-2-Clause
# Shared by the behaviour tests: a folder of their own, and its end.
set -u
# Recordings of real guests and images: beside the checkout, unless said.
recorded=${TIDEMARK_RECORDED:-${SRC:-.}/../shared}
dir=$(mktemp -d) || exit 1
pids=()
finish() {
	# Not of a subshell that ends otherwise than it should.
	[ "$BASHPID" = "$$" ] || return 0
	for p in "${pids[@]}"; do
		kill -9 "$p" 2>/dev/null
	done
	rm -rf "$dir"
}
trap finish EXIT

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# $kernel: a Linux for a guest; without one the test is skipped.
need_guest_kernel() {
	kernel=${TIDEMARK_GUEST_KERNEL:-$BUILD/guest-kernel}
	[ -s "$kernel/release" ] && return
	echo "skip: no kernel for a guest in $kernel; scripts/guest-kernel brings one"
	exit 77
}

# Memory at most, in KiB; a sanitizer's build cannot be limited so.
limit_memory() {
	[ -n "${SANITIZED:-}" ] || ulimit -v "$1"
}

# until_true SECONDS COMMAND...: poll until the command succeeds. Never less than
# half a minute: what is usually there at once may take long on a busy machine.
# Of a file that another command fills, remove the one before: >out of what runs
# in the background comes after the first look.
until_true() {
	local end=$((EPOCHSECONDS + ($1 > 30 ? $1 : 30)))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $EPOCHSECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

# field FILE NAME: value of a field of the JSON object in FILE.
field() {
	python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"
}

state() {
	"$TIDEMARK" vm status --control="$1" --json 2>/dev/null |
		python3 -c 'import json,sys; s=json.load(sys.stdin); print(s["state"], s["running"])'
}

start_near() {
	"$TIDEMARK" vm run --control="$dir/near" --serial=/dev/null \
		--memory=32M --vcpus=2 --pattern=uniform --rate=3000 "$@" &
	near=$!
	pids+=("$near")
	# Its socket has a name before anybody listens there.
	until_true 30 "$TIDEMARK" vm status --control="$dir/near" ||
		fail "the guest did not start"
}

start_far() {
	rm -f "$dir/far" "$dir/wire" "$dir/far.out"
	"$TIDEMARK" vm receive --control="$dir/far" --listen="unix:$dir/wire" \
		--once --stall-timeout=20000 >"$dir/far.out" 2>&1 &
	far=$!
	pids+=("$far")
	until_true 10 grep -q listening "$dir/far.out" ||
		fail "the receiver did not start: $(cat "$dir/far.out")"
}

# Slow enough for a person, or a test, to act inside a round.
start_migration() {
	"$TIDEMARK" vm migrate --control="$dir/near" --downtime=0 \
		--max-rounds=12 --max-throttle=0 --stop-anyway \
		--stall-timeout=20000 "$@" "unix:$dir/wire" \
		>"$dir/migrate.out" 2>&1 &
	migrate=$!
	pids+=("$migrate")
}

# serve WORD...: disks in this folder, on ./s, with ./c to control it and its
# live files in ./live; what it says is in ./out and ./err.
serve() {
	rm -f out
	mkdir -p live
	"$TIDEMARK" serve --socket=s --control=c --live-folder=live --quiet \
		"$@" >out 2>err &
	server=$!
	pids+=("$server")
	until_true 60 grep -q listening out || fail "no server: $(cat err)"
}

finish_server() {
	kill "$server"
	wait "$server" || fail "exit status $?: $(cat err)"
}
