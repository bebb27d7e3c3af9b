/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A sparse epoch: what a cut took, as an array of (word, bits), words
 * ascending.
 *
 * An epoch with few dirty words is stored like this instead of as a second
 * tree, in which each word would be alone on a cache line that the cut must
 * fetch and the reader find again; an array is written and read sequentially.
 * With an eighth of the words dirty it is a quarter of the size of the bitmap,
 * and from there on the tree is used.
 *
 * It belongs to the taker, as the epoch's tree does. Acknowledging a page
 * clears its bit; empty entries at the beginning are skipped for good.
 */
#ifndef TIDE_DIRTY_LOG_H
#define TIDE_DIRTY_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bits/kernels.h"
#include "tidemark/range.h"

struct tide__log_entry {
	uint64_t word, bits;	/* level-0 word of the tree, and its value */
};

struct tide__log {
	struct tide__log_entry *entry;
	uint64_t first, count;		/* in use: [first, count) */
	uint64_t room;
	uint64_t pages;
	size_t mapping_bytes;
};

/* Reserve a log for a tree of @pages pages. 0 or -ENOMEM. */
int tide__log_init(struct tide__log *log, uint64_t pages);
void tide__log_fini(struct tide__log *log);

/* Append; false, and nothing is changed, if there is no room. */
static inline bool tide__log_add(struct tide__log *log, uint64_t word,
				 uint64_t bits)
{
	if (log->count == log->room)
		return false;
	log->entry[log->count].word = word;
	log->entry[log->count++].bits = bits;
	return true;
}

/* As tide__tree_ranges, tide__tree_next_clear and tide__tree_clear. */
size_t tide__log_ranges(const struct tide__log *log,
			const struct tide__kernels *kernels, uint64_t *cursor,
			struct tide_range *ranges, size_t max);
uint64_t tide__log_next_clear(const struct tide__log *log, uint64_t page);
uint64_t tide__log_clear(struct tide__log *log, uint64_t first,
			 uint64_t count);

bool tide__log_has(const struct tide__log *log, uint64_t page);

#endif
