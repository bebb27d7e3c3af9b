#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The spin model of marker against taker: the protocol as written must hold,
# and the model must find the lost mark in each way of breaking it.
MODEL=mark-take.pml
. "$SRC/tests/sh/spin.sh"

echo 1..5
check 'no mark is lost' 0
check 'found: marker without barrier' 1 -DNO_MARKER_BARRIER
check 'found: taker without barrier' 1 -DNO_TAKER_BARRIER
check 'found: leaf tested without fence' 1 -DNO_TEST_FENCE
check 'found: marker stops at the leaf' 1 -DSTOP_AT_LEAF
