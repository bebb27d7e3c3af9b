/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that need not wait: what is mapped in memory goes straight to the
 * queue below, as one child; what is zero completes at once. That is also true
 * of a first write that needs no copy and whose metadata is at hand: change.c
 * says so, and what is done before the data and after it.
 *
 * All else - a page of metadata that must be loaded, a copy, a request over
 * several extents, somebody in the way - is left to a worker, which carries
 * out the operations of read.c and write.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk/queue.h"
#include "qcow2/driver/change.h"

#define LOCK_TRIES 100 /* a few microseconds */

/* One request on its way. */
struct qcow2_flight {
	struct qcow2_flight *next; /* in the free list */
	struct qcow2 *q;
	struct tide_io *parent;
	bool writes; /* else it only holds its range */
	struct qcow2_change change;
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

static void done(struct tide_io *child)
{
	struct qcow2_flight *f = child->opaque;
	struct tide_io *parent = f->parent;
	struct qcow2 *q = f->q;
	int result = child->result;

	pthread_mutex_lock(&q->lock);
	if (f->writes)
		result = qcow2_change_end(q, &f->change, result, NULL);
	else
		qcow2_range_end(&q->ranges, &f->change.range);
	put_flight(q, f);
	pthread_mutex_unlock(&q->lock);
	tide_io_put(child->queue, child);
	tide_io_complete(parent, result);
}

/* A child for @io, and a flight for it; lock held. NULL: there is none. */
static struct tide_io *board(struct qcow2 *q, struct tide_io *io)
{
	struct qcow2_flight *f = get_flight(q);
	struct tide_io *child = f ? tide_io_get(io->queue) : NULL;

	if (!child) {
		if (f)
			put_flight(q, f);
		return NULL;
	}
	f->q = q;
	f->parent = io;
	*child = (struct tide_io){
		.op = io->op, .flags = io->flags & TIDE_FUA,
		.length_bytes = io->length_bytes, .buf = io->buf,
		.iov = io->iov, .iov_count = io->iov_count, .done = done,
		.opaque = f, .queue = io->queue,
	};
	return child;
}

static void leave(struct qcow2 *q, struct tide_io *child)
{
	put_flight(q, child->opaque);
	tide_io_put(child->queue, child);
}

/* Lock held; true: done or under way. *below and *child say what to start. */
static bool start_read(struct qcow2 *q, struct tide_io *io,
		       struct tide_disk **below, struct tide_io **child)
{
	uint64_t offset = io->offset_bytes, length = io->length_bytes;
	struct qcow2_flight *f;
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
	e.host_offset = backed ? offset : e.host_offset;
	if (e.host_offset + length > tide_disk_size(*below) ||
	    !(*child = board(q, io)))
		return false;
	f = (*child)->opaque;
	if (!qcow2_range_try(&q->ranges, &f->change.range,
			     round_down(offset, q->cluster_bytes),
			     round_up(offset + length, q->cluster_bytes),
			     false)) {
		leave(q, *child);
		return false;
	}
	(*child)->offset_bytes = e.host_offset;
	return true;
}

/* Likewise. What cannot be had without a wait is not even begun. */
static bool start_write(struct qcow2 *q, struct tide_io *io,
			struct tide_io **child)
{
	struct qcow2_flight *f;
	int ret;

	*child = board(q, io);
	if (!*child)
		return false;
	f = (*child)->opaque;
	f->writes = true;
	f->change.offset = io->offset_bytes;
	f->change.length = io->length_bytes;
	f->change.flags = io->flags;
	ret = qcow2_change_begin(q, &f->change, NULL);
	if (ret == 0) {
		(*child)->offset_bytes = f->change.host +
					 (f->change.offset - f->change.base);
		return true;
	}
	leave(q, *child);
	*child = NULL;
	if (ret == -EAGAIN)
		return false;
	tide_io_complete(io, ret);
	return true;
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
