/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What changed: the union of a point's own bits, the deltas from its epoch on
 * and the live bits, put together window by window as it is asked for. No
 * state is kept for a reader, so any number of readers costs nothing.
 *
 * A window is filled under the lock and reported without it: the caller may be
 * slow, or call the tracker in the middle of it. Points may come and go
 * between two windows; an answer is about one and the same point from its
 * first window to its last, or ends with -ESTALE.
 */
#include <errno.h>
#include <string.h>

#include "cbt/tracker.h"
#include "cbt/turns.h"
#include "cbt/window.h"
#include "tidemark/scan.h"

/* What is asked for: points that may be gone by the next window. */
struct subject {
	uint8_t uuid[16], until[16];
	bool has_until;
};

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

static int fill(struct cbt *c, const struct subject *s, const struct cbt_turns *q,
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

static int tell(struct cbt *c, const struct subject *s, struct cbt_turns *q,
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
			more = cbt_turns_tell(q, &w);
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

/* For who wants to hear of one stretch at a time. */
struct one_by_one {
	bool (*run)(void *opaque, uint64_t length_bytes, bool dirty);
	void *opaque;
};

static bool tell_each(void *opaque, const uint64_t *lengths_bytes, size_t n,
		      bool dirty)
{
	struct one_by_one *o = opaque;

	for (size_t i = 0; i < n; i++, dirty = !dirty)
		if (!o->run(o->opaque, lengths_bytes[i], dirty))
			return false;
	return true;
}

int cbt_changes(struct cbt *c, const char *name, const char *until,
		uint64_t offset_bytes, uint64_t length_bytes,
		bool (*run)(void *opaque, uint64_t length_bytes, bool dirty),
		void *opaque, struct tide_error *err)
{
	struct one_by_one o = { run, opaque };
	struct cbt_turns q = { offset_bytes, offset_bytes + length_bytes,
			       tell_each, &o };
	struct subject s = { .has_until = false };
	int ret;

	pthread_mutex_lock(&c->lock);
	ret = look_up(c, name, until, &s, err);
	pthread_mutex_unlock(&c->lock);
	return ret ? ret : tell(c, &s, &q, err);
}

int cbt_changes_of(struct cbt *c, const uint8_t uuid[16],
		   uint64_t offset_bytes, uint64_t length_bytes,
		   cbt_tell *told, void *opaque, struct tide_error *err)
{
	struct cbt_turns q = { offset_bytes, offset_bytes + length_bytes,
			       told, opaque };
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
	struct cbt_turns q = { .end = 1 };
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
