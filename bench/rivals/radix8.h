/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The packed tree of bytes of 2016, written afresh: level 0 is the bitmap as
 * bytes, each level above has one bit a byte below. The published code lost
 * pages where the size is a power of 8; this one does not.
 */
#ifndef BENCH_RIVALS_RADIX8_H
#define BENCH_RIVALS_RADIX8_H

#include "../measure.h"

struct radix8 {
	unsigned int levels;
	unsigned char *level[20];
	uint64_t bytes[20], total;
};

void radix8_init(struct radix8 *t, uint64_t pages);
void radix8_fini(struct radix8 *t);
void radix8_clear(struct radix8 *t);
void radix8_mark(struct radix8 *t, uint64_t page);
struct bench_found radix8_compact(const struct radix8 *t);

#endif
