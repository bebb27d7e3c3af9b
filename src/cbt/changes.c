/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What changed: the union of a point's own bits, the deltas from its epoch on
 * and the live bits, put together window by window as it is asked for. Nothing
 * is kept for a reader, so that any number of them costs nothing.
 *
 * A window is filled under the lock, and told without it: who asks may be slow,
 * or want something of the tracker in the middle of it. Between two windows
 * points may come and go; an answer is of one point from its first window to
 * its last, or ends with -ESTALE.
 */
#include <errno.h>
#include <string.h>

#include "cbt/tracker.h"
#include "cbt/window.h"
#include "tidemark/scan.h"

/* What is asked for: points that may be gone by the next window. */
struct subject {
	uint8_t uuid[16], until[16];
	bool has_until;
};

struct asked {
	uint64_t offset, end; /* bytes */
	bool (*run)(void *opaque, uint64_t length_bytes, bool dirty);
	void *opaque;
};

/* Up to @to, if that is ahead; false: no more is wanted. */
static bool say(struct asked *q, uint64_t to, bool dirty)
{
	if (to <= q->offset)
		return true;
	if (!q->run(q->opaque, to - q->offset, dirty))
		return false;
	q->offset = to;
	return true;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The runs of one window; false: no more is wanted. */
static bool report(const struct cbt_window *w, struct asked *q)
{
	uint64_t base = w->first << w->shift;
	uint64_t end = least((w->first + CBT_PAGE_BITS) << w->shift, q->end);

	while (q->offset < end) {
		struct cbt_run run = cbt_next_run(w->words, CBT_PAGE_BITS,
						  (q->offset - base) >>
							  w->shift);

		if (!say(q, least(base + (run.start << w->shift), end),
			 false) ||
		    !say(q, least(base + (run.end << w->shift), end), true))
			return false;
	}
	return true;
}

static const struct cbt_point *by_uuid(const struct cbt *c,
				       const uint8_t uuid[16])
{
	for (size_t i = 0; i < c->catalog.point_count; i++)
		if (!memcmp(c->catalog.points[i]->uuid, uuid, 16))
			return c->catalog.points[i];
	return NULL;
}

/* Under the lock: is its answer known? */
static int find(const struct cbt *c, const uint8_t uuid[16],
		const struct cbt_point **p, struct tide_error *err)
{
	*p = by_uuid(c, uuid);
	if (*p)
		return cbt_usable(c, *p, err);
	return tide_error_set(err, -ESTALE, "tracker", TIDE_NO_OFFSET, "%s: "
			      "what was asked for has been removed",
			      c->disk_path);
}

static int fill(struct cbt *c, const struct subject *s, const struct asked *q,
		struct cbt_window *w, struct tide_error *err)
{
	const struct cbt_point *p, *last;
	uint64_t until = CBT_NO_EPOCH;
	int ret = find(c, s->uuid, &p, err);

	if (!ret && s->has_until) {
		ret = find(c, s->until, &last, err);
		until = ret ? until : last->epoch;
	}
	if (ret)
		return ret;
	if (q->offset > q->end || q->end > c->catalog.size_bytes)
		return tide_error_set(err, -EINVAL, "tracker", q->offset,
				      "%s: the range reaches over the disk's "
				      "end", c->disk_path);
	w->shift = p->shift;
	w->first = (q->offset >> p->shift) / CBT_PAGE_BITS * CBT_PAGE_BITS;
	cbt_window_fill(w, c, p, until);
	return 0;
}

static int tell(struct cbt *c, const struct subject *s, struct asked *q,
		struct tide_error *err)
{
	struct cbt_window w;
	bool more = true;
	int ret = 0;

	while (more && q->offset < q->end && !ret) {
		pthread_mutex_lock(&c->lock);
		ret = fill(c, s, q, &w, err);
		pthread_mutex_unlock(&c->lock);
		if (!ret)
			more = report(&w, q);
	}
	return ret;
}

static int find_named(const struct cbt *c, const char *name,
		      const struct cbt_point **p, struct tide_error *err)
{
	*p = cbt_catalog_find(&c->catalog, name);
	return *p ? cbt_usable(c, *p, err) : cbt_no_point(c, name, err);
}

/* Under the lock: from here on they are known by what does not change. */
static int look_up(const struct cbt *c, const char *name, const char *until,
		   struct subject *s, struct tide_error *err)
{
	const struct cbt_point *p, *last;
	int ret = find_named(c, name, &p, err);

	if (ret)
		return ret;
	memcpy(s->uuid, p->uuid, 16);
	if (!until)
		return 0;
	ret = find_named(c, until, &last, err);
	if (ret)
		return ret;
	memcpy(s->until, last->uuid, 16);
	s->has_until = true;
	if (last->kind == CBT_CHECKPOINT && last->epoch >= p->epoch)
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
	struct subject s = { .has_until = false };
	int ret;

	pthread_mutex_lock(&c->lock);
	ret = look_up(c, name, until, &s, err);
	pthread_mutex_unlock(&c->lock);
	return ret ? ret : tell(c, &s, &q, err);
}

int cbt_changes_of(struct cbt *c, const uint8_t uuid[16],
		   uint64_t offset_bytes, uint64_t length_bytes,
		   bool (*run)(void *opaque, uint64_t length_bytes,
			       bool dirty),
		   void *opaque, struct tide_error *err)
{
	struct asked q = { offset_bytes, offset_bytes + length_bytes, run,
			   opaque };
	struct subject s = { .has_until = false };

	memcpy(s.uuid, uuid, 16);
	return tell(c, &s, &q, err);
}

/* Without what lies behind the disk's end: a shrink leaves it. */
static uint64_t bytes_of(const struct cbt_window *w, uint64_t size_bytes)
{
	uint64_t from = w->first << w->shift, bytes;
	uint64_t bits = cbt_bits_of(size_bytes - from, w->shift);

	if (bits > CBT_PAGE_BITS)
		bits = CBT_PAGE_BITS;
	bytes = tide_bitmap_count(w->words, bits) << w->shift;
	/* The last block may be shorter than the others. */
	return bytes < size_bytes - from ? bytes : size_bytes - from;
}

uint64_t cbt_count_of(struct cbt *c, const uint8_t uuid[16])
{
	struct subject s = { .has_until = false };
	struct asked q = { .end = 1 };
	uint64_t bytes = 0;
	struct cbt_window w;
	int ret = 0;

	memcpy(s.uuid, uuid, 16);
	while (q.offset < q.end && !ret) {
		pthread_mutex_lock(&c->lock);
		q.end = c->catalog.size_bytes;
		ret = fill(c, &s, &q, &w, NULL);
		pthread_mutex_unlock(&c->lock);
		if (ret || q.offset >= q.end)
			break;
		bytes += bytes_of(&w, q.end);
		q.offset = (w.first + CBT_PAGE_BITS) << w.shift;
	}
	return bytes;
}
