#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The spin model of a producer's ring: as written nothing is lost, and the model
# must find what is lost in each way of breaking it.
MODEL=ring.pml
. "$SRC/tests/sh/spin.sh"

echo 1..6
check 'nothing is lost' 0
check 'found: tail published before the slot' 1 -DTAIL_FIRST
check 'found: data behind the push' 1 -DDATA_LATE
check 'found: head published before the read' 1 -DHEAD_FIRST
check 'found: a full ring drops' 1 -DDROP_WHEN_FULL
check 'found: full is seen one too late' 1 -DFULL_ONE_LATE
