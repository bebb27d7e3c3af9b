/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A run of pages (or blocks): half-open, [first, first + count).
 */
#ifndef TIDEMARK_RANGE_H
#define TIDEMARK_RANGE_H

#include <stdint.h>

struct tide_range {
	uint64_t first;		/* page number */
	uint64_t count;		/* pages; 0 only in an empty range */
};

#endif
