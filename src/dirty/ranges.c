/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tree to ranges: block by block of 64 words, led by the summaries.
 *
 * One level-1 word says which words of a block are not empty. Where many are,
 * the vector kernel makes the edges of the whole block; where few are, only
 * they and the words right behind them are looked at. Blocks without a bit
 * are jumped over at level 2. Whether a run is open when a block begins is
 * whether an odd number of edges was stored, so that a block needs no look at
 * the one before.
 */
#include "dirty/ranges.h"

#include <stdbool.h>

#include "base/atomic.h"
#include "bits/block.h"

/* From so many non-empty words of 64 on, edges are made for all of them. */
#define DENSE_WORDS 20

struct walk {
	const struct tide__tree *tree;
	const struct tide__kernels *kernels;
	bool still;			/* nobody writes to the tree */
	uint64_t cursor;		/* pages before it count as clear */
	struct tide__block block;
};

/* Which words of block @at have bits, as far as the summary knows. */
static uint64_t words_in_use(const struct walk *w, uint64_t at)
{
	if (w->tree->levels == 1)
		return ~UINT64_C(0);
	/* Relaxed: a concurrent mark may or may not be seen. */
	return tide__load_relaxed(&w->tree->level[1][at]);
}

/*
 * Edges of the words in @used, one by one. A word that is not in use is 0: it
 * has an edge only if the word before ends in a run, and then at its bit 0.
 */
static void few_edges(struct walk *w, uint64_t at, uint64_t used, bool open)
{
	const uint64_t *leaf = w->tree->level[0] + at * TIDE__BLOCK_WORDS;
	uint64_t skip = w->cursor > w->block.page ? w->cursor - w->block.page
						  : 0;
	uint64_t words = w->tree->words[0] - at * TIDE__BLOCK_WORDS;
	uint64_t exist = tide__mask_below(words);
	uint64_t todo = used & exist & tide__mask_from((unsigned int)(skip / 64));
	uint64_t zero = ~todo & exist, mask = open ? zero & 1 : 0;
	uint64_t carry = open && !mask, previous = 0;

	w->block.e[0] = 1;	/* counts only if it is in the mask */
	while (todo) {
		unsigned int i = tide__lowest_bit(todo);
		/* Pairs with nothing: see words_in_use. */
		uint64_t u = tide__load_relaxed(&leaf[i]), e;

		if (i == skip / 64)
			u &= tide__mask_from(skip % 64);
		e = u ^ (u << 1 | (i == previous ? carry : 0));
		w->block.e[i] = e;
		mask |= (uint64_t)(e != 0) << i;
		carry = u >> 63;
		previous = i + 1;
		if (__builtin_expect(carry && i < 63 &&
				     zero >> (i + 1) & 1, 0)) {
			w->block.e[i + 1] = 1;
			mask |= UINT64_C(2) << i;
		}
		todo &= todo - 1;
	}
	w->block.mask = mask;
}

/*
 * A tree that was cut lies in the third cache at best, and a few words a block
 * are no pattern that the processor would see: ask for lines AHEAD blocks on.
 */
#define AHEAD 8

static void ask_ahead(const struct tide__tree *tree, uint64_t at)
{
	const uint64_t *leaf = tree->level[0] + at * TIDE__BLOCK_WORDS;
	uint64_t used = at < tree->words[1] ? tree->level[1][at] : 0;

	while (used) {
		unsigned int line = tide__lowest_bit(used) / 8 * 8;

		__builtin_prefetch(leaf + line);
		used &= ~(UINT64_C(0xff) << line);
	}
}

static void block_edges(struct walk *w, uint64_t at, uint64_t used, bool open)
{
	const uint64_t *leaf = w->tree->level[0] + at * TIDE__BLOCK_WORDS;

	w->block.page = at * TIDE__BLOCK_PAGES;
	if (!w->still || at == 0 || w->cursor > w->block.page - 1 ||
	    tide__count_bits(used) < DENSE_WORDS ||
	    (at + 1) * TIDE__BLOCK_WORDS > w->tree->words[0]) {
		few_edges(w, at, used, open);
		return;
	}
	w->kernels->find_edges(leaf, leaf, 1, w->block.e, &w->block.mask);
}

/* The first block from @at on that may have bits. */
static uint64_t next_block(const struct tide__tree *tree, uint64_t at)
{
	if (tree->levels == 1)
		return at;
	/* Relaxed: see words_in_use. The usual case where much is dirty. */
	if (at < tree->words[1] && tide__load_relaxed(&tree->level[1][at]))
		return at;
	if (tree->levels > 2)
		return tide__tree_next_at(tree, 2, at);
	/* Level 1 is the top: its words are looked at one by one. */
	while (at < tree->words[1] &&
	       !tide__load_relaxed(&tree->level[1][at]))
		at++;
	return at;
}

size_t tide__tree_ranges(const struct tide__tree *tree,
			 const struct tide__kernels *kernels, bool still,
			 uint64_t *cursor, struct tide_range *ranges,
			 size_t max)
{
	struct walk w = { .tree = tree, .kernels = kernels, .still = still,
			  .cursor = *cursor };
	uint64_t *flat = (uint64_t *)ranges;
	uint64_t blocks = (tree->words[0] + TIDE__BLOCK_WORDS - 1) /
			  TIDE__BLOCK_WORDS;
	uint64_t at = *cursor / TIDE__BLOCK_PAGES;
	size_t n = 0, room = 2 * max;

	while (n < room) {
		uint64_t used;

		if (!(n % 2))
			at = next_block(tree, at);
		if (at >= blocks) {
			if (n % 2)
				flat[n++] = tree->pages;
			break;
		}
		used = words_in_use(&w, at);
		if (still && tree->levels > 1)
			ask_ahead(tree, at + AHEAD);
		if (used || n % 2) {
			block_edges(&w, at, used, n % 2);
			n = tide__block_drain(&w.block, kernels, flat, n, room);
		}
		at++;
	}
	*cursor = n < room || !n ? tree->pages : flat[n - 1];
	kernels->pairs(flat, n / 2);
	return n / 2;
}
