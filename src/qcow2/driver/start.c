/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that need not wait: what is mapped in memory goes straight to the
 * queue below, as one child; what is zero completes at once. That is also true
 * of a first write into clusters that need no copy and whose metadata is at
 * hand: they are allocated, written, and linked when the write is done.
 *
 * All else - a page of metadata that must be loaded, a copy, a request over
 * several extents, somebody in the way - is left to a worker, which carries
 * out the operations of read.c and write.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"
#include "disk/queue.h"

#define LOCK_TRIES 100 /* a few microseconds */

/* One request on its way. */
struct qcow2_flight {
	struct qcow2_flight *next; /* in the free list */
	struct qcow2 *q;
	struct qcow2_range range;
	struct tide_io *parent;
	/* A first write: what to link when it is done. */
	bool links;
	struct qcow2_entry entry;
	uint64_t host, clusters;
};

static struct qcow2_flight *get_flight(struct qcow2 *q)
{
	struct qcow2_flight *f = q->flights;

	if (f)
		q->flights = f->next;
	else
		f = malloc(sizeof(*f));
	if (f)
		memset(f, 0, sizeof(*f));
	return f;
}

static void put_flight(struct qcow2 *q, struct qcow2_flight *f)
{
	f->next = q->flights;
	q->flights = f;
}

void qcow2_flights_free(struct qcow2 *q)
{
	while (q->flights) {
		struct qcow2_flight *next = q->flights->next;

		free(q->flights);
		q->flights = next;
	}
}

/* Lock held. The data is in its clusters: let the entries say so. */
static int land(struct qcow2 *q, struct qcow2_flight *f, int result)
{
	if (result == 0)
		result = qcow2_free_reserve(q, f->clusters, NULL);
	for (uint64_t i = 0; result == 0 && i < f->clusters; i++) {
		uint8_t *at = f->entry.at + 8 * i;

		qcow2_release_entry(q, tide__get_be(at, 8), false);
		tide__put_be(at, (f->host + (i << q->cluster_bits)) |
					 QCOW2_ENTRY_COPIED, 8);
	}
	if (result == 0)
		qcow2_pin_dirty(&q->cache, &f->entry.pin);
	else
		qcow2_unalloc(q, f->host, f->clusters);
	return result;
}

static void done(struct tide_io *child)
{
	struct qcow2_flight *f = child->opaque;
	struct tide_io *parent = f->parent;
	struct qcow2 *q = f->q;
	int result = child->result;

	pthread_mutex_lock(&q->lock);
	if (f->links)
		result = land(q, f, result);
	qcow2_entry_put(&f->entry);
	qcow2_range_end(&q->ranges, &f->range);
	put_flight(q, f);
	pthread_mutex_unlock(&q->lock);
	tide_io_put(child->queue, child);
	tide_io_complete(parent, result);
}

/*
 * Register @io and give a child its place; lock held. NULL: somebody is in the
 * way, or there is no memory: a worker waits for both.
 */
static struct tide_io *take_off(struct qcow2 *q, struct tide_io *io,
				bool changer)
{
	uint64_t end = io->offset_bytes + io->length_bytes;
	struct qcow2_flight *f = get_flight(q);
	struct tide_io *child = f ? tide_io_get(io->queue) : NULL;

	if (!child || !qcow2_range_try(&q->ranges, &f->range,
				       round_down(io->offset_bytes,
						  q->cluster_bytes),
				       round_up(end, q->cluster_bytes),
				       changer)) {
		if (child)
			tide_io_put(io->queue, child);
		if (f)
			put_flight(q, f);
		return NULL;
	}
	f->q = q;
	f->parent = io;
	child->queue = io->queue;
	child->op = io->op;
	child->flags = io->flags & TIDE_FUA;
	child->length_bytes = io->length_bytes;
	child->buf = io->buf;
	child->iov = io->iov;
	child->iov_count = io->iov_count;
	child->done = done;
	child->opaque = f;
	return child;
}

static void back_out(struct qcow2 *q, struct tide_io *child)
{
	struct qcow2_flight *f = child->opaque;

	qcow2_entry_put(&f->entry);
	qcow2_range_end(&q->ranges, &f->range);
	put_flight(q, f);
	tide_io_put(child->queue, child);
}

/* --- reading --- */

/* Lock held; true: done or under way. *below and *child say what to start. */
static bool start_read(struct qcow2 *q, struct tide_io *io,
		       struct tide_disk **below, struct tide_io **child)
{
	uint64_t offset = io->offset_bytes, length = io->length_bytes;
	struct qcow2_extent e;
	bool backed;

