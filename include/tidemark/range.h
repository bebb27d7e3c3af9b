/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A run of pages (or blocks): half-open, [first, first + count).
 */
#ifndef TIDEMARK_RANGE_H
#define TIDEMARK_RANGE_H

#include <stdint.h>

/*
 * A page of everything that concerns memory: of sets that sources mark in, of
 * slots, of a migration's wire. It is what KVM counts in, whatever backs the
 * memory and whatever the host's own pages are. A set of a disk may use another
 * unit: the set itself knows numbers only.
 */
#define TIDE_PAGE_BYTES 4096u

struct tide_range {
	uint64_t first;		/* page number */
	uint64_t count;		/* pages; 0 only in an empty range */
};

#endif
