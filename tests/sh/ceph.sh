# SPDX-License-Identifier: BSD-2-Clause
# Shared by the tests that need a Ceph cluster: one of their own on loopback,
# in memory, in this test's folder. Sourced after lib.sh.
for tool in ceph-mon ceph-osd ceph rbd monmaptool; do
	command -v $tool >/dev/null || {
		echo "skip: there is no $tool (scripts/setup ceph installs it)"
		exit 77
	}
done
ceph=$dir/ceph
export CEPH_CONF=$ceph/ceph.conf CEPH_ARGS=

free_port() {
	python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

ceph_conf() {
	cat <<C
[global]
fsid = $1
mon host = v2:127.0.0.1:$2/0
auth cluster required = none
auth service required = none
auth client required = none
public addr = 127.0.0.1
cluster addr = 127.0.0.1
run dir = $ceph
crash dir = $ceph
admin socket = $ceph/\$name.\$pid.asok
log file = $ceph/\$name.log
mon data = $ceph/mon.\$id
osd data = $ceph/osd.\$id
osd objectstore = memstore
memstore device bytes = 2147483648
osd pool default size = $3
osd pool default min size = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
osd client watch timeout = 5
osd heartbeat grace = 3
osd heartbeat interval = 1
mon osd min down reporters = 1
mon osd adjust heartbeat grace = false
C
}

# start_osd ID: its pid in osd_pids.
start_osd() {
	mkdir -p "$ceph/osd.$1"
	timeout 60 ceph osd create >/dev/null || fail "ceph osd create"
	ceph-osd -i "$1" --mkfs >/dev/null 2>&1 || fail "ceph-osd --mkfs"
	ceph-osd -f -i "$1" >"$ceph/osd.$1.out" 2>&1 &
	osd_pids[$1]=$!
	pids+=($!)
}

# start_ceph OSDS COPIES: with a pool rbd.
start_ceph() {
	local port fsid
	mkdir -p "$ceph"
	port=$(free_port)
	fsid=$(cat /proc/sys/kernel/random/uuid)
	ceph_conf "$fsid" "$port" "$2" >"$CEPH_CONF"
	monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$port]" \
		"$ceph/monmap" >/dev/null || fail "monmaptool"
	ceph-mon --mkfs -i a --monmap "$ceph/monmap" 2>/dev/null ||
		fail "ceph-mon --mkfs"
	ceph-mon -f -i a >"$ceph/mon.out" 2>&1 &
	pids+=($!)
	osd_pids=()
	for id in $(seq 0 $(($1 - 1))); do
		start_osd "$id"
	done
	timeout 60 ceph osd pool create rbd 8 >/dev/null 2>&1 ||
		fail "ceph osd pool create: $(tail -3 "$ceph/mon.out")"
	# Until its groups are there, the first request waits.
	timeout 60 rbd create rbd/first --size 4M ||
		fail "rbd create: $(tail -3 "$ceph/osd.0.out")"
}

# Who waits for a cluster that does not answer ends all the same.
rbd() {
	timeout 120 "$(type -P rbd)" "$@"
}
