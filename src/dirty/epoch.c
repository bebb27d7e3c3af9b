/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cut, and the epoch that it takes out of the live set.
 *
 * A set has room for one epoch: a second tree of the same size, or, where few
 * words are dirty, a log of them (log.h). Both are empty between epochs.
 * States: closed -> (cut) -> open -> (commit | rollback) -> closed. While it
 * is open both belong to the taker, so plain stores suffice; only rollback
 * touches the live tree, by marking like everyone else.
 *
 * Committing a log costs nothing. Committing a tree clears it, at a cost
 * proportional to what was dirty: it visits what the summaries point to.
 */
#include <errno.h>

#include "base/atomic.h"
#include "base/barrier.h"
#include "bits/word.h"
#include "dirty/protocol.h"
#include "dirty/ranges.h"
#include "dirty/set.h"

/* Zero every word under a summary, and the summaries. */
static void empty_below(struct tide__tree *tree, unsigned int level,
			uint64_t word)
{
	uint64_t bits = tree->level[level][word];
	uint64_t *below = level ? tree->level[level - 1] +
				      word * TIDE__WORD_BITS : NULL;

	tree->level[level][word] = 0;
	for (; level && bits; bits &= bits - 1) {
		unsigned int bit = tide__lowest_bit(bits);

		if (level == 1)
			below[bit] = 0;
		else
			empty_below(tree, level - 1,
				    word * TIDE__WORD_BITS + bit);
	}
}

static void close_epoch(struct tide_epoch *epoch)
{
	struct tide__tree *tree = &epoch->tree;
	unsigned int top = tree->levels - 1;

	for (uint64_t word = 0; word < tree->words[top]; word++)
		if (tree->level[top][word])
			empty_below(tree, top, word);
	epoch->log.first = epoch->log.count = 0;
	epoch->pages_left = 0;
	epoch->open = false;
}

int tide_set_cut_begin(struct tide_set *set, struct tide_error *err)
{
	struct tide_epoch *epoch = &set->epoch;

	if (epoch->open)
		return tide_error_set(err, -EBUSY, "cut", TIDE_NO_OFFSET,
				      "the epoch before is still open: commit "
				      "or roll it back first");
	epoch->pages_left = 0;
	epoch->open = true;
	return 0;
}

void tide_set_cut_part(struct tide_set *set, unsigned int part,
		       unsigned int parts)
{
	struct tide_epoch *epoch = &set->epoch;
	uint64_t room = epoch->log.room, taken;

	/* A log has one writer, and does for few dirty words only. */
	if (parts == 1 && tide__is_sparse(&set->live, set->kernels, room))
		taken = tide__take_log(&set->live, &epoch->log, &epoch->tree,
				       set->kernels);
	else
		taken = tide__take(&set->live, &epoch->tree, set->kernels,
				   part, parts);
	/* Pairs with the load in finish, through the caller's join. */
	tide__add_relaxed(&epoch->pages_left, taken);
}

/*
 * T3. Where nothing was taken nobody can have seen a bit that was. If the
 * kernel does not do what it did at creation (a filter of system calls came
 * since), markers take fences from now on, and this epoch is everything, and so
 * is the next: some of them may not have heard of it yet.
 */
static void see_all_stores(struct tide_set *set)
{
	if (!set->fences && set->epoch.pages_left && !tide__barrier_all()) {
		tide__store_seqcst(&set->fences, true);
		set->doubtful = 2;
	}
	if (set->doubtful) {
		set->doubtful--;
		tide__store_seqcst(&set->all_dirty, true);
	}
}

void tide_set_cut_finish(struct tide_set *set, struct tide_epoch **out)
{
	struct tide_epoch *epoch = &set->epoch;

	see_all_stores(set);
	/* Pairs with the store in note_out_of_range. */
	if (tide__swap_seqcst(&set->all_dirty, false)) {
		epoch->log.count = 0;
		tide__tree_set(&epoch->tree, 0, set->live.pages);
		epoch->pages_left = set->live.pages;
	}
	epoch->number++;
	*out = epoch;
}

