/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/turns.h"

#include <string.h>

#include "bits/kernels.h"
#include "bits/word.h"
#include "cbt/window.h"

#define BLOCKS (CBT_PAGE_WORDS / TIDE__BLOCK_WORDS)
/* A decode wants 64 free places: then this many are filled before it stops. */
#define ROOM 4096u

_Static_assert(CBT_PAGE_WORDS % TIDE__BLOCK_WORDS == 0, "whole blocks");

/* Edges in ascending order: bits of the window; the first is a run's start. */
struct edges {
	const struct tide__kernels *kernels;
	uint64_t e[TIDE__BLOCK_WORDS], mask;
	size_t block; /* of the window: that in @e, or to be looked at */
	bool have;    /* @e is of it */
};

/* Up to ROOM of them; 0: there are no more. */
static size_t next_edges(struct edges *x, const uint64_t *words, uint64_t *at)
{
	uint64_t *end = at;

	while (end == at) {
		if (!x->have) {
			const uint64_t *from = words + x->block *
						       TIDE__BLOCK_WORDS;

			x->block += x->kernels->find_edges(from, from,
							   BLOCKS - x->block,
							   x->e, &x->mask);
			if (x->block == BLOCKS)
				return 0;
			x->have = true;
		}
		end = x->kernels->decode(x->e, &x->mask,
					 x->block * TIDE__BLOCK_PAGES, at,
					 at + ROOM - TIDE__WORD_BITS);
		if (!x->mask) {
			x->have = false;
			x->block++;
		}
	}
	return (size_t)(end - at);
}

/* Ends of stretches, the first of which is @dirty, as bytes; those to come. */
static bool tell_ends(struct cbt_turns *t, uint64_t *ends, size_t n, bool dirty)
{
	uint64_t at = t->offset;
	size_t count = 0, skip;

	/* Lengths take the place of ends. */
	while (count < n && at < t->end) {
		uint64_t end = ends[count] < t->end ? ends[count] : t->end;

		ends[count++] = end - at;
		at = end;
	}
	t->offset = at;
	/* Only the first can be empty: a run that begins with the range. */
	skip = count && !ends[0];
	return count == skip || t->tell(t->opaque, ends + skip, count - skip,
					dirty ^ (skip != 0));
}

/* What lies before bit @bit is told. */
static void forget(struct cbt_window *w, uint64_t bit)
{
	memset(w->words, 0, (size_t)(bit / 64) * 8);
	if (bit < CBT_PAGE_BITS)
		w->words[bit / 64] &= ~UINT64_C(0) << bit % 64;
}

bool cbt_turns_tell(struct cbt_turns *t, struct cbt_window *w)
{
	uint64_t base = w->first << w->shift, ends[ROOM], last;
	struct edges x = { .kernels = tide__kernels_pick() };
	bool dirty = false;
	size_t n;

	w->before = 0;
	forget(w, (t->offset - base) >> w->shift);
	while (t->offset < t->end && (n = next_edges(&x, w->words, ends))) {
		for (size_t i = 0; i < n; i++)
			ends[i] = base + (ends[i] << w->shift);
		/* The range may begin in the middle of a dirty block. */
		if (ends[0] < t->offset)
			ends[0] = t->offset;
		if (!tell_ends(t, ends, n, dirty))
			return false;
		dirty ^= n % 2;
	}
	last = base + ((uint64_t)CBT_PAGE_BITS << w->shift);
	return t->offset >= t->end || t->offset >= last ||
	       tell_ends(t, &last, 1, dirty);
}
