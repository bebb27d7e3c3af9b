/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one path of a guest's write through the metadata.
 *
 * In place goes what has a host cluster (or subcluster) of its own. All else
 * gets one: where the entry has none, shares one with a snapshot, or is
 * compressed. No reader ever sees a cluster before its bytes are there, as its
 * entry is written last; a failure before gives the clusters back, and the old
 * content stays.
 *
 * Who must not wait is told -EAGAIN where that would take a page from the
 * file, a copy, a longer file, or somebody in the way: `wait` is asked at each
 * of these places, and nowhere else do the two ways differ.
 *
 * With subclusters (extended L2) copying is by the subcluster: a small write
 * into a new cluster brings the rest of its first and last one along and leaves
 * the other thirty to the backing file. Only a cluster that a snapshot shares,
 * or a compressed one, is copied whole.
 */
#include "qcow2/driver/change.h"

#include <errno.h>

#include "base/bytes.h"

static bool in_place(const struct qcow2 *q, const struct qcow2_extent *e)
{
	return e->type == QCOW2_DATA && (e->copied || q->external);
}

static bool is_whole(const struct qcow2_change *c)
{
	return c->from == c->offset && c->to == c->offset + c->length;
}

bool qcow2_change_has_edges(const struct qcow2 *q, const struct qcow2_change *c)
{
	if (is_whole(c))
		return false;
	/* Subclusters of one cluster may each be something else. */
	if (q->extended || c->e.type == QCOW2_DATA || c->e.type == QCOW2_PACKED)
		return true;
	if (c->e.type == QCOW2_UNALLOCATED &&
	    qcow2_backed(q, round_down(c->offset, q->cluster_bytes)))
		return true;
	return !c->zeroed;
}

/* --- what lies there ------------------------------------------------------ */

static int look_up(struct qcow2 *q, struct qcow2_change *c,
		   struct tide_error *err)
{
	if (c->wait)
		return qcow2_lookup(q, c->offset, c->length, &c->e, err);
	if (!qcow2_lookup_cached(q, c->offset, c->length, &c->e) ||
	    c->e.length_bytes < c->length)
		return -EAGAIN;
	return 0;
}

/* True: it had to wait for that, and the mapping may be another. */
static bool enter(struct qcow2 *q, struct qcow2_change *c)
{
	return qcow2_range_begin(
		&q->ranges, &c->range, round_down(c->offset, q->cluster_bytes),
		round_up(c->offset + c->length, q->cluster_bytes),
		!in_place(q, &c->e), &q->lock);
}

static int try_enter(struct qcow2 *q, struct qcow2_change *c)
{
	return qcow2_range_try(&q->ranges, &c->range,
			       round_down(c->offset, q->cluster_bytes),
			       round_up(c->offset + c->length,
					q->cluster_bytes),
			       !in_place(q, &c->e)) ? 0 : -EAGAIN;
}

/*
 * Register it in the way its mapping asks for, and look again when that took a
 * wait. On success the range is registered.
 */
static int register_range(struct qcow2 *q, struct qcow2_change *c,
			  struct tide_error *err)
{
	for (;;) {
		int ret = look_up(q, c, err);
		bool changer = !in_place(q, &c->e);

		if (ret < 0)
			return ret;
		c->length = c->e.length_bytes;
		if (!c->wait)
			return try_enter(q, c);
		if (!enter(q, c))
			return 0;
		ret = look_up(q, c, err);
		if (ret == 0 && (changer || in_place(q, &c->e))) {
			c->length = c->e.length_bytes;
			return 0;
		}
		qcow2_range_end(&q->ranges, &c->range);
		if (ret < 0)
			return ret;
	}
}

/* --- where it goes -------------------------------------------------------- */

/* Are the clusters there already, and its own? */
static bool has_own(const struct qcow2 *q, const struct qcow2_change *c)
{
	return q->external || (c->e.has_host && c->e.copied);
}

/* May clusters be given out without a wait, and the data follow as it is? */
static bool is_quick(struct qcow2 *q, const struct qcow2_change *c)
{
	struct qcow2_change best = *c;
	uint64_t end;

	best.zeroed = !has_own(q, c);
	if (qcow2_change_has_edges(q, &best))
		return false;
	if (has_own(q, c))
		return !q->extended || c->clusters == 1;
	if (q->extended && (c->clusters > 1 || tide__get_be(c->entry.at, 8)))
		return false;
	end = (q->free_hint + c->clusters) << q->cluster_bits;
	return end <= tide_disk_size(q->file) &&
	       qcow2_refcounts_cached(q, q->free_hint, c->clusters);
}

static int take_entry(struct qcow2 *q, struct qcow2_change *c,
		      struct tide_error *err)
{
	if (c->wait)
		return qcow2_l2_writable(q, c->offset, &c->entry, err);
	return qcow2_l2_writable_cached(q, c->offset, &c->entry) ? 0 : -EAGAIN;
}

/* New ones; if they are fewer than asked for, the write becomes shorter. */
static int allocate(struct qcow2 *q, struct qcow2_change *c,
		    struct tide_error *err)
{
	uint64_t head = c->offset - c->base, got;
	int ret = qcow2_alloc(q, c->clusters, &c->host, &got, &c->zeroed, err);

	if (ret < 0)
		return ret;
	c->fresh = true;
	if (got < c->clusters) {
		c->clusters = got;
		c->length = (got << q->cluster_bits) - head;
		return c->wait ? 0 : -EAGAIN;
	}
	return 0;
}