int tide_set_cut(struct tide_set *set, struct tide_epoch **out,
		 struct tide_error *err)
{
	int ret = tide_set_cut_begin(set, err);

	if (ret)
		return ret;
	tide_set_cut_part(set, 0, 1);
	tide_set_cut_finish(set, out);
	return 0;
}

uint64_t tide_epoch_number(const struct tide_epoch *epoch)
{
	return epoch->number;
}

uint64_t tide_epoch_count(const struct tide_epoch *epoch)
{
	return epoch->pages_left;
}

size_t tide_epoch_next(const struct tide_epoch *epoch, uint64_t *cursor,
		       struct tide_range *ranges, size_t max)
{
	if (!epoch->pages_left)
		return 0;	/* what is idle is not searched */
	if (epoch->log.count)
		return tide__log_ranges(&epoch->log, epoch->set->kernels,
					cursor, ranges, max);
	return tide__tree_ranges(&epoch->tree, epoch->set->kernels, true,
				 cursor, ranges, max);
}

/* First page of share @part; shares are whole words. */
static uint64_t share_start(const struct tide__tree *tree, unsigned int part,
			    unsigned int parts)
{
	uint64_t at = tide__share_start(tree->words[0], part, parts) *
		      TIDE__WORD_BITS;

	return at < tree->pages ? at : tree->pages;
}

static bool is_set(const struct tide_epoch *epoch, uint64_t page)
{
	if (epoch->log.count)
		return tide__log_has(&epoch->log, page);
	return epoch->tree.level[0][page / TIDE__WORD_BITS] >>
		   (page % TIDE__WORD_BITS) & 1;
}

static uint64_t next_clear(const struct tide_epoch *epoch, uint64_t page)
{
	return epoch->log.count ? tide__log_next_clear(&epoch->log, page)
				: tide__tree_next_clear(&epoch->tree, page);
}

size_t tide_epoch_next_part(const struct tide_epoch *epoch, unsigned int part,
			    unsigned int parts, uint64_t *cursor,
			    struct tide_range *ranges, size_t max)
{
	const struct tide__tree *tree = &epoch->tree;
	uint64_t first = share_start(tree, part, parts);
	uint64_t end = share_start(tree, part + 1, parts);
	size_t n;

	if (*cursor < first) {
		/* A run that goes on here belongs to the part before. */
		*cursor = first;
		if (first < tree->pages && is_set(epoch, first - 1))
			*cursor = next_clear(epoch, first);
	}
	if (*cursor >= end)
		return 0;
	n = tide_epoch_next(epoch, cursor, ranges, max);
	while (n && ranges[n - 1].first >= end) {
		*cursor = end;
		n--;
	}
	return n;
}

void tide_epoch_ack(struct tide_epoch *epoch, uint64_t first, uint64_t count)
{
	uint64_t pages = epoch->tree.pages;

	if (!epoch->open || first >= pages)
		return;
	if (count > pages - first)
		count = pages - first;
	epoch->pages_left -=
	    epoch->log.count ? tide__log_clear(&epoch->log, first, count)
			     : tide__tree_clear(&epoch->tree, first, count);
}

void tide_epoch_commit(struct tide_epoch *epoch)
{
	if (epoch->open)
		close_epoch(epoch);
}

void tide_epoch_rollback(struct tide_epoch *epoch)
{
	struct tide__tree *tree = &epoch->tree;
	uint64_t page = 0;

	if (!epoch->open)
		return;
	for (uint64_t i = epoch->log.first; i < epoch->log.count; i++)
		if (epoch->log.entry[i].bits)
			tide__mark_word(&epoch->set->live,
					epoch->log.entry[i].word,
					epoch->log.entry[i].bits, true);
	while ((page = tide__tree_next_set(tree, page)) < tree->pages) {
		uint64_t word = page / TIDE__WORD_BITS;

		tide__mark_word(&epoch->set->live, word, tree->level[0][word],
				true);
		page = (word + 1) * TIDE__WORD_BITS;
	}
	close_epoch(epoch);
}
