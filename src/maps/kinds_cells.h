/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cells: one bit for so and so many clusters in a row, set if any of them bears
 * metadata, and perhaps otherwise. Most writes fall into a cell whose bit is
 * clear, and need not search the runs. There are 8 to 24 cells a run, so that
 * in an image whose tables lie apart about one cell in twelve is set, whatever
 * its size; the table costs 1 to 3 bytes a run. It is made anew when the runs
 * are half as many again, or the file is longer by an eighth.
 */
#ifndef TIDE_MAPS_KINDS_CELLS_H
#define TIDE_MAPS_KINDS_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/kinds_sheet.h"

struct tide__cells {
	uint64_t *bits;
	uint64_t n;		/* cells: a multiple of 64 */
	uint32_t shift;		/* a cell is 1 << shift clusters */
};

/*
 * There will be @runs runs, the last one ending at @end: -ENOMEM, or all that
 * follows cannot fail. What @sheet holds is then covered.
 */
int tide__cells_reserve(struct tide__cells *c, const struct tide__sheet *sheet,
			uint64_t runs, uint64_t end);
/* Clusters in [@from, @end) bear something now. */
void tide__cells_set(struct tide__cells *c, uint64_t from, uint64_t end);
/* They may bear less than before; @sheet knows. */
void tide__cells_review(struct tide__cells *c, const struct tide__sheet *sheet,
			uint64_t from, uint64_t end);
void tide__cells_fini(struct tide__cells *c);

/* False: no cluster in [@first, @last] bears anything. */
static inline bool tide__cells_maybe(const struct tide__cells *c,
				     uint64_t first, uint64_t last)
{
	first >>= c->shift;
	last >>= c->shift;
	if (first >= c->n)
		return false;
	/* A write of more than a cell is long: the search is nothing then. */
	return first != last || c->bits[first / 64] >> first % 64 & 1;
}

#endif
