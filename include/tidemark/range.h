/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A run of pages (or blocks): half-open, [first, first + count).
 */
#ifndef TIDEMARK_RANGE_H
#define TIDEMARK_RANGE_H

#include <stdint.h>

/*
 * The page size for everything that concerns memory: sets that sources mark in,
 * slots, the migration stream. It is KVM's unit, whatever backs the memory and
 * whatever the host's page size. The set of a disk may use another unit, since
 * a set knows only numbers.
 */
#define TIDE_PAGE_BYTES 4096u

struct tide_range {
	uint64_t first;		/* page number */
	uint64_t count;		/* pages; 0 only in an empty range */
};

#endif