/* Which bytes the entries will say are there. */
static void set_area(const struct qcow2 *q, struct qcow2_change *c)
{
	uint64_t unit = 1ull << q->unit_bits;

	c->from = c->base;
	c->to = c->base + (c->clusters << q->cluster_bits);
	/* A new cluster takes over what an old entry said of all of it. */
	if (q->extended && !(c->fresh && tide__get_be(c->entry.at, 8))) {
		c->from = round_down(c->offset, unit);
		c->to = round_up(c->offset + c->length, unit);
	}
}

static int choose_host(struct qcow2 *q, struct qcow2_change *c,
		       struct tide_error *err)
{
	int ret = 0;

	if (q->external)
		c->host = c->base;
	else if (has_own(q, c))
		c->host = c->e.host_offset - (c->offset - c->base);
	else
		ret = allocate(q, c, err);
	set_area(q, c);
	if (ret == 0 && !q->external)
		ret = qcow2_guard(q, c->host, c->clusters << q->cluster_bits, 0,
				  "a guest write to a new cluster", err);
	/* Only now is it known, and it would take a copy, or a longer file. */
	if (ret == 0 && !c->wait &&
	    (qcow2_change_has_edges(q, c) ||
	     c->host + (c->to - c->base) > tide_disk_size(q->data)))
		ret = -EAGAIN;
	return ret;
}

static int begin_new(struct qcow2 *q, struct qcow2_change *c,
		     struct tide_error *err)
{
	int ret;

	c->base = round_down(c->offset, q->cluster_bytes);
	c->clusters =
		(c->offset - c->base + c->length + q->cluster_bytes - 1) >>
		q->cluster_bits;
	ret = take_entry(q, c, err);
	if (ret == 0) {
		set_area(q, c);
		ret = c->wait || is_quick(q, c) ? choose_host(q, c, err)
						: -EAGAIN;
	}
	return ret;
}

static int begin_in_place(struct qcow2 *q, struct qcow2_change *c,
			  struct tide_error *err)
{
	c->base = c->from = c->offset;
	c->to = c->offset + c->length;
	c->host = c->e.host_offset;
	if (!c->wait && c->host + c->length > tide_disk_size(q->data))
		return -EAGAIN;
	return q->external ? 0 : qcow2_guard(q, c->host, c->length, 0,
					     "a guest write", err);
}

/* --- the beginning and the end -------------------------------------------- */

/* Is there no need to make the image ready, or to flush for room? */
static bool is_ready(const struct qcow2 *q)
{
	return !q->broken && q->prepared &&
	       q->cache.dirty_count <= q->cache.bound / 2 &&
	       q->frees.count <= q->cache.bound;
}

int qcow2_change_begin(struct qcow2 *q, struct qcow2_change *c,
		       struct tide_error *err)
{
	int ret = c->wait ? qcow2_may_write(q, err) : is_ready(q) ? 0 : -EAGAIN;

	c->clusters = 0;
	c->fresh = c->zeroed = false;
	c->entry = (struct qcow2_entry){ { NULL }, NULL };
	if (ret == 0)
		ret = register_range(q, c, err);
	if (ret < 0)
		return ret;
	c->to_flush = c->flags & TIDE_FUA &&
		      !(in_place(q, &c->e) && c->e.durable);
	if (c->to_flush && !c->wait)
		ret = -EAGAIN;
	else if (in_place(q, &c->e))
		ret = begin_in_place(q, c, err);
	else
		ret = begin_new(q, c, err);
	return ret < 0 ? qcow2_change_end(q, c, ret, err) : 0;
}

/* Subclusters of the entry in hand that hold data from now on. */
static void set_subclusters(const struct qcow2 *q, const struct qcow2_change *c)
{
	uint32_t first = (uint32_t)((c->from - c->base) >> q->unit_bits);
	uint32_t last = (uint32_t)((c->to - c->base) >> q->unit_bits);
	uint64_t mask = ((1ull << last) - 1) & ~((1ull << first) - 1);
	uint64_t bits = tide__get_be(c->entry.at + 8, 8) | mask;

	tide__put_be(c->entry.at + 8, bits & ~(mask << 32), 8);
}

/* The data is in its clusters: let the entries say so. */
static int link_clusters(struct qcow2 *q, struct qcow2_change *c,
			 struct tide_error *err)
{
	int ret = qcow2_free_reserve(q, c->clusters, err);

	if (ret < 0)
		return ret;
	for (uint64_t i = 0; i < c->clusters; i++) {
		uint8_t *at = c->entry.at + q->entry_bytes * i;
		uint64_t host = c->host + (i << q->cluster_bits);

		if (c->fresh)
			qcow2_release_entry(q, tide__get_be(at, 8), false);
		tide__put_be(at, host | QCOW2_ENTRY_COPIED, 8);
	}
	if (q->extended)
		set_subclusters(q, c);
	qcow2_pin_dirty(&q->cache, &c->entry.pin);
	return 0;
}

int qcow2_change_end(struct qcow2 *q, struct qcow2_change *c, int result,
		     struct tide_error *err)
{
	if (result == 0 && c->clusters)
		result = link_clusters(q, c, err);
	if (result < 0 && c->fresh)
		qcow2_unalloc(q, c->host, c->clusters);
	qcow2_entry_put(&c->entry);
	qcow2_range_end(&q->ranges, &c->range);
	return result;
}
