#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The spin model of marker against taker: the protocol as written must hold,
# and the model must find the lost mark in each way of breaking it.
MODEL=mark-take.pml
. "$SRC/tests/sh/spin.sh"

# Two cuts beside the markers are 50 million states: a minute, in a campaign.
cuts=-DCUTS=1
[ -z "${CAMPAIGN:-}" ] || cuts=-DCUTS=2
echo 1..7
check 'no mark is lost' 0 $cuts
check 'nor with fences in the marks' 0 $cuts -DFENCES
check 'found: marker without barrier' 1 -DNO_MARKER_BARRIER
check 'found: taker without barrier' 1 -DNO_TAKER_BARRIER
check 'found: neither fence nor barrier of all' 1 -DNO_ALL_BARRIER
check 'found: barrier of all before the leaves' 1 -DEARLY_ALL_BARRIER
check 'found: marker stops at the leaf' 1 -DSTOP_AT_LEAF
