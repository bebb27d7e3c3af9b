#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The demo through the command: every source on Unix sockets and TCP, and the
# process that plays a guest; its JSON has what is promised.
. "$SRC/tests/sh/lib.sh"

# Others run demos, too, and what they have there is theirs.
mkdir "$dir/own"
export TMPDIR=$dir/own
check() {
	"$TIDEMARK" demo --json --memory=64M --warm-up=100 --stop-anyway "$@" >"$dir/out" ||
		fail "demo $* ended with $?"
	python3 - "$dir/out" <<'P' || fail "demo $*: JSON"
import json, sys
j = json.load(open(sys.argv[1]))
for name in ("accel", "source", "rounds", "downtime_ms", "total_ms",
             "bytes_sent", "verified"):
    assert name in j, name
assert j["verified"] is True
assert j["rounds"][0]["kind"] == "bulk" and j["rounds"][-1]["kind"] == "stop"
for r in j["rounds"]:
    for name in ("pages", "ranges", "bytes", "ms", "harvest_us",
                 "longest_vcpu_stall_us"):
        assert name in r, name
assert 0 < j["downtime_ms"] < j["total_ms"]
assert j["bytes_sent"] >= sum(r["bytes"] for r in j["rounds"])
P
	echo "ok - demo $*"
}

check --accel=process --pattern=zipf
check --accel=process --pattern=mixed --tcp --channels=4
if "$TIDEMARK" sources --json | grep -A1 '"ring"' | grep -q true; then
	check --source=log-manual --pattern=mixed
	check --source=log-legacy --tcp --channels=4 --hole --slots=3
	check --source=ring --pattern=sequential --vcpus=4 --zstd=1
	check --source=uffd --pattern=hotset --channels=4
else
	echo "ok - demo on KVM # skip KVM does not work here: see tidemark sources"
fi
plain=$("$TIDEMARK" demo --memory=32M --warm-up=50 --accel=process --stop-anyway) ||
	fail "plain demo"
case $plain in
*$'\r'* | *$'\033'*) fail "control characters where there is no terminal" ;;
esac
echo "ok - plain lines without a terminal"
leftover=$(ls -A "$TMPDIR")
[ -z "$leftover" ] || fail "left behind: $leftover"
echo "ok - nothing is left behind"
