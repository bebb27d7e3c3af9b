/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tree of bits: a plain bitmap and, above it, levels of summary.
 *
 * Level 0 is the bitmap itself, bit i = page i. Each higher level has one bit
 * per 64-bit word of the level below, until a level is at most 1024 words: an
 * 8 GiB guest has one summary level, one of 8 TiB has two. There
 * are no pointers between nodes: the summary of word w is bit w % 64 of word
 * w / 64 one level up. All levels lie in one mapping, reserved at creation and
 * backed by memory only where words were written, so an empty tree over
 * terabytes of guest is a few pages. The summaries cost 1/63 of the bitmap.
 *
 * The invariant, for a tree that nobody is changing: a non-zero word has its
 * bit set at every level above. The reverse need not hold: a summary bit over
 * a word of zeros only costs a visit. Bits past the last page are always 0.
 *
 * This file knows one thread only. How several threads mark while another
 * takes is the subject of protocol.h.
 */
#ifndef TIDE_DIRTY_TREE_H
#define TIDE_DIRTY_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "bits/kernels.h"

#define TIDE__TREE_LEVELS 7	/* 64^7 = 2^42 pages */

struct tide__tree {
	uint64_t pages;
	unsigned int levels;			/* 1 to TIDE__TREE_LEVELS */
	uint64_t *level[TIDE__TREE_LEVELS];	/* [0] is the bitmap */
	uint64_t words[TIDE__TREE_LEVELS];
	void *mapping;
	size_t mapping_bytes;
};

/* Reserve a tree of @pages clean pages (at least 1). 0 or -ENOMEM. */
int tide__tree_init(struct tide__tree *tree, uint64_t pages);
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

/* Set page bits [first, first + count), for a tree of one thread only. */
void tide__tree_set(struct tide__tree *tree, uint64_t first, uint64_t count);

/* Clear them; returns how many were set. One thread only. */
uint64_t tide__tree_clear(struct tide__tree *tree, uint64_t first,
			  uint64_t count);

/*
 * How many level-0 words are in use, as the summaries say; stops counting when
 * it is above @most. Any thread: a hint while others mark.
 */
uint64_t tide__tree_used(const struct tide__tree *tree,
			 const struct tide__kernels *kernels, uint64_t most);

/* Make the summaries above level-0 word @word say "not empty". */
void tide__tree_raise(struct tide__tree *tree, uint64_t word);

#endif
