#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The spin model of the slot map's gate: the protocol as written must hold, and
# the model must find the use of what was freed in each way of breaking it.
MODEL=slots-gate.pml
. "$SRC/tests/sh/spin.sh"

echo 1..6
check 'nothing in use is freed' 0
check 'found: no membarrier' 1 -DNO_MEMBARRIER
check 'found: pins are looked at first' 1 -DLOOK_AT_PINS_FIRST
check 'found: left before pinned' 1 -DLEAVE_FIRST
check 'found: used without a pin' 1 -DNO_PIN
check 'found: a pin keeps one change only' 1 -DPIN_IS_ONE