	if (!qcow2_lookup_cached(q, offset, length, &e) ||
	    e.length_bytes < length || e.type == QCOW2_PACKED)
		return false;
	backed = e.type == QCOW2_UNALLOCATED && qcow2_backed(q, offset);
	if (e.type != QCOW2_DATA && !backed) {
		struct tide_vec to = tide__io_vec(io);

		tide__vec_zero(&to);
		tide_io_complete(io, 0);
		return true;
	}
	*below = backed ? q->backing : q->data;
	offset = backed ? offset : e.host_offset;
	if (offset + length > tide_disk_size(*below))
		return false;
	*child = take_off(q, io, false);
	if (*child)
		(*child)->offset_bytes = offset;
	return *child != NULL;
}

/* --- writing --- */

static bool start_in_place(struct qcow2 *q, struct tide_io *io,
			   const struct qcow2_extent *e, struct tide_io **child)
{
	struct tide_error err;

	if (e->host_offset + io->length_bytes > tide_disk_size(q->data))
		return false;
	if (!q->external && qcow2_guard(q, e->host_offset, io->length_bytes, 0,
					"a guest write", &err) < 0) {
		tide_io_complete(io, -EIO);
		return true;
	}
	*child = take_off(q, io, false);
	if (*child)
		(*child)->offset_bytes = e->host_offset;
	return *child != NULL;
}

/* May clusters be given out without a wait? */
static bool quick_alloc(struct qcow2 *q, uint64_t clusters)
{
	uint64_t end = (q->free_hint + clusters) << q->cluster_bits;

	return end <= tide_disk_size(q->file) &&
	       qcow2_refcounts_cached(q, q->free_hint, clusters);
}

static bool start_first(struct qcow2 *q, struct tide_io *io,
			const struct qcow2_extent *e, struct tide_io **child)
{
	uint64_t head = io->offset_bytes & (q->cluster_bytes - 1), got;
	uint64_t clusters = (head + io->length_bytes + q->cluster_bytes - 1) >>
			    q->cluster_bits;
	struct qcow2_flight *f;
	bool zeroed;

	if (q->extended || q->external || e->has_host ||
	    (e->type == QCOW2_UNALLOCATED &&
	     qcow2_backed(q, round_down(io->offset_bytes, q->cluster_bytes))) ||
	    !quick_alloc(q, clusters))
		return false;
	*child = take_off(q, io, true);
	if (!*child)
		return false;
	f = (*child)->opaque;
	if (!qcow2_l2_writable_cached(q, io->offset_bytes, &f->entry) ||
	    qcow2_alloc(q, clusters, &f->host, &got, &zeroed, NULL) < 0) {
		back_out(q, *child);
		return false;
	}
	if (got < clusters || !zeroed ||
	    qcow2_guard(q, f->host, clusters << q->cluster_bits, 0,
			"a guest write to a new cluster", NULL) < 0) {
		qcow2_unalloc(q, f->host, got);
		back_out(q, *child);
		return false;
	}
	f->links = true;
	f->clusters = clusters;
	(*child)->offset_bytes = f->host + head;
	return true;
}

static bool start_write(struct qcow2 *q, struct tide_io *io,
			struct tide_io **child)
{
	struct qcow2_extent e;

	if (q->broken || !q->prepared ||
	    q->cache.dirty_count > q->cache.bound / 2 ||
	    q->frees.count > q->cache.bound ||
	    !qcow2_lookup_cached(q, io->offset_bytes, io->length_bytes, &e) ||
	    e.length_bytes < io->length_bytes)
		return false;
	/* To be durable: where more than the data is not, that waits. */
	if (io->flags & TIDE_FUA && !e.durable)
		return false;
	if (e.type == QCOW2_DATA && (e.copied || q->external))
		return start_in_place(q, io, &e, child);
	if (io->flags & TIDE_FUA)
		return false;
	if (e.type == QCOW2_UNALLOCATED || e.type == QCOW2_ZERO)
		return start_first(q, io, &e, child);
	return false;
}

/*
 * A worker may hold the lock while it loads a page: no waiting for that. But
 * mostly it is held for less than handing a request to a worker takes; giving
 * up at once would make more workers, who are then in the way of the next.
 */
static bool lock_soon(struct qcow2 *q)
{
	for (int i = 0; i < LOCK_TRIES; i++)
		if (!pthread_mutex_trylock(&q->lock))
			return true;
	return false;
}

bool qcow2_start(struct tide_disk *d, struct tide_io *io)
{
	struct qcow2 *q = qcow2_of(d);
	struct tide_disk *below = q->data;
	struct tide_io *child = NULL;
	bool taken = false;

	if (io->op != TIDE_IO_READ && io->op != TIDE_IO_WRITE)
		return false;
	if (!lock_soon(q))
		return false;
	if (io->op == TIDE_IO_READ)
		taken = start_read(q, io, &below, &child);
	else
		taken = start_write(q, io, &child);
	if (!taken)
		child = NULL;
	pthread_mutex_unlock(&q->lock);
	if (child)
		tide_io_start_child(io->queue, below, child);
	return taken;
}
