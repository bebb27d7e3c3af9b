/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a block of 64 edge words to a caller's batch of ranges.
 *
 * The batch is treated as a flat array of page numbers, two a range; a run is
 * open if an odd number has been stored. Only complete runs leave a batch.
 */
#ifndef TIDE_BITS_BLOCK_H
#define TIDE_BITS_BLOCK_H

#include "bits/kernels.h"
#include "bits/word.h"
#include "tidemark/range.h"

_Static_assert(sizeof(struct tide_range) == 2 * sizeof(uint64_t),
	       "a batch of ranges is a flat row of numbers");

struct tide__block {
	uint64_t e[TIDE__BLOCK_WORDS];
	uint64_t mask;		/* words of e that are not 0 and not done */
	uint64_t page;		/* of bit 0 of e[0] */
};

/* Move edges into flat[n, room); returns the new n. */
static inline size_t tide__block_drain(struct tide__block *block,
				       const struct tide__kernels *kernels,
				       uint64_t *flat, size_t n, size_t room)
{
	if (room >= n + TIDE__WORD_BITS)
		n = (size_t)(kernels->decode(block->e, &block->mask,
					     block->page, flat + n,
					     flat + room - TIDE__WORD_BITS) -
			     flat);
	/* The last places of a batch, where a whole word may not fit. */
	while (block->mask && n < room) {
		unsigned int i = tide__lowest_bit(block->mask);
		uint64_t e = block->e[i];

		flat[n++] = block->page + i * TIDE__WORD_BITS +
			    tide__lowest_bit(e);
		block->e[i] = e & (e - 1);
		if (!block->e[i])
			block->mask &= block->mask - 1;
	}
	return n;
}

#endif
