/* SPDX-License-Identifier: BSD-2-Clause */
#include "hbitmap.h"

#include <stdbool.h>
#include <string.h>

#define LEAF (HBITMAP_LEVELS - 1)
#define NONE UINT64_MAX

void hbitmap_init(struct hbitmap *hb, uint64_t pages)
{
	uint64_t bits = pages;

	memset(hb, 0, sizeof(*hb));
	hb->pages = pages;
	for (int i = LEAF; i >= 0; i--) {
		bits = bits / 64 + (bits % 64 != 0);
		hb->words[i] = bits;
		hb->total += bits;
	}
	hb->level[0] = bench_memory(hb->total * 8, true);
	for (int i = 1; i < HBITMAP_LEVELS; i++)
		hb->level[i] = hb->level[i - 1] + hb->words[i - 1];
}

void hbitmap_fini(struct hbitmap *hb)
{
	bench_free(hb->level[0], hb->total * 8);
}

/*
 * A walker keeps, for each level, the bits of its word that it has not been
 * to; so it goes up only as far as it must.
 */
struct walker {
	const struct hbitmap *hb;
	uint64_t at[HBITMAP_LEVELS];	/* word */
	uint64_t left[HBITMAP_LEVELS];
};

static void walk_from(struct walker *w, const struct hbitmap *hb,
		      uint64_t first)
{
	uint64_t bit = first;

	w->hb = hb;
	for (int i = LEAF; i >= 0; i--) {
		uint64_t word = bit / 64;

		w->at[i] = word;
		w->left[i] = word < hb->words[i] ?
		    hb->level[i][word] & ~UINT64_C(0) << (bit % 64) : 0;
		/* The word that we are in is taken care of below. */
		if (i != LEAF)
			w->left[i] &= ~(UINT64_C(1) << (bit % 64));
		bit = word;
	}
}

/* Go up to where something is left, and down again to a leaf. */
static bool next_leaf(struct walker *w)
{
	int i = LEAF;

	while (i >= 0 && !w->left[i])
		i--;
	if (i < 0)
		return false;
	for (; i < LEAF; i++) {
		uint64_t bit = (uint64_t)__builtin_ctzll(w->left[i]);

		w->left[i] &= w->left[i] - 1;
		w->at[i + 1] = w->at[i] * 64 + bit;
		w->left[i + 1] = w->hb->level[i + 1][w->at[i + 1]];
	}
	return true;
}

static uint64_t next_one(struct walker *w)
{
	uint64_t bit;

	if (!w->left[LEAF] && !next_leaf(w))
		return NONE;
	bit = (uint64_t)__builtin_ctzll(w->left[LEAF]);
	w->left[LEAF] &= w->left[LEAF] - 1;
	return w->at[LEAF] * 64 + bit;
}

/* Before a change the ones that are there already are counted, by a walk. */
static uint64_t count_between(const struct hbitmap *hb, uint64_t first,
			      uint64_t last)
{
	uint64_t count = 0;
	struct walker w;

	for (walk_from(&w, hb, first);;) {
		uint64_t at, left;

		if (!w.left[LEAF] && !next_leaf(&w))
			return count;
		at = w.at[LEAF];
		left = w.left[LEAF];
		w.left[LEAF] = 0;
		if (at > last / 64)
			return count;
		if (at == last / 64)
			left &= ~UINT64_C(0) >> (63 - last % 64);
		count += (uint64_t)__builtin_popcountll(left);
		if (at == last / 64)
			return count;
	}
}

void hbitmap_mark(struct hbitmap *hb, uint64_t page)
{
	uint64_t bit = page;

	hb->count += 1 - count_between(hb, page, page);
	for (int i = LEAF; i >= 0; i--, bit /= 64) {
		uint64_t *word = &hb->level[i][bit / 64], old = *word;

		*word |= UINT64_C(1) << (bit % 64);
		if (old)	/* the summaries know this word */
			return;
	}
}

static uint64_t next_zero(const struct hbitmap *hb, uint64_t from)
{
	const uint64_t *leaf = hb->level[LEAF];
	uint64_t at = from / 64, words = hb->words[LEAF];
	uint64_t w;

	if (from >= hb->pages)
		return hb->pages;
	w = ~leaf[at] & ~UINT64_C(0) << (from % 64);
	while (!w) {
		if (++at == words)
			return hb->pages;
		w = ~leaf[at];
	}
	at = at * 64 + (uint64_t)__builtin_ctzll(w);
	return at < hb->pages ? at : hb->pages;
}

/* Clear [first, last]; a word that became 0 clears its bit above. */
static void reset_area(struct hbitmap *hb, uint64_t first, uint64_t last)
{
	hb->count -= count_between(hb, first, last);
	for (int i = LEAF; i >= 0; i--) {
		bool emptied = false;

		for (uint64_t at = first / 64; at <= last / 64; at++) {
			uint64_t mask = ~UINT64_C(0);
			uint64_t *word = &hb->level[i][at];

			if (at == first / 64)
				mask &= ~UINT64_C(0) << (first % 64);
			if (at == last / 64)
				mask &= ~UINT64_C(0) >> (63 - last % 64);
			*word &= ~mask;
			emptied |= !*word;
		}
		if (!emptied)
			return;
		/* Those at the ends may have kept something. */
		first = first / 64 + (hb->level[i][first / 64] != 0);
		if (hb->level[i][last / 64]) {
			if (last < 64)
				return;
			last = last / 64 - 1;
		} else {
			last /= 64;
		}
		if (first > last)
			return;
	}
}

struct bench_found hbitmap_take_areas(struct hbitmap *hb)
{
	struct bench_found f = { 0 };
	uint64_t at = 0, end;
	struct walker w;

	for (;;) {
		walk_from(&w, hb, at);
		at = next_one(&w);
		if (at == NONE)
			return f;
		end = next_zero(hb, at);
		reset_area(hb, at, end - 1);
		bench_add(&f, at, end - at);
		at = end;
		if (at >= hb->pages)
			return f;
	}
}

struct bench_found hbitmap_take_all(struct hbitmap *hb)
{
	struct bench_found f = { 0 };
	uint64_t first = 0, end = 0, at;
	struct walker w;

	walk_from(&w, hb, 0);
	while ((at = next_one(&w)) != NONE) {
		if (at == end) {
			end++;
			continue;
		}
		if (end > first)
			bench_add(&f, first, end - first);
		first = at;
		end = at + 1;
	}
	if (end > first)
		bench_add(&f, first, end - first);
	for (int i = LEAF; i >= 1; i--)
		memset(hb->level[i], 0, hb->words[i] * 8);
	hb->level[0][0] = 0;
	hb->count = 0;
	return f;
}
