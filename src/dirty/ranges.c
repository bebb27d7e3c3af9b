/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a tree to ranges: in blocks of 64 words, guided by the summaries.
 *
 * In a fine tree a level-1 word says which words of a block are not empty. If
 * many are, the SIMD kernel finds the edges of the whole block; if few are,
 * only they and the words right after them are examined. In a coarse tree a
 * block is examined as a whole. Empty blocks are skipped. A run is open at the
 * start of a block if an odd number of edges has been stored, so that the
 * previous block need not be examined.
 */
#include "dirty/ranges.h"

#include <stdbool.h>

#include "base/atomic.h"
#include "bits/block.h"

/* From so many non-empty words of 64 on, edges are made for all of them. */
#define DENSE_WORDS 20
#define BUSY_BLOCKS 64
#define UNITS (TIDE__BLOCK_WORDS / TIDE__UNIT_WORDS)

struct walk {
	const struct tide__tree *tree;
	const struct tide__kernels *kernels;
	bool still;			/* nobody writes to the tree */
	uint64_t cursor;		/* pages before it count as clear */
	uint64_t group;			/* of 64 blocks */
	uint64_t blocks;		/* which of them may have bits */
	struct tide__block block;
};

/* Which words of block @at have bits, as far as the summary knows. */
static uint64_t words_in_use(const struct walk *w, uint64_t at)
{
	if (w->tree->levels == 1 || w->tree->coarse)
		return tide__tree_has_block(w->tree, at) ? ~UINT64_C(0) : 0;
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
	uint64_t todo = used & exist &
			tide__mask_from((unsigned int)(skip / 64));
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
 * The same straight into the batch, which has 64 places for each of the words
 * and for one more. Two edges are stored at once, whether there are so many or
 * not: a page alone, the usual case, then takes no branch that could be guessed
 * wrong. Returns the new @n.
 */
static size_t few_ranges(const struct walk *w, uint64_t at, uint64_t used,
			 uint64_t *flat, size_t n)
{
	const uint64_t *leaf = w->tree->level[0] + at * TIDE__BLOCK_WORDS;
	uint64_t page = at * TIDE__BLOCK_PAGES, todo = used;
	uint64_t exist = tide__mask_below(w->tree->words[0] -
					  at * TIDE__BLOCK_WORDS);

	/* A run that is open ends here, or goes on in word 0. */
	if (n % 2 && !(used & 1))
		flat[n++] = page;
	while (todo) {
		unsigned int i = tide__lowest_bit(todo);
		/* Pairs with nothing: see words_in_use. */
		uint64_t u = tide__load_relaxed(&leaf[i]);
		uint64_t e = u ^ (u << 1 | (n % 2));
		uint64_t base = page + i * TIDE__WORD_BITS, next = e & (e - 1);
		unsigned int edges = tide__count_bits(e);

		todo &= todo - 1;
		/*
		 * Where there is no edge any number will do: it is not counted.
		 */
		flat[n] = base + tide__lowest_bit(e | UINT64_C(1) << 63);
		flat[n + 1] = base + tide__lowest_bit(next | UINT64_C(1) << 63);
		for (size_t k = n + 2; __builtin_expect(k < n + edges, 0);
		     k++) {
			next &= next - 1;
			flat[k] = base + tide__lowest_bit(next);
		}
		n += edges;
		if (n % 2 && i < 63 && exist >> (i + 1) & 1 &&
		    !(used >> (i + 1) & 1))
			flat[n++] = base + TIDE__WORD_BITS;
	}
	return n;
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

/*
 * Edges of a block that is being written to, or whose word before is not to be
 * seen: of a copy, since the kernel looks at each word more than once.
 */
static void copied_edges(struct walk *w, const uint64_t *leaf, bool open)
{
	uint64_t copy[1 + TIDE__BLOCK_WORDS], all = ~UINT64_C(0);

	copy[0] = (uint64_t)open << 63;
	for (unsigned int i = 0; i < TIDE__BLOCK_WORDS; i++) {
		/* Pairs with nothing: see words_in_use. */
		uint64_t u = tide__load_relaxed(&leaf[i]);

		copy[1 + i] = u;
		all &= u;
	}
	w->block.mask = 0;
	if (!open || ~all)
		w->kernels->find_edges(copy + 1, copy + 1, 1, w->block.e,
				       &w->block.mask);
}

/*
 * How many blocks from @at on have bits in every word: the kernel then takes
 * them at once, since a long run has nothing to say in any of them.
 */
static uint64_t busy_blocks(const struct walk *w, uint64_t at)
{
	const struct tide__tree *tree = w->tree;
	uint64_t n = 1, max = tree->words[0] / TIDE__BLOCK_WORDS - at;

	if (tree->levels == 1 || tree->coarse)
		return 1;
	while (n < max && n < BUSY_BLOCKS && !~tree->level[1][at + n])
		n++;
	return n;
}

/* Edges of block @at, or of one after it: returns how many were without. */
static uint64_t block_edges(struct walk *w, uint64_t at, uint64_t used,
			    bool open)
{
	const uint64_t *leaf = w->tree->level[0] + at * TIDE__BLOCK_WORDS;
	uint64_t blocks, skipped;

	w->block.page = at * TIDE__BLOCK_PAGES;
	if (w->cursor > w->block.page ||
	    tide__count_bits(used) < DENSE_WORDS ||
	    (at + 1) * TIDE__BLOCK_WORDS > w->tree->words[0]) {
		few_edges(w, at, used, open);
		return 0;
	}
	if (!w->still || w->cursor == w->block.page) {
		copied_edges(w, leaf, open);
		return 0;
	}
	blocks = busy_blocks(w, at);
	skipped = w->kernels->find_edges(leaf, leaf, blocks, w->block.e,
					 &w->block.mask);
	skipped -= skipped == blocks;
	w->block.page += skipped * TIDE__BLOCK_PAGES;
	return skipped;
}

/*
 * The first block from @at on that may have bits. The summaries of 64 blocks
 * are one word: it is looked at once for all of them. Relaxed loads: see
 * words_in_use.
 */
static uint64_t next_block(struct walk *w, uint64_t at)
{
	const struct tide__tree *tree = w->tree;
	uint64_t group = at / TIDE__WORD_BITS, left;

	if (tree->levels == 1)
		return at;
	if (tree->coarse)
		return tide__tree_next_at(tree, 1, at * UNITS) / UNITS;
	if (group != w->group && group < tree->words[2]) {
		w->group = group;
		w->blocks = tide__load_relaxed(&tree->level[2][group]);
	}
	left = group == w->group ?
	    w->blocks & tide__mask_from(at % TIDE__WORD_BITS) : 0;
	if (left)
		return group * TIDE__WORD_BITS + tide__lowest_bit(left);
	return tide__tree_next_at(tree, 2, (group + 1) * TIDE__WORD_BITS);
}

size_t tide__tree_ranges(const struct tide__tree *tree,
			 const struct tide__kernels *kernels, bool still,
			 uint64_t *cursor, struct tide_range *ranges,
			 size_t max)
{
	struct walk w;
	uint64_t *flat = (uint64_t *)ranges;
	uint64_t blocks = (tree->words[0] + TIDE__BLOCK_WORDS - 1) /
			  TIDE__BLOCK_WORDS;
	uint64_t at = *cursor / TIDE__BLOCK_PAGES;
	size_t n = 0, room = 2 * max;

	/* Not by initialiser: that would clear the block as well. */
	w.tree = tree;
	w.kernels = kernels;
	w.still = still;
	w.cursor = *cursor;
	w.group = UINT64_MAX;
	while (n < room) {
		uint64_t used;

		if (!(n % 2))
			at = next_block(&w, at);
		if (at >= blocks) {
			if (n % 2)
				flat[n++] = tree->pages;
			break;
		}
		used = words_in_use(&w, at);
		if (still && tree->levels > 1 && !tree->coarse)
			ask_ahead(tree, at + AHEAD);
		if (used && w.cursor <= at * TIDE__BLOCK_PAGES &&
		    tide__count_bits(used) < DENSE_WORDS &&
		    room - n > 64 * (tide__count_bits(used) + 1)) {
			n = few_ranges(&w, at, used, flat, n);
		} else if (used || n % 2) {
			at += block_edges(&w, at, used, n % 2);
			n = tide__block_drain(&w.block, kernels, flat, n, room);
		}
		at++;
	}
	*cursor = n < room || !n ? tree->pages : flat[n - 1];
	kernels->pairs(flat, n / 2);
	return n / 2;
}
