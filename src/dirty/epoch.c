/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cut, and the epoch that it takes out of the live set.
 *
 * A set has room for one epoch: a second tree of the same size, empty between
 * epochs. States: closed -> (cut) -> open -> (commit | rollback) -> closed.
 * While it is open its tree is the taker's alone, so plain stores do; only
 * rollback touches the live tree, through the markers' own door.
 *
 * A commit leaves the tree empty at a cost in proportion to what was dirty: it
 * walks what the summaries point at.
 */
#include <errno.h>

#include "base/atomic.h"
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
	uint64_t taken = tide__take(&set->live, &epoch->tree, part, parts);

	/* Pairs with the load in finish, through the caller's join. */
	tide__add_relaxed(&epoch->pages_left, taken);
}

void tide_set_cut_finish(struct tide_set *set, struct tide_epoch **out)
{
	struct tide_epoch *epoch = &set->epoch;

	/* Pairs with the store in note_out_of_range. */
	if (tide__swap_seqcst(&set->all_dirty, false)) {
		tide__tree_set(&epoch->tree, 0, set->live.pages);
		epoch->pages_left = set->live.pages;
	}
	epoch->number++;
	*out = epoch;
}

int tide_set_cut(struct tide_set *set, struct tide_epoch **out,
		 struct tide_error *err)
{
	int rc = tide_set_cut_begin(set, err);

	if (rc)
		return rc;
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
	return tide__tree_ranges(&epoch->tree, epoch->set->kernels, true,
				 cursor, ranges, max);
}

/* First page of share @part; shares are whole words. */
static uint64_t share_start(const struct tide__tree *tree, unsigned int part,
			    unsigned int parts)
{
	uint64_t words = tree->words[0];
	uint64_t at = (words / parts * part + words % parts * part / parts) *
		      TIDE__WORD_BITS;

	return at < tree->pages ? at : tree->pages;
}

static bool is_set(const struct tide__tree *tree, uint64_t page)
{
	return tree->level[0][page / TIDE__WORD_BITS] >>
		   (page % TIDE__WORD_BITS) & 1;
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
		if (first < tree->pages && is_set(tree, first - 1))
			*cursor = tide__tree_next_clear(tree, first);
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
	epoch->pages_left -= tide__tree_clear(&epoch->tree, first, count);
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
	while ((page = tide__tree_next_set(tree, page)) < tree->pages) {
		uint64_t word = page / TIDE__WORD_BITS;

		tide__mark_word(&epoch->set->live, word, tree->level[0][word]);
		page = (word + 1) * TIDE__WORD_BITS;
	}
	close_epoch(epoch);
}
