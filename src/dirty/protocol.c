/* SPDX-License-Identifier: BSD-2-Clause */
#include "dirty/protocol.h"

#include "base/atomic.h"
#include "bits/word.h"

/* M2: from the leaf word upwards, every summary bit must be seen set. */
static void raise_summaries(struct tide__tree *live, uint64_t word)
{
	for (unsigned int level = 1; level < live->levels; level++) {
		uint64_t bit = UINT64_C(1) << (word % TIDE__WORD_BITS);
		uint64_t *summary;

		word /= TIDE__WORD_BITS;
		summary = &live->level[level][word];
		/*
		 * Pairs with T1, the taker's exchange of this word. Sequential
		 * consistency orders it after M1 (or after the fence of a
		 * marker that found its bits set).
		 */
		if (!(tide__load_seqcst(summary) & bit))
			tide__or_seqcst(summary, bit);
	}
}

void tide__mark_word(struct tide__tree *live, uint64_t word, uint64_t bits)
{
	uint64_t *leaf = &live->level[0][word];

	/*
	 * This first look only chooses the way: a clean page goes straight to
	 * the OR, whose barrier is the only one it pays for.
	 */
	if ((tide__load_relaxed(leaf) & bits) == bits) {
		/*
		 * Orders the caller's data store before the second look. Pairs
		 * with T2: if the taker's exchange precedes our look, we see 0
		 * and set the bit again; if it follows, whoever reads the page
		 * after the cut sees the data.
		 */
		tide__fence_seqcst();
		if ((tide__load_seqcst(leaf) & bits) == bits) {
			raise_summaries(live, word);
			return;
		}
	}
	/* M1. Pairs with T2, the taker's exchange of the leaf. */
	tide__or_seqcst(leaf, bits);
	raise_summaries(live, word);
}

static uint64_t take_leaf(struct tide__tree *live, struct tide__tree *into,
			  uint64_t word)
{
	uint64_t bits;

	/*
	 * An empty leaf under a summary is left alone, not dirtied. Its
	 * marker, if one is on its way, will find the summary gone: M2.
	 */
	if (!tide__load_seqcst(&live->level[0][word]))
		return 0;
	/* T2. Pairs with M1. */
	bits = tide__swap_seqcst(&live->level[0][word], 0);
	into->level[0][word] = bits;
	return tide__count_bits(bits);
}

static uint64_t take_below(struct tide__tree *live, struct tide__tree *into,
			   unsigned int level, uint64_t word)
{
	uint64_t bits, base = word * TIDE__WORD_BITS, taken = 0;

	if (level == 0)
		return take_leaf(live, into, word);
	/* T1. Pairs with M2, the marker's look at this summary. */
	bits = tide__swap_seqcst(&live->level[level][word], 0);
	into->level[level][word] = bits;
	while (bits) {
		unsigned int bit = tide__lowest_bit(bits);

		bits &= bits - 1;
		taken += take_below(live, into, level - 1, base + bit);
	}
	return taken;
}

uint64_t tide__take(struct tide__tree *live, struct tide__tree *into)
{
	return take_below(live, into, live->levels - 1, 0);
}
