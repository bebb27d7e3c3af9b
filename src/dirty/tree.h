/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hierarchical bitmap: a plain bitmap and, above it, levels of summary.
 *
 * Level 0 is the bitmap itself, bit i = page i. Level 1 comes in two shapes. In
 * a fine tree it has a bit for each word of the bitmap, for who reads: he looks
 * at no word in vain. In a coarse one it has a bit for each unit of 32 words,
 * for who marks: one summary of 16 KiB for 1 TiB of guest stays in the first
 * cache, and few marks have to set a bit in it. (With 64 words a unit marks are
 * no faster, and a cut of a few pages looks at twice as many lines.) From level
 * 2 on a bit stands for a word of the level below. Levels are added until one
 * is short enough to be searched word by word, so a coarse tree has one summary
 * up to 2 TiB, and none where the bitmap itself is short. A fine tree has one
 * level more.
 *
 * There are no pointers between nodes. All levels lie in one mapping, reserved
 * at creation and backed by memory only where words were written, so an empty
 * tree over terabytes of guest is a few pages.
 *
 * The invariant, while the tree is not being changed: a non-zero word has its
 * bit set at every level above. The reverse need not hold: a summary bit over
 * words of zeros only costs a visit. Bits past the last page are always 0.
 *
 * This file is single-threaded. How several threads mark while another takes is
 * the subject of protocol.h.
 */
#ifndef TIDE_DIRTY_TREE_H
#define TIDE_DIRTY_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "bits/kernels.h"
#include "bits/word.h"

#define TIDE__UNIT_WORDS 32u
#define TIDE__TREE_LEVELS 7	/* 64^7 = 2^42 pages */

struct tide__tree {
	uint64_t pages;
	unsigned int levels;			/* 1 to TIDE__TREE_LEVELS */
	bool coarse;				/* a level-1 bit is a unit */
	/* [0] is the bitmap. Without summaries [1] is one word, all ones. */
	uint64_t *level[TIDE__TREE_LEVELS];
	uint64_t words[TIDE__TREE_LEVELS];
	void *mapping;
	size_t mapping_bytes;
};

/* Reserve a tree of @pages clean pages (at least 1). 0 or -ENOMEM. */
int tide__tree_init(struct tide__tree *tree, uint64_t pages, bool coarse);
void tide__tree_fini(struct tide__tree *tree);

/* First set / first clear page at or after @page; tree->pages if none. */
uint64_t tide__tree_next_set(const struct tide__tree *tree, uint64_t page);
uint64_t tide__tree_next_clear(const struct tide__tree *tree, uint64_t page);

/*
 * The first set bit of level @level at or after @bit, with the summaries above
 * it; (words[level] * 64 or more) if there is none.
 */
uint64_t tide__tree_next_at(const struct tide__tree *tree, unsigned int level,
			    uint64_t bit);

/* May block @block of 64 words have bits? A hint while others mark. */
static inline bool tide__tree_has_block(const struct tide__tree *tree,
					uint64_t block)
{
	const uint64_t each = TIDE__BLOCK_WORDS / TIDE__UNIT_WORDS;
	uint64_t unit = block * each;

	/* Relaxed: a concurrent mark may or may not be seen. */
	if (tree->levels == 1)
		return true;
	if (!tree->coarse)
		return tide__load_relaxed(&tree->level[1][block]);
	return tide__load_relaxed(&tree->level[1][unit / TIDE__WORD_BITS]) >>
	       (unit % TIDE__WORD_BITS) & tide__mask_below(each);
}

/* Set page bits [first, first + count), for a tree of one thread only. */
void tide__tree_set(struct tide__tree *tree, uint64_t first, uint64_t count);

/* Clear them in a fine tree; returns how many were set. One thread only. */
uint64_t tide__tree_clear(struct tide__tree *tree, uint64_t first,
			  uint64_t count);

/* Make the summaries above level-0 word @word say "not empty". */
void tide__tree_raise(struct tide__tree *tree, uint64_t word);

#endif
