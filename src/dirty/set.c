/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty set: creation, marking, and looking at what is live.
 *
 * Everything here that writes goes through tide__mark_word (protocol.h); this
 * file only splits ranges and foreign bitmaps into words. Cut and epoch are in
 * epoch.c.
 *
 * A mark outside the set is a caller's bug that must not lose data: it is
 * counted, and the flag all_dirty makes the next cut return every page of the
 * set.
 */
#include "dirty/set.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/barrier.h"
#include "bits/word.h"
#include "dirty/protocol.h"
#include "dirty/ranges.h"

static const char origin[] = "dirty-set";

int tide_set_create(struct tide_set **out, uint64_t pages,
		    struct tide_error *err)
{
	struct tide_set *set;

	if (pages < 1 || pages > TIDE_SET_MAX_PAGES)
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "a set has 1 to 2^40 pages, not %" PRIu64,
				      pages);
	set = calloc(1, sizeof(*set));
	if (!set)
		goto no_memory;
	set->epoch.set = set;
	set->kernels = tide__kernels_pick();
	if (tide__tree_init(&set->live, pages, true))
		goto no_memory;
	if (tide__tree_init(&set->epoch.tree, pages, false))
		goto no_memory;
	if (tide__log_init(&set->epoch.log, pages))
		goto no_memory;
	set->fences = !tide__barrier_register() || !tide__barrier_all();
	*out = set;
	return 0;

no_memory:
	tide_set_destroy(set);
	return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
			      "no address space for two bitmaps of %" PRIu64
			      " pages",
			      pages);
}

void tide_set_destroy(struct tide_set *set)
{
	if (!set)
		return;
	tide__tree_fini(&set->live);
	tide__tree_fini(&set->epoch.tree);
	tide__log_fini(&set->epoch.log);
	free(set);
}

void tide_set_use_fences(struct tide_set *set)
{
	/* Relaxed: it comes before the first mark. */
	tide__store_relaxed(&set->fences, true);
}

uint64_t tide_set_pages(const struct tide_set *set)
{
	return set->live.pages;
}

static void note_out_of_range(struct tide_set *set)
{
	tide__add_relaxed(&set->out_of_range, 1);
	/* Pairs with the exchange in tide_set_cut. */
	tide__store_seqcst(&set->all_dirty, true);
}

void tide_set_mark(struct tide_set *set, uint64_t page)
{
	if (page >= set->live.pages) {
		note_out_of_range(set);
		return;
	}
	tide__mark_word(&set->live, page / TIDE__WORD_BITS,
			UINT64_C(1) << (page % TIDE__WORD_BITS),
			tide__load_relaxed(&set->fences));
}

/*
 * The pages of [*first, *first + *count) that the set has; the rest is noted.
 * False if nothing is left.
 */
static bool clip(struct tide_set *set, uint64_t first, uint64_t *count)
{
	uint64_t pages = set->live.pages;

	if (*count == 0)
		return false;
	if (first >= pages || *count > pages - first) {
		note_out_of_range(set);
		*count = first < pages ? pages - first : 0;
	}
	return *count > 0;
}

void tide_set_mark_range(struct tide_set *set, uint64_t first, uint64_t count)
{
	uint64_t end;

	if (!clip(set, first, &count))
		return;
	end = first + count;
	while (first < end) {
		uint64_t word = first / TIDE__WORD_BITS;
		uint64_t base = word * TIDE__WORD_BITS;

		tide__mark_word(&set->live, word,
				tide__mask_from(first % TIDE__WORD_BITS) &
				    tide__mask_below(end - base),
				tide__load_relaxed(&set->fences));
		first = base + TIDE__WORD_BITS;
	}
}

void tide_set_merge_bitmap(struct tide_set *set, uint64_t first,
			   const uint64_t *words, uint64_t pages)
{
	unsigned int shift = first % TIDE__WORD_BITS;
	uint64_t at = first / TIDE__WORD_BITS, count = pages;
	bool fences = tide__load_relaxed(&set->fences);

	/*
	 * Bits that fall behind the set are an error only if they are set; a
	 * bitmap may be padded. Whoever hands one over that is longer than the
	 * set says that those pages exist, so it is noted all the same.
	 */
	if (!clip(set, first, &count))
		return;
	for (uint64_t i = 0; i < tide__words_for(count); i++, at++) {
		uint64_t bits = words[i] &
				tide__mask_below(count - i * TIDE__WORD_BITS);

		if (!bits)
			continue;
		if (bits << shift)
			tide__mark_word(&set->live, at, bits << shift, fences);
		if (shift && bits >> (TIDE__WORD_BITS - shift))
			tide__mark_word(&set->live, at + 1,
					bits >> (TIDE__WORD_BITS - shift),
					fences);
	}
}

uint64_t tide_set_count(const struct tide_set *set)
{
	const struct tide__tree *live = &set->live;
	uint64_t count = 0, page = 0;

	if (tide__load_seqcst(&set->all_dirty))
		return live->pages;
	while ((page = tide__tree_next_set(live, page)) < live->pages) {
		uint64_t word = page / TIDE__WORD_BITS;

		count += tide__count_bits(
		    tide__load_relaxed(&live->level[0][word]));
		page = (word + 1) * TIDE__WORD_BITS;
	}
	return count;
}

size_t tide_set_next(const struct tide_set *set, uint64_t *cursor,
		     struct tide_range *ranges, size_t max)
{
	if (!max || *cursor >= set->live.pages)
		return 0;
	if (tide__load_seqcst(&set->all_dirty)) {
		ranges[0].first = *cursor;
		ranges[0].count = set->live.pages - *cursor;
		*cursor = set->live.pages;
		return 1;
	}
	return tide__tree_ranges(&set->live, set->kernels, false, cursor,
				 ranges, max);
}

bool tide_set_is_dirty(const struct tide_set *set, uint64_t page)
{
	uint64_t word = page / TIDE__WORD_BITS;

	if (page >= set->live.pages || tide__load_seqcst(&set->all_dirty))
		return true;
	return tide__load_relaxed(&set->live.level[0][word]) >>
		   (page % TIDE__WORD_BITS) &
	       1;
}

int tide_set_export_bitmap(const struct tide_set *set, uint64_t first,
			   uint64_t pages, uint64_t *words)
{
	const struct tide__tree *live = &set->live;
	unsigned int shift = first % TIDE__WORD_BITS;
	uint64_t at = first / TIDE__WORD_BITS;
	uint64_t all = tide__load_seqcst(&set->all_dirty) ? ~UINT64_C(0) : 0;

	if (first > live->pages || pages > live->pages - first)
		return -EINVAL;
	for (uint64_t i = 0; i < tide__words_for(pages); i++, at++) {
		uint64_t bits = tide__load_relaxed(&live->level[0][at]) >>
				shift;

		if (shift && at + 1 < live->words[0])
			bits |= tide__load_relaxed(&live->level[0][at + 1])
				<< (TIDE__WORD_BITS - shift);
		words[i] = (bits | all) &
			   tide__mask_below(pages - i * TIDE__WORD_BITS);
	}
	return 0;
}

uint64_t tide_set_out_of_range(const struct tide_set *set)
{
	return tide__load_relaxed(&set->out_of_range);
}
