/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flat bitmaps whose length is any number of bits: whole words go through the
 * kernels, the ends through masks.
 */
#include "bits/kernels.h"
#include "bits/word.h"
#include "tidemark/scan.h"

uint64_t tide_bitmap_count(const uint64_t *words, uint64_t pages)
{
	uint64_t whole = pages / TIDE__WORD_BITS;
	uint64_t count = tide__kernels_pick()->count(words, whole);

	if (pages % TIDE__WORD_BITS)
		count += tide__count_bits(words[whole] &
					  tide__mask_below(pages %
							   TIDE__WORD_BITS));
	return count;
}

uint64_t tide_bitmap_find(const uint64_t *words, uint64_t pages, uint64_t from)
{
	uint64_t at = from / TIDE__WORD_BITS, n = tide__words_for(pages);
	uint64_t first, page;

	if (from >= pages)
		return pages;
	first = words[at] & tide__mask_from(from % TIDE__WORD_BITS);
	if (!first) {
		at++;
		at += tide__kernels_pick()->find_first(words + at, n - at);
		if (at == n)
			return pages;
		first = words[at];
	}
	page = at * TIDE__WORD_BITS + tide__lowest_bit(first);
	return page < pages ? page : pages;
}

void tide_bitmap_union(uint64_t *into, const uint64_t *from, uint64_t pages)
{
	uint64_t whole = pages / TIDE__WORD_BITS;

	tide__kernels_pick()->merge(into, from, whole);
	if (pages % TIDE__WORD_BITS)
		into[whole] |= from[whole] &
			       tide__mask_below(pages % TIDE__WORD_BITS);
}

void tide_bitmap_fill(uint64_t *words, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;
	uint64_t at = first / TIDE__WORD_BITS, last = end / TIDE__WORD_BITS;
	uint64_t head = tide__mask_from(first % TIDE__WORD_BITS);
	uint64_t tail = tide__mask_below(end % TIDE__WORD_BITS);

	if (!count)
		return;
	if (at == last) {
		words[at] |= head & tail;
		return;
	}
	words[at++] |= head;
	tide__kernels_pick()->fill(words + at, last - at);
	if (tail)
		words[last] |= tail;
}
