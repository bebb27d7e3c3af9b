/* SPDX-License-Identifier: BSD-2-Clause */
#include "dirty/tree.h"

#include <errno.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "bits/word.h"

/*
 * The top level is searched word by word, so it may be some words long: that
 * saves markers a level, which is a look at memory for every mark, and costs an
 * idle cut a few hundred nanoseconds. A bitmap of so few words has no summary.
 */
#define TOP_WORDS 4096
#define BARE_WORDS 1024

#define HUGE_FROM_BYTES (UINT64_C(2) << 20)
#define HUGE_TO_BYTES (UINT64_C(1100) << 20)

static void lay_out(struct tide__tree *tree, uint64_t pages, bool coarse)
{
	uint64_t words = tide__words_for(pages);
	unsigned int n = 0;

	tree->pages = pages;
	tree->coarse = coarse;
	tree->words[n++] = words;
	if (words > BARE_WORDS) {
		if (coarse)
			words = (words + TIDE__UNIT_WORDS - 1) /
				TIDE__UNIT_WORDS;
		else
			tree->words[n++] = words = tide__words_for(words);
		do {
			words = tide__words_for(words);
			tree->words[n++] = words;
		} while (words > TOP_WORDS);
	}
	tree->levels = n;
}

int tide__tree_init(struct tide__tree *tree, uint64_t pages, bool coarse)
{
	uint64_t total = 0, *at;
	void *mapping;

	lay_out(tree, pages, coarse);
	for (unsigned int i = 0; i < tree->levels; i++)
		total += tree->words[i];
	total += tree->levels == 1;	/* the word that is said to be above */
	tree->mapping_bytes = total * sizeof(uint64_t);
	mapping = tide__map_sparse(tree->mapping_bytes);
	if (!mapping)
		return -ENOMEM;
	/*
	 * A cut waits for memory, and much of that for address translation:
	 * huge pages halve its time. Sets for guests past 32 TiB keep to small
	 * pages, so that a few marks in them do not cost megabytes each.
	 */
	if (tree->mapping_bytes >= HUGE_FROM_BYTES &&
	    tree->mapping_bytes <= HUGE_TO_BYTES)
		madvise(mapping, tree->mapping_bytes, MADV_HUGEPAGE);
	tree->mapping = at = mapping;
	for (unsigned int i = 0; i < tree->levels; i++) {
		tree->level[i] = at;
		at += tree->words[i];
	}
	if (tree->levels == 1) {
		tree->level[1] = at;
		*at = ~UINT64_C(0);
	}
	return 0;
}

void tide__tree_fini(struct tide__tree *tree)
{
	if (tree->mapping)
		munmap(tree->mapping, tree->mapping_bytes);
	tree->mapping = NULL;
}

/*
 * The loads are relaxed atomics because iterating and counting may look at a
 * live tree; they pair with nothing, and promise nothing about new marks.
 */
static uint64_t load(const struct tide__tree *tree, unsigned int level,
		     uint64_t word)
{
	return tide__load_relaxed(&tree->level[level][word]);
}

/* Is the next word of @level under the same bit of the level above as @word? */
static bool goes_on(const struct tide__tree *tree, unsigned int level,
		    uint64_t word)
{
	return level == tree->levels - 1 ||
	       (!level && tree->coarse && (word + 1) % TIDE__UNIT_WORDS);
}

/*
 * From bit @bit of @level on, climb until a word with a later set bit is
 * found, then descend. A summary may stand over empty words, so a descent
 * can end in nothing; the search then goes on behind them.
 */
uint64_t tide__tree_next_at(const struct tide__tree *tree, unsigned int bottom,
			    uint64_t bit)
{
	const uint64_t none = tree->words[bottom] * TIDE__WORD_BITS;
	unsigned int level = bottom;

	while (level < tree->levels) {
		uint64_t word = bit / TIDE__WORD_BITS, value;

		if (word >= tree->words[level])
			return none;
		value = load(tree, level, word) &
			tide__mask_from(bit % TIDE__WORD_BITS);
		if (!value && goes_on(tree, level, word)) {
			bit = (word + 1) * TIDE__WORD_BITS;
			continue;
		}
		if (!value) {
			/* what comes behind, one level up */
			bit = !level && tree->coarse
				  ? (word + 1) / TIDE__UNIT_WORDS : word + 1;
			level++;
			continue;
		}
		bit = word * TIDE__WORD_BITS + tide__lowest_bit(value);
		if (level == bottom)
			return bit;
		level--;
		bit *= TIDE__WORD_BITS;
		if (!level && tree->coarse)
			bit *= TIDE__UNIT_WORDS;
	}
	return none;
}

uint64_t tide__tree_next_set(const struct tide__tree *tree, uint64_t page)
{
	uint64_t found = tide__tree_next_at(tree, 0, page);

	return found < tree->pages ? found : tree->pages;
}

uint64_t tide__tree_next_clear(const struct tide__tree *tree, uint64_t page)
{
	uint64_t word = page / TIDE__WORD_BITS;
	uint64_t mask = tide__mask_from(page % TIDE__WORD_BITS);

	for (; word < tree->words[0]; word++) {
		uint64_t value = ~load(tree, 0, word) & mask;

		if (value) {
			page = word * TIDE__WORD_BITS + tide__lowest_bit(value);
			return page < tree->pages ? page : tree->pages;
		}
		mask = ~UINT64_C(0);
	}
	return tree->pages;
}

void tide__tree_raise(struct tide__tree *tree, uint64_t word)
{
	if (tree->coarse)
		word /= TIDE__UNIT_WORDS;
	for (unsigned int level = 1; level < tree->levels; level++) {
		uint64_t bit = UINT64_C(1) << (word % TIDE__WORD_BITS);

		word /= TIDE__WORD_BITS;
		tree->level[level][word] |= bit;
	}
}

void tide__tree_set(struct tide__tree *tree, uint64_t first, uint64_t count)
{
	uint64_t end = first + count;

	while (first < end) {
		uint64_t word = first / TIDE__WORD_BITS;
		uint64_t base = word * TIDE__WORD_BITS;

		tree->level[0][word] |=
		    tide__mask_from(first % TIDE__WORD_BITS) &
		    tide__mask_below(end - base);
		tide__tree_raise(tree, word);
		first = base + TIDE__WORD_BITS;
	}
}

/* Level-0 word @word became 0: lower the summaries that only it held up. */
static void lower(struct tide__tree *tree, uint64_t word)
{
	for (unsigned int level = 1; level < tree->levels; level++) {
		uint64_t bit = UINT64_C(1) << (word % TIDE__WORD_BITS);

		word /= TIDE__WORD_BITS;
		tree->level[level][word] &= ~bit;
		if (tree->level[level][word])
			return;
	}
}

uint64_t tide__tree_clear(struct tide__tree *tree, uint64_t first,
			  uint64_t count)
{
	uint64_t end = first + count, cleared = 0;

	/* Jump from set page to set page: empty stretches cost nothing. */
	while ((first = tide__tree_next_set(tree, first)) < end) {
		uint64_t word = first / TIDE__WORD_BITS;
		uint64_t base = word * TIDE__WORD_BITS;
		uint64_t mask = tide__mask_from(first % TIDE__WORD_BITS) &
				tide__mask_below(end - base);

		cleared += tide__count_bits(tree->level[0][word] & mask);
		tree->level[0][word] &= ~mask;
		if (!tree->level[0][word])
			lower(tree, word);
		first = base + TIDE__WORD_BITS;
	}
	return cleared;
}
