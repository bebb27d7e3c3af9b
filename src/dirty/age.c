/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stamps of 16 bits, and what they mean.
 *
 * Stamp s stands for cut cut_of[s], which is increasing; stamp 0 for "never".
 * "Changed after cut k" is "stamp above the greatest s with cut_of[s] <= k". If
 * k itself no longer has a stamp, pages changed at or before k have been given
 * a later one: the answer is too wide.
 *
 * Renewal makes room: the newer half of the stamps and those of kept cuts stay;
 * every other one is replaced by the next that stays (a later cut: too wide,
 * never lost). Then those that stay are renumbered without gaps, and the stamps
 * in the map are translated through a table.
 *
 * There is one maximum for each block of 4,096 pages, so that a query skips
 * blocks without changes.
 */
#include "dirty/age.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "bits/block.h"
#include "dirty/set.h"

#define MAX_STAMPS 65535u
#define BATCH 512

static const char origin[] = "age";

struct kept {
	uint64_t cut;
	uint64_t times;
};

struct tide_age {
	const struct tide__kernels *kernels;
	uint64_t pages, blocks;
	uint16_t *stamp;	/* [blocks * 4096] */
	uint16_t *newest;	/* [blocks]: greatest stamp in it */
	size_t mapping_bytes;
	uint64_t cut;		/* the last one */
	uint32_t last;		/* the last stamp given; cut_of[last] == cut */
	uint32_t limit;
	uint64_t renewals;
	uint32_t kept_count;
	struct kept kept[TIDE_AGE_MAX_KEPT];	/* by cut */
	uint64_t cut_of[MAX_STAMPS + 1];
	uint16_t renewed[MAX_STAMPS + 1];	/* of a renewal */
};

int tide_age_create(struct tide_age **out, uint64_t pages,
		    struct tide_error *err)
{
	struct tide_age *age;
	void *mapping;

	if (pages < 1 || pages > TIDE_SET_MAX_PAGES)
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "an age map has 1 to 2^40 pages, not %"
				      PRIu64, pages);
	age = calloc(1, sizeof(*age));
	if (!age)
		goto no_memory;
	age->kernels = tide__kernels_pick();
	age->pages = pages;
	age->blocks = (pages + TIDE__BLOCK_PAGES - 1) / TIDE__BLOCK_PAGES;
	age->limit = MAX_STAMPS;
	age->mapping_bytes = age->blocks * (TIDE__BLOCK_PAGES + 1) *
			     sizeof(uint16_t);
	mapping = tide__map_sparse(age->mapping_bytes);
	if (!mapping)
		goto no_memory;
	age->stamp = mapping;
	age->newest = age->stamp + age->blocks * TIDE__BLOCK_PAGES;
	*out = age;
	return 0;

no_memory:
	free(age);
	return tide_error_set(err, -ENOMEM, origin, TIDE_NO_OFFSET,
			      "no address space for the ages of %" PRIu64
			      " pages", pages);
}

void tide_age_destroy(struct tide_age *age)
{
	if (!age)
		return;
	munmap(age->stamp, age->mapping_bytes);
	free(age);
}

void tide__age_set_limit(struct tide_age *age, uint32_t stamps)
{
	age->limit = stamps;
}

/* The greatest stamp that stands for @cut or an earlier one. */
static uint32_t stamp_at(const struct tide_age *age, uint64_t cut)
{
	uint32_t low = 0, high = age->last;

	while (low < high) {
		uint32_t mid = low + (high - low + 1) / 2;

		if (age->cut_of[mid] <= cut)
			low = mid;
		else
			high = mid - 1;
	}
	return low;
}

