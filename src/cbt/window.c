/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/window.h"

#include <string.h>

#include "base/atomic.h"
#include "cbt/tracker.h"

/* Live bits, which others are marking, of the bytes of @w. */
static void add_live(struct cbt_window *w, const struct cbt_area *a)
{
	uint64_t from = w->first << w->shift;
	uint64_t to = (w->first + CBT_PAGE_BITS) << w->shift;
	uint64_t word = (from >> a->shift) / 64;
	uint64_t last = cbt_bits_of(to, a->shift);

	if (last > a->bits)
		last = a->bits;
	for (; word * 64 < last; word++) {
		uint64_t bits = tide__load_relaxed(&a->words[word]);
		struct cbt_run run = cbt_next_run(&bits, 64, 0);

		for (; run.start < run.end;
		     run = cbt_next_run(&bits, 64, run.end)) {
			uint64_t start = (word * 64 + run.start) << a->shift;
			uint64_t end = (word * 64 + run.end) << a->shift;

			if (end <= from || start >= to)
				continue;
			start = start > from ? start - from : 0;
			end = end < to ? end - from : to - from;
			cbt_set_bits(w->words, start >> w->shift,
				     cbt_bits_of(end, w->shift));
		}
	}
}

/* The same granularity is the usual case: words as they are. */
static void add_live_words(struct cbt_window *w, const struct cbt_area *a)
{
	uint64_t word = w->first / 64, last = (a->bits + 63) / 64;

	for (uint64_t i = 0; i < CBT_PAGE_WORDS && word + i < last; i++)
		w->words[i] |= tide__load_relaxed(&a->words[word + i]);
}

void cbt_window_fill(struct cbt_window *w, const struct cbt *c,
		     const struct cbt_point *p, uint64_t until)
{
	uint64_t byte = w->first << w->shift;

	memset(w->words, 0, sizeof(w->words));
	cbt_image_or_into(&p->own, byte, w->words, CBT_PAGE_BITS, w->shift);
	if (p->epoch == CBT_NO_EPOCH)
		return;
	for (size_t i = 0; i < c->catalog.delta_count; i++) {
		const struct cbt_delta *d = &c->catalog.deltas[i];

		if (d->last >= p->epoch && d->first < until)
			cbt_image_or_into(&d->image, byte, w->words,
					  CBT_PAGE_BITS, w->shift);
	}
	if (until != CBT_NO_EPOCH)
		return;
	if (c->now->shift == w->shift)
		add_live_words(w, c->now);
	else
		add_live(w, c->now);
}

int cbt_gather_past(const struct cbt *c, const struct cbt_point *p,
		    struct cbt_image *into)
{
	int ret = cbt_image_or(into, &p->own);

	if (p->epoch == CBT_NO_EPOCH)
		return ret;
	for (size_t i = 0; i < c->catalog.delta_count && !ret; i++)
		if (c->catalog.deltas[i].last >= p->epoch)
			ret = cbt_image_or(into, &c->catalog.deltas[i].image);
	return ret;
}

int cbt_gather(const struct cbt *c, const struct cbt_point *p,
	       struct cbt_image *into)
{
	int ret = cbt_gather_past(c, p, into);

	if (ret || p->epoch == CBT_NO_EPOCH)
		return ret;
	return cbt_area_or_into(c->now, into);
}
