/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All ranges of a scan, an epoch or a set in one dynamic array. Each of these
 * delivers batches, which are written in place; they differ in one call.
 */
#include "tidemark/ranges.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 64u

struct batches {
	struct tide_scan *scan;
	const struct tide_epoch *epoch;
	const struct tide_set *set;
	uint64_t cursor;
};

static size_t next(struct batches *b, struct tide_range *r, size_t max)
{
	if (b->scan)
		return tide_scan_next(b->scan, r, max);
	if (b->epoch)
		return tide_epoch_next(b->epoch, &b->cursor, r, max);
	return tide_set_next(b->set, &b->cursor, r, max);
}

static int grow(struct tide_ranges *t)
{
	size_t room = t->room ? 2 * t->room : FIRST_ROOM;
	void *more = reallocarray(t->range, room, sizeof(*t->range));

	if (!more)
		return -ENOMEM;
	t->range = more;
	t->room = room;
	return 0;
}

/* If @r begins where the last range ends, that is longer now. */
static bool join(struct tide_ranges *t, const struct tide_range *r)
{
	struct tide_range *last;

	if (!t->count)
		return false;
	last = &t->range[t->count - 1];
	if (last->first + last->count != r->first)
		return false;
	last->count += r->count;
	return true;
}

/* The table is full: is there one more, and does it need a place? */
static int add_one(struct tide_ranges *t, struct batches *b, size_t limit,
		   bool *more)
{
	struct tide_range one;
	int ret;

	*more = next(b, &one, 1);
	if (!*more || join(t, &one))
		return 0;
	if (limit && t->count >= limit)
		return -E2BIG;
	ret = grow(t);
	if (!ret)
		t->range[t->count++] = one;
	return ret;
}

/* Into the table itself, as many as it has places for: nothing is copied. */
static int add_many(struct tide_ranges *t, struct batches *b, size_t limit,
		    bool *more)
{
	struct tide_range *r = t->range + t->count;
	size_t left = limit > t->count ? limit - t->count : 0;
	size_t max = t->room - t->count, n;

	if (limit && max > left)
		max = left + (left < max);	/* one more shows too many */
	n = next(b, r, max);
	*more = n > 0;
	if (n && join(t, r))
		memmove(r, r + 1, --n * sizeof(*r));
	if (limit && n > left)
		return -E2BIG;
	t->count += n;
	return 0;
}

static int fail(int ret, size_t limit, struct tide_error *err)
{
	if (ret == -E2BIG)
		return tide_error_set(err, ret, "ranges", TIDE_NO_OFFSET,
				      "there are more than %zu ranges", limit);
	return tide_error_set(err, ret, "ranges", TIDE_NO_OFFSET,
			      "no memory for more ranges");
}

static int add(struct tide_ranges *t, struct batches b, size_t limit,
	       struct tide_error *err)
{
	size_t count = t->count;
	uint64_t last_pages = count ? t->range[count - 1].count : 0;
	bool more = true;
	int ret = 0;

	while (!ret && more)
		ret = t->count == t->room ? add_one(t, &b, limit, &more) :
					   add_many(t, &b, limit, &more);
	if (!ret)
		return 0;
	t->count = count;
	if (count)
		t->range[count - 1].count = last_pages;
	return fail(ret, limit, err);
}

int tide_ranges_add_scan(struct tide_ranges *ranges, struct tide_scan *scan,
			 size_t limit, struct tide_error *err)
{
	return add(ranges, (struct batches){ .scan = scan }, limit, err);
}

int tide_ranges_add_epoch(struct tide_ranges *ranges,
			  const struct tide_epoch *epoch, size_t limit,
			  struct tide_error *err)
{
	return add(ranges, (struct batches){ .epoch = epoch }, limit, err);
}

int tide_ranges_add_set(struct tide_ranges *ranges, const struct tide_set *set,
			size_t limit, struct tide_error *err)
{
	return add(ranges, (struct batches){ .set = set }, limit, err);
}

void tide_ranges_fini(struct tide_ranges *ranges)
{
	free(ranges->range);
	*ranges = (struct tide_ranges){ 0 };
}
