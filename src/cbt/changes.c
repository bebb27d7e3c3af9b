/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What changed: the union of a point's own bits, the deltas from its epoch on
 * and the live bits, put together window by window as it is asked for. Nothing
 * is kept for a reader, so that any number of them costs nothing.
 */
#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "cbt/tracker.h"

struct window {
	uint64_t words[CBT_PAGE_WORDS];
	uint64_t first; /* bit, a multiple of CBT_PAGE_BITS */
	uint32_t shift;
};

/* Live bits, which others are marking, of the bytes of @w. */
static void add_live(struct window *w, const struct cbt_area *a)
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
static void add_live_words(struct window *w, const struct cbt_area *a)
{
	uint64_t word = w->first / 64, last = (a->bits + 63) / 64;

	for (uint64_t i = 0; i < CBT_PAGE_WORDS && word + i < last; i++)
		w->words[i] |= tide__load_relaxed(&a->words[word + i]);
}

static void fill(struct window *w, struct cbt *c, const struct cbt_point *p,
		 uint64_t until)
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

int cbt_gather(struct cbt *c, const struct cbt_point *p,
	       struct cbt_image *into)
{
	int ret = cbt_image_or(into, &p->own);
	struct window w = { .shift = c->now->shift };

	if (p->epoch == CBT_NO_EPOCH)
		return ret;
	for (size_t i = 0; i < c->catalog.delta_count && !ret; i++)
		if (c->catalog.deltas[i].last >= p->epoch)
			ret = cbt_image_or(into, &c->catalog.deltas[i].image);
	for (; w.first < c->now->bits && !ret; w.first += CBT_PAGE_BITS) {
		struct cbt_run run;

		memset(w.words, 0, sizeof(w.words));
		add_live_words(&w, c->now);
		run = cbt_next_run(w.words, CBT_PAGE_BITS, 0);
		for (; run.start < run.end && !ret;
		     run = cbt_next_run(w.words, CBT_PAGE_BITS, run.end)) {
			uint64_t start = (w.first + run.start) << w.shift;
			uint64_t end = (w.first + run.end) << w.shift;

			ret = cbt_image_set(into, start >> into->shift,
					    cbt_bits_of(end, into->shift));
		}
	}
	return ret;
}

struct asked {
	uint64_t offset, end; /* bytes */
	bool (*run)(void *opaque, uint64_t length_bytes, bool dirty);
	void *opaque;
};

/* The runs of one window; false: no more is wanted. */
static bool report(const struct window *w, struct asked *q)
{
	uint64_t base = w->first << w->shift;
	uint64_t end = (w->first + CBT_PAGE_BITS) << w->shift;

	if (end > q->end)
		end = q->end;
	while (q->offset < end) {
		uint64_t bit = (q->offset - base) >> w->shift, stop;
		struct cbt_run run = cbt_next_run(w->words, CBT_PAGE_BITS, bit);
		bool dirty = run.start == bit && run.start < run.end;

		stop = base + ((dirty ? run.end : run.start) << w->shift);
		if (stop > end)
			stop = end;
		if (!q->run(q->opaque, stop - q->offset, dirty))
			return false;
		q->offset = stop;
	}
	return true;
}

/* Under the lock, one window. */
static bool one_window(struct cbt *c, const struct cbt_point *p,
		       uint64_t until, struct asked *q)
{
	struct window w = { .shift = p->shift };

	w.first = (q->offset >> p->shift) / CBT_PAGE_BITS * CBT_PAGE_BITS;
	fill(&w, c, p, until);
	return report(&w, q);
}

static int check(const struct cbt *c, struct asked *q, struct tide_error *err)
{
	if (q->offset <= q->end && q->end <= c->catalog.size_bytes)
		return 0;
	return tide_error_set(err, -EINVAL, "tracker", q->offset,
			      "%s: the range reaches over the disk's end",
			      c->disk_path);
}

/* Under the lock: the point, and that its answer can be given. */
static int find(const struct cbt *c, const char *name,
		const struct cbt_point **p, struct tide_error *err)
{
	*p = cbt_catalog_find(&c->catalog, name);
	return *p ? cbt_usable(c, *p, err) : cbt_no_point(c, name, err);
}

static int find_both(struct cbt *c, const char *name, const char *until,
		     const struct cbt_point **p, uint64_t *end,
		     struct tide_error *err)
{
	const struct cbt_point *last;
	int ret = find(c, name, p, err);

	*end = CBT_NO_EPOCH;
	if (ret || !until)
		return ret;
	ret = find(c, until, &last, err);
	if (ret)
		return ret;
	*end = last->epoch;
	if (last->kind == CBT_CHECKPOINT && last->epoch >= (*p)->epoch)
		return 0;
	return tide_error_set(err, -EINVAL, "tracker", TIDE_NO_OFFSET,
			      "%s: '%s' is no checkpoint after '%s'",
			      c->disk_path, until, name);
}

int cbt_changes(struct cbt *c, const char *name, const char *until,
		uint64_t offset_bytes, uint64_t length_bytes,
		bool (*run)(void *opaque, uint64_t length_bytes, bool dirty),
		void *opaque, struct tide_error *err)
{
	struct asked q = { offset_bytes, offset_bytes + length_bytes, run,
			   opaque };
	const struct cbt_point *p;
	bool more = true;
	uint64_t end;
	int ret = 0;

	/* The lock is for a window at a time: nobody is held up by a reader. */
	while (more && q.offset < q.end && !ret) {
		pthread_mutex_lock(&c->lock);
		ret = check(c, &q, err);
		if (!ret)
			ret = find_both(c, name, until, &p, &end, err);
		if (!ret)
			more = one_window(c, p, end, &q);
		pthread_mutex_unlock(&c->lock);
	}
	return ret;
}

int cbt_changes_of(struct cbt *c, const uint8_t uuid[16],
		   uint64_t offset_bytes, uint64_t length_bytes,
		   bool (*run)(void *opaque, uint64_t length_bytes,
			       bool dirty),
		   void *opaque, struct tide_error *err)
{
	struct asked q = { offset_bytes, offset_bytes + length_bytes, run,
			   opaque };
	bool more = true;
	int ret = 0;

	while (more && q.offset < q.end && !ret) {
		const struct cbt_point *p = NULL;

		pthread_mutex_lock(&c->lock);
		for (size_t i = 0; i < c->catalog.point_count; i++)
			if (!memcmp(c->catalog.points[i]->uuid, uuid, 16))
				p = c->catalog.points[i];
		ret = p ? check(c, &q, err)
			: tide_error_set(err, -ESTALE, "tracker",
					 TIDE_NO_OFFSET, "%s: what was asked "
					 "for has been removed", c->disk_path);
		if (!ret)
			ret = cbt_usable(c, p, err);
		if (!ret)
			more = one_window(c, p, CBT_NO_EPOCH, &q);
		pthread_mutex_unlock(&c->lock);
	}
	return ret;
}
