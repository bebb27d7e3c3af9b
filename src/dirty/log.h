/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a cut took, as a row: (word, bits), words ascending.
 *
 * An epoch in which few words are dirty is kept so, not as a second tree. In
 * a tree each of those words would be alone on a cache line that the cut has to
 * fetch and the reader to find again; a row is written and read in order.
 * Where an eighth of the words is dirty the row is a quarter of the bitmap, and
 * from there on the tree is used.
 *
 * The row belongs to the taker, as the epoch's tree does. Acknowledged pages
 * leave it as zero bits; those at its beginning are not looked at again.
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