/* Index of @cut among the kept ones, or where it would be. */
static uint32_t kept_at(const struct tide_age *age, uint64_t cut)
{
	uint32_t low = 0, high = age->kept_count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (age->kept[mid].cut < cut)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool is_kept(const struct tide_age *age, uint64_t cut)
{
	uint32_t at = kept_at(age, cut);

	return at < age->kept_count && age->kept[at].cut == cut;
}

/* Number anew what stays; renewed[] says what becomes of each stamp. */
static void choose_stamps(struct tide_age *age)
{
	uint32_t half = age->last - age->last / 2, next = 0;

	for (uint32_t s = 1; s <= age->last; s++) {
		/* A stamp that goes becomes the next one that stays. */
		age->renewed[s] = (uint16_t)(next + 1);
		if (s <= half && !is_kept(age, age->cut_of[s]))
			continue;
		age->cut_of[++next] = age->cut_of[s];
	}
	age->last = next;
}

static void renew(struct tide_age *age)
{
	choose_stamps(age);
	for (uint64_t b = 0; b < age->blocks; b++) {
		uint16_t *at = age->stamp + b * TIDE__BLOCK_PAGES;

		if (!age->newest[b])
			continue;
		for (unsigned int i = 0; i < TIDE__BLOCK_PAGES; i++)
			at[i] = age->renewed[at[i]];
		age->newest[b] = age->renewed[age->newest[b]];
	}
	age->renewals++;
}

static void stamp_range(struct tide_age *age, uint64_t first, uint64_t count)
{
	uint16_t stamp = (uint16_t)age->last;
	uint64_t end = first + count;

	for (uint64_t page = first; page < end; page++)
		age->stamp[page] = stamp;
	for (uint64_t b = first / TIDE__BLOCK_PAGES;
	     b <= (end - 1) / TIDE__BLOCK_PAGES; b++)
		age->newest[b] = stamp;
}

uint64_t tide_age_stamp(struct tide_age *age, const struct tide_epoch *epoch)
{
	struct tide_range range[BATCH];
	uint64_t cursor = 0;
	size_t n;

	/*
	 * If even a renewal leaves no room (all is kept), the last stamp is
	 * shared with the cut before, which so becomes too wide.
	 */
	if (age->last == age->limit)
		renew(age);
	if (age->last < age->limit)
		age->last++;
	age->cut_of[age->last] = ++age->cut;
	while ((n = tide_epoch_next(epoch, &cursor, range, BATCH)))
		for (size_t i = 0; i < n; i++) {
			uint64_t first = range[i].first;

			if (first < age->pages)
				stamp_range(age, first,
					    range[i].count < age->pages - first
						? range[i].count
						: age->pages - first);
		}
	return age->cut;
}

uint64_t tide_age_cut(const struct tide_age *age)
{
	return age->cut;
}

uint64_t tide_age_renewals(const struct tide_age *age)
{
	return age->renewals;
}

int tide_age_keep(struct tide_age *age, uint64_t cut, struct tide_error *err)
{
	uint32_t at = kept_at(age, cut);

	if (cut < 1 || cut > age->cut)
		return tide_error_set(err, -EINVAL, origin, TIDE_NO_OFFSET,
				      "there was no cut %" PRIu64
				      ", the last one is %" PRIu64,
				      cut, age->cut);
	if (at < age->kept_count && age->kept[at].cut == cut) {
		age->kept[at].times++;
		return 0;
	}
	if (age->cut_of[stamp_at(age, cut)] != cut)
		return tide_error_set(err, -ESTALE, origin, TIDE_NO_OFFSET,
				      "cut %" PRIu64 " can no longer be told "
				      "from later ones; keep a newer one", cut);
	if (age->kept_count == TIDE_AGE_MAX_KEPT)
		return tide_error_set(err, -ENOSPC, origin, TIDE_NO_OFFSET,
				      "%u cuts are kept already; drop one",
				      TIDE_AGE_MAX_KEPT);
	memmove(&age->kept[at + 1], &age->kept[at],
		(age->kept_count - at) * sizeof(*age->kept));
	age->kept[at] = (struct kept){ cut, 1 };
	age->kept_count++;
	return 0;
}

int tide_age_drop(struct tide_age *age, uint64_t cut, struct tide_error *err)
{
	uint32_t at = kept_at(age, cut);

	if (!is_kept(age, cut))
		return tide_error_set(err, -ENOENT, origin, TIDE_NO_OFFSET,
				      "cut %" PRIu64 " is not kept", cut);
	if (--age->kept[at].times)
		return 0;
	age->kept_count--;
	memmove(&age->kept[at], &age->kept[at + 1],
		(age->kept_count - at) * sizeof(*age->kept));
	return 0;
}

/* --- queries --- */

struct query {
	const struct tide_age *age;
	const struct tide_set *live;	/* NULL: without */
	uint16_t limit;
	bool all_live;
	uint64_t skip;			/* pages before it count as clear */
};

/* OR the live words of block @b into @words; true if there are any. */
static bool add_live(const struct query *q, uint64_t b, uint64_t *words)
{
	const struct tide__tree *live = &q->live->live;
	uint64_t at = b * TIDE__BLOCK_WORDS, any = 0;

	if (!tide__tree_has_block(live, b))
		return false;
	for (unsigned int i = 0; i < TIDE__BLOCK_WORDS; i++) {
		uint64_t word = at + i < live->words[0] ?
		    tide__load_relaxed(&live->level[0][at + i]) : 0;

		words[i] |= word;
		any |= word;
	}
	return any;
}

/* The changed pages of block @b as words, behind words[-1]; false: none. */
static bool block_words(const struct query *q, uint64_t b, uint64_t *words)
{
	uint64_t end = q->age->pages - b * TIDE__BLOCK_PAGES, any = 0;
	uint64_t page = b * TIDE__BLOCK_PAGES;

	if (q->all_live) {
		memset(words, 0xff, TIDE__BLOCK_WORDS * 8);
		any = 1;
	} else if (q->age->newest[b] > q->limit) {
		any = q->age->kernels->above(q->age->stamp + page, q->limit,
					     words, TIDE__BLOCK_WORDS);
	} else {
		memset(words, 0, TIDE__BLOCK_WORDS * 8);
	}
	if (q->live && !q->all_live)
		any |= add_live(q, b, words);
	if (!any)
		return false;
	for (uint64_t i = 0; i < TIDE__BLOCK_WORDS; i++)
		words[i] &= tide__mask_below(end > i * 64 ? end - i * 64 : 0);
	if (q->skip > page) {
		uint64_t gone = (q->skip - page) / 64;

		memset(words, 0, gone * 8);
		words[gone] &= tide__mask_from((q->skip - page) % 64);
	}
	return true;
}

/* Nothing changed in blocks from @b on: the first where something may have. */
static uint64_t next_block(const struct query *q, uint64_t b)
{
	while (b < q->age->blocks && q->age->newest[b] <= q->limit &&
	       !q->all_live &&
	       (!q->live || !tide__tree_has_block(&q->live->live, b)))
		b++;
	return b;
}

size_t tide_age_next(const struct tide_age *age, uint64_t since,
		     const struct tide_set *live, uint64_t *cursor,
		     struct tide_range *ranges, size_t max)
{
	struct query q = { .age = age, .live = live, .skip = *cursor,
			   .limit = (uint16_t)stamp_at(age, since),
			   .all_live = live &&
				       tide__load_seqcst(&live->all_dirty) };
	uint64_t words[1 + TIDE__BLOCK_WORDS], b = *cursor / TIDE__BLOCK_PAGES;
	uint64_t *flat = (uint64_t *)ranges;
	size_t n = 0, room = 2 * max;
	struct tide__block block;

	while (n < room) {
		if (!(n % 2))
			b = next_block(&q, b);
		if (b >= age->blocks) {
			if (n % 2)
				flat[n++] = age->pages;
			break;
		}
		/* The word before says whether a run is open. */
		words[0] = n % 2 ? ~UINT64_C(0) : 0;
		block.page = b * TIDE__BLOCK_PAGES;
		if (block_words(&q, b, words + 1) || n % 2) {
			age->kernels->find_edges(words + 1, words + 1, 1,
						 block.e, &block.mask);
			n = tide__block_drain(&block, age->kernels, flat, n,
					      room);
		}
		b++;
	}
	*cursor = n < room || !n ? age->pages : flat[n - 1];
	age->kernels->pairs(flat, n / 2);
	return n / 2;
}
