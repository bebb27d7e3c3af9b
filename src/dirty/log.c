/* SPDX-License-Identifier: BSD-2-Clause */
#include "dirty/log.h"

#include <errno.h>

#include "base/memory.h"
#include "bits/word.h"

#define HUGE_FROM_BYTES (UINT64_C(2) << 20)

int tide__log_init(struct tide__log *log, uint64_t pages)
{
	/* Two more, so that the smallest sets have logs as well as trees. */
	uint64_t room = tide__words_for(pages) / 8 + 2;
	size_t bytes = room * sizeof(*log->entry);
	void *mapping;

	mapping = tide__map_sparse(bytes);
	if (!mapping)
		return -ENOMEM;
	if (bytes >= HUGE_FROM_BYTES)
		madvise(mapping, bytes, MADV_HUGEPAGE);
	log->entry = mapping;
	log->first = log->count = 0;
	log->room = room;
	log->pages = pages;
	log->mapping_bytes = bytes;
	return 0;
}

void tide__log_fini(struct tide__log *log)
{
	if (log->entry)
		munmap(log->entry, log->mapping_bytes);
	log->entry = NULL;
}

/* Index of the first entry from word @word on. */
static uint64_t find(const struct tide__log *log, uint64_t word)
{
	uint64_t low = log->first, high = log->count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (log->entry[middle].word < word)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Bits of @entry from page @page on. */
static uint64_t bits_from(const struct tide__log_entry *entry, uint64_t page)
{
	if (entry->word != page / TIDE__WORD_BITS)
		return entry->bits;
	return entry->bits & tide__mask_from(page % TIDE__WORD_BITS);
}

/*
 * The ranges come as a flat row of page numbers, start, end, start, end: see
 * bits/kernels.h for what an edge is. A run is open while n is odd; an open
 * run ends where the entry behind is not of the next word.
 */
size_t tide__log_ranges(const struct tide__log *log,
			const struct tide__kernels *kernels, uint64_t *cursor,
			struct tide_range *ranges, size_t max)
{
	uint64_t *flat = (uint64_t *)ranges;
	uint64_t behind = 0;	/* first page behind the entry before */
	size_t n = 0, room = 2 * max;

	for (uint64_t i = find(log, *cursor / TIDE__WORD_BITS);
	     i < log->count && n < room; i++) {
		uint64_t page = log->entry[i].word * TIDE__WORD_BITS;
		uint64_t bits = bits_from(&log->entry[i], *cursor), edges;

		if (!bits)
			continue;
		if (n % 2 && page != behind) {
			flat[n++] = behind;
			if (n == room)
				break;
		}
		edges = bits ^ (bits << 1 | n % 2);
		for (; edges && n < room; edges &= edges - 1)
			flat[n++] = page + tide__lowest_bit(edges);
		behind = page + TIDE__WORD_BITS;
	}
	if (n % 2)
		flat[n++] = behind;
	*cursor = n < room || !n ? log->pages : flat[n - 1];
	kernels->pairs(flat, n / 2);
	return n / 2;
}

uint64_t tide__log_next_clear(const struct tide__log *log, uint64_t page)
{
	uint64_t i = find(log, page / TIDE__WORD_BITS);

	for (; i < log->count && page < log->pages &&
	       log->entry[i].word == page / TIDE__WORD_BITS; i++) {
		uint64_t clear = ~log->entry[i].bits &
				 tide__mask_from(page % TIDE__WORD_BITS);

		page = log->entry[i].word * TIDE__WORD_BITS;
		if (clear) {
			page += tide__lowest_bit(clear);
			break;
		}
		page += TIDE__WORD_BITS;
	}
	return page < log->pages ? page : log->pages;
}

uint64_t tide__log_clear(struct tide__log *log, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, cleared = 0;

	for (uint64_t i = find(log, first / TIDE__WORD_BITS);
	     i < log->count && log->entry[i].word * TIDE__WORD_BITS < end;
	     i++) {
		struct tide__log_entry *entry = &log->entry[i];
		uint64_t mask = bits_from(entry, first) &
				tide__mask_below(end - entry->word *
						 TIDE__WORD_BITS);

		cleared += tide__count_bits(mask);
		entry->bits &= ~mask;
	}
	while (log->first < log->count && !log->entry[log->first].bits)
		log->first++;
	return cleared;
}

bool tide__log_has(const struct tide__log *log, uint64_t page)
{
	uint64_t i = find(log, page / TIDE__WORD_BITS);

	return i < log->count &&
	       log->entry[i].word == page / TIDE__WORD_BITS &&
	       log->entry[i].bits >> (page % TIDE__WORD_BITS) & 1;
}
