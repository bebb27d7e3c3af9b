/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A window: what a point says about one stretch of the disk, put together from
 * its own bits, the deltas from its epoch on, and the live bits. It covers one
 * page of bits at a time, so that it needs no memory but its own; or all of
 * the disk, as an image.
 */
#ifndef TIDE_CBT_WINDOW_H
#define TIDE_CBT_WINDOW_H

#include "cbt/image.h"

struct cbt;
struct cbt_point;

struct cbt_window {
	uint64_t before; /* 0, where the kernels look for the word before */
	uint64_t words[CBT_PAGE_WORDS];
	uint64_t first; /* bit, a multiple of CBT_PAGE_BITS */
	uint32_t shift;
};

/* Under the lock: w->first and w->shift are given, and nothing after @until. */
void cbt_window_fill(struct cbt_window *w, const struct cbt *c,
		     const struct cbt_point *p, uint64_t until);
/* All that @p says, into an image of its granularity or another. 0, -ENOMEM. */
int cbt_gather(const struct cbt *c, const struct cbt_point *p,
	       struct cbt_image *into);
/* But for the epoch that runs. */
int cbt_gather_past(const struct cbt *c, const struct cbt_point *p,
		    struct cbt_image *into);

#endif
