/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cells, a filter in front of the runs: one bit for a fixed number of adjacent
 * clusters, which may be set needlessly, but is never clear when one of them
 * holds metadata. Most writes fall into a cell whose bit is clear, and skip the
 * search. There are 8 to 24 cells a run, so in an image whose tables lie apart
 * about one cell in twelve is set, whatever its size; the table costs 1 to 3
 * bytes a run. It is rebuilt when there are half as many runs again, or when
 * the file is longer by an eighth.
 */
#ifndef TIDE_MAPS_KINDS_CELLS_H
#define TIDE_MAPS_KINDS_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/kinds_btree.h"

struct tide__cells {
	uint64_t *bits;
	uint64_t n;		/* cells: a multiple of 64 */
	uint32_t shift;		/* a cell is 1 << shift clusters */
};

/*
 * Makes room for @runs runs, the last one ending at @end: -ENOMEM, or nothing
 * that follows can fail. The cells then cover what @tree holds.
 */
int tide__cells_reserve(struct tide__cells *c, const struct tide__btree *tree,
			uint64_t runs, uint64_t end);
/* Clusters in [@from, @end) hold metadata from now on. */
void tide__cells_set(struct tide__cells *c, uint64_t from, uint64_t end);
/* They may hold less than before: recomputes their cells from @tree. */
void tide__cells_refresh(struct tide__cells *c, const struct tide__btree *tree,
			 uint64_t from, uint64_t end);
void tide__cells_fini(struct tide__cells *c);

/* False: no cluster in [@first, @last] holds metadata. */
static inline bool tide__cells_maybe(const struct tide__cells *c,
				     uint64_t first, uint64_t last)
{
	first >>= c->shift;
	last >>= c->shift;
	if (first >= c->n)
		return false;
	/* A write across cells is long: beside it the search costs nothing. */
	return first != last || c->bits[first / 64] >> first % 64 & 1;
}

#endif
