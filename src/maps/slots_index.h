/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The index of a view: from a guest address to its interval, in a fixed number
 * of loads and without a branch.
 *
 * Slots and the gaps between them are intervals alike, numbered in order: gap
 * 2i lies before slot i, slot i is interval 2i + 1. The index is a page-radix
 * tree whose cells hold {base, mask}: the next cell is base + (page bits &
 * mask). Where an interval covers all that a cell stands for, the mask is 0,
 * and the rest of the walk passes cells of that interval alone: big and small
 * slots, hits and misses, take the same steps, so there is nothing for the
 * processor to guess wrong. Nine address bits a level; the top level has as
 * many cells as the highest slot needs:
 *
 *    top cell --> {base, mask} --> ... --> leaf cell: number of the interval
 *
 * Slots that are few and far apart would need a table each. When the tables
 * take more than a bound the view has no index, and its sorted starts are
 * searched instead (slots_view.h).
 */
#ifndef TIDE_MAPS_SLOTS_INDEX_H
#define TIDE_MAPS_SLOTS_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/slots.h"

struct tide__slot_index {
	uint64_t *cell;		/* base | mask << 32; the top is at 0 */
	uint32_t *leaf;
	uint64_t top_cells;	/* one more stands for all above */
	uint32_t top_shift;
	uint64_t bytes;
};

/*
 * Index the @count slots, in order of guest addresses. index->cell is NULL
 * where the tables would be too big. 0 or -ENOMEM.
 */
int tide__slot_index_init(struct tide__slot_index *index,
			  const struct tide_slot *slot, uint32_t count);
void tide__slot_index_fini(struct tide__slot_index *index);

/* From a cell to the next: @shift is that of the level below. */
static inline uint64_t tide__slot_index_step(uint64_t cell, uint64_t gpa,
					     uint32_t shift)
{
	return (uint32_t)cell + ((gpa >> shift) & (cell >> 32));
}

/* The number of the interval that holds @gpa: odd if it is a slot. */
static inline uint32_t
tide__slot_index_find(const struct tide__slot_index *index, uint64_t gpa)
{
	uint64_t at = gpa >> index->top_shift, cell;

	cell = index->cell[at < index->top_cells ? at : index->top_cells];
	/* The same way for all lookups in a map: nothing to guess here. */
	for (uint32_t shift = index->top_shift - 9; shift > 21; shift -= 9)
		cell = index->cell[tide__slot_index_step(cell, gpa, shift)];
	cell = index->cell[tide__slot_index_step(cell, gpa, 21)];
	return index->leaf[tide__slot_index_step(cell, gpa, 12)];
}

#endif
