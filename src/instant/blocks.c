/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/atomic.h"
#include "instant/internal.h"

static uint32_t at(uint64_t block)
{
	return 2 * (uint32_t)(block % INSTANT_BLOCKS_A_WORD);
}

enum instant_block instant_get(const struct instant *i, uint64_t block)
{
	/* internal.h has what this pairs with. */
	uint64_t word = tide__load_seqcst(
		&i->shared->states[block / INSTANT_BLOCKS_A_WORD]);

	return (enum instant_block)(word >> at(block) & 3);
}

bool instant_set(struct instant *i, uint64_t block, enum instant_block from,
		 enum instant_block to)
{
	uint64_t *word = &i->shared->states[block / INSTANT_BLOCKS_A_WORD];
	uint64_t old = tide__load_seqcst(word), new;

	do {
		if ((old >> at(block) & 3) != from)
			return false;
		new = (old & ~(UINT64_C(3) << at(block))) |
		      (uint64_t)to << at(block);
	} while (!tide__cas_seqcst(word, old, new));
	return true;
}
