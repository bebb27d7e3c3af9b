/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All ranges of a scan, an epoch or a set in one array that grows. Each is a
 * source of batches; what differs between them is one call.
 */
#include "tidemark/ranges.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH 256u
#define FIRST_ROOM 64u

struct batches {
	struct tide_scan *scan;
	const struct tide_epoch *epoch;
	const struct tide_set *set;
	uint64_t cursor;
};

static size_t next(struct batches *b, struct tide_range *r)
{
	if (b->scan)
		return tide_scan_next(b->scan, r, BATCH);
	if (b->epoch)
		return tide_epoch_next(b->epoch, &b->cursor, r, BATCH);
	return tide_set_next(b->set, &b->cursor, r, BATCH);
}

static int make_room(struct tide_ranges *t)
{
	size_t room = t->room ? 2 * t->room : FIRST_ROOM;
	void *more;

	if (t->count < t->room)
		return 0;
	more = reallocarray(t->range, room, sizeof(*t->range));
	if (!more)
		return -ENOMEM;
	t->range = more;
	t->room = room;
	return 0;
}

static int put(struct tide_ranges *t, const struct tide_range *r, size_t most)
{
	struct tide_range *last = t->count ? &t->range[t->count - 1] : NULL;
	int rc;

	if (last && last->first + last->count == r->first) {
		last->count += r->count;
		return 0;
	}
	if (most && t->count >= most)
		return -E2BIG;
	rc = make_room(t);
	if (!rc)
		t->range[t->count++] = *r;
	return rc;
}

static int fail(int rc, size_t most, struct tide_error *err)
{
	if (rc == -E2BIG)
		return tide_error_set(err, rc, "ranges", TIDE_NO_OFFSET,
				      "there are more than %zu ranges", most);
	return tide_error_set(err, rc, "ranges", TIDE_NO_OFFSET,
			      "no memory for more ranges");
}

static int add(struct tide_ranges *t, struct batches b, size_t most,
	       struct tide_error *err)
{
	size_t count = t->count, n;
	uint64_t last_pages = count ? t->range[count - 1].count : 0;
	struct tide_range batch[BATCH];
	int rc = 0;

	while (!rc && (n = next(&b, batch)))
		for (size_t i = 0; i < n && !rc; i++)
			rc = put(t, &batch[i], most);
	if (!rc)
		return 0;
	t->count = count;
	if (count)
		t->range[count - 1].count = last_pages;
	return fail(rc, most, err);
}

int tide_ranges_add_scan(struct tide_ranges *ranges, struct tide_scan *scan,
			 size_t most, struct tide_error *err)
{
	return add(ranges, (struct batches){ .scan = scan }, most, err);
}

int tide_ranges_add_epoch(struct tide_ranges *ranges,
			  const struct tide_epoch *epoch, size_t most,
			  struct tide_error *err)
{
	return add(ranges, (struct batches){ .epoch = epoch }, most, err);
}

int tide_ranges_add_set(struct tide_ranges *ranges, const struct tide_set *set,
			size_t most, struct tide_error *err)
{
	return add(ranges, (struct batches){ .set = set }, most, err);
}

void tide_ranges_fini(struct tide_ranges *ranges)
{
	free(ranges->range);
	*ranges = (struct tide_ranges){ 0 };
}
