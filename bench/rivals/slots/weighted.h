/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_RIVALS_WEIGHTED_H
#define BENCH_RIVALS_WEIGHTED_H

#include <stdint.h>

/* How deep the slot that starts at @gpa lies; the root is at 1. */
uint32_t slotmap_weighted_depth(const void *map, uint64_t gpa);

#endif
