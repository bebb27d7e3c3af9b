/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queue: what becomes of a request, whichever engine stands below.
 *
 *   submit -> [waiting, while `depth` are under way] -> begin
 *   begin  -> refused -------------------------------> finished
 *          -> the driver's start (the ring, children) -> finished
 *          -> a worker ------------------------------> finished
 *          -> parked, until another thread says ------> finished, or begin
 *   finished -> done, called here and only here
 *
 * done is called from one loop, never from within another done: a callback
 * that submits what is complete at once does not deepen the stack.
 *
 * A child is told from a request of the caller's by where it lies: in the
 * array that the queue allocated for them.
 */
#include "disk/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "disk/disk_internal.h"
#include "disk/queue_internal.h"

#define MAX_DEPTH 4096u
#define CHILDREN_EACH 4u
#define MIN_ENTRIES 64u

static bool is_child(const struct tide_queue *q, const struct tide_io *io)
{
	return io >= q->children && io < q->children + q->child_count;
}

static int create_children(struct tide_queue *q)
{
	q->child_count = q->depth * CHILDREN_EACH;
	q->children = calloc(q->child_count, sizeof(*q->children));
	if (!q->children)
		return -ENOMEM;
	for (uint32_t i = q->child_count; i-- > 0;)
		tide_io_put(q, &q->children[i]);
	return 0;
}

static bool threads_wanted(void)
{
	const char *engine = getenv("TIDEMARK_IO");

	return engine && !strcmp(engine, "threads");
}

int tide_queue_create(uint32_t depth, struct tide_queue **out,
		      struct tide_error *err)
{
	struct tide_queue *q;

	if (!depth || depth > MAX_DEPTH)
		return tide_error_set(err, -EINVAL, "queue", TIDE_NO_OFFSET,
				      "a queue holds 1 to %u requests, not %u",
				      MAX_DEPTH, depth);
	q = calloc(1, sizeof(*q));
	if (!q)
		return tide_error_set(err, -ENOMEM, "queue", TIDE_NO_OFFSET,
				      "no memory for a queue");
	q->depth = depth;
	q->event_fd = eventfd(0, EFD_CLOEXEC);
	if (q->event_fd < 0 || create_children(q) < 0) {
		int code = q->event_fd < 0 ? -errno : -ENOMEM;

		tide_queue_destroy(q);
		return tide_error_set(err, code, "queue", TIDE_NO_OFFSET,
				      "a queue of %u: %s", depth,
				      strerror(-code));
	}
	if (!threads_wanted())
		tide__uring_create(q, depth < MIN_ENTRIES ? MIN_ENTRIES
							    : depth);
	*out = q;
	return 0;
}

void tide_queue_destroy(struct tide_queue *queue)
{
	if (!queue)
		return;
	tide__pool_destroy(queue);
	tide__uring_destroy(queue);
	if (queue->event_fd >= 0)
		close(queue->event_fd);
	free(queue->children);
	free(queue);
}

bool tide_queue_uses_uring(const struct tide_queue *queue)
{
	return queue->uring;
}

int tide_queue_fd(const struct tide_queue *queue)
{
	return queue->uring ? queue->ring.ring_fd : queue->event_fd;
}

void tide__queue_in_place(struct tide_queue *queue, bool allowed)
{
	queue->in_place = allowed;
}

uint32_t tide_queue_pending(const struct tide_queue *queue)
{
	return queue->pending;
}

struct tide_io *tide_io_get(struct tide_queue *queue)
{
	struct tide_io *io = queue->free_children;

	if (io)
		queue->free_children = io->next;
	return io;
}

void tide_io_put(struct tide_queue *queue, struct tide_io *child)
{
	child->next = queue->free_children;
	queue->free_children = child;
}

void tide_io_complete(struct tide_io *io, int result)
{
	io->result = result;
	io_list_add(&io->queue->finished, io);
}

void tide_io_to_worker(struct tide_io *io)
{
	if (!tide__pool_give(io->queue, io))
		tide_io_complete(io, tide__io_run(io));
}

bool tide_io_park(struct tide_io *io)
{
	return tide__pool_expect(io);
}

void tide_io_unpark(struct tide_io *io, int result)
{
	io->result = result;
	tide__pool_push(io);
}

void tide_io_again(struct tide_io *io)
{
	tide_io_unpark(io, TIDE__AGAIN);
}

struct tide_vec tide__io_vec(struct tide_io *io)
{
	struct tide_vec v = { io->iov, io->iov_count, 0, io->length_bytes };

	if (!io->iov_count) {
		io->whole = (struct iovec){ io->buf, io->length_bytes };
		v.parts = &io->whole;
		v.count = 1;
	}
	return v;
}

static bool has_memory(const struct tide_io *io)
{
	return (io->op != TIDE_IO_READ && io->op != TIDE_IO_WRITE) ||
	       !io->iov_count ||
	       tide__vec_sum(io->iov, io->iov_count) == io->length_bytes;
}

/* 0: go on; 1: nothing to do; or -errno. */
static int check(const struct tide_io *io)
{
	const struct tide_disk *d = io->disk;
	int ret;

	if (io->op == TIDE_IO_FLUSH)
		return !d->writable;
	if (!has_memory(io))
		return -EINVAL;
	if (io->op == TIDE_IO_READ)
		ret = tide__disk_check_range(d, io->offset_bytes,
					     io->length_bytes, NULL);
	else
		ret = tide__disk_check_change(d, io->offset_bytes,
					      io->length_bytes, NULL);
	return ret ? ret : !io->length_bytes;
}

/* A change that is to be durable is begun by drivers that know of that. */
static bool may_start(const struct tide_io *io)
{
	const struct tide_disk_ops *ops = io->disk->ops;

	return ops->start && (ops->fua || !(io->flags & TIDE_FUA));
}

void tide__io_begin(struct tide_io *io)
{
	int ret = check(io);

	if (ret)
		tide_io_complete(io, ret < 0 ? ret : 0);
	else if (!may_start(io) || !io->disk->ops->start(io->disk, io))
		tide_io_to_worker(io);
}

static void start_waiting(struct tide_queue *q)
{
	while (q->waiting.head && q->begun < q->depth) {
		q->begun++;
		tide__io_begin(io_list_take(&q->waiting));
	}
}

/* Call done for all that is finished, and for what that finishes. */
static void drain(struct tide_queue *q)
{
	struct tide_io *io;

	if (q->draining)
		return;
	q->draining = true;
	while ((io = io_list_take(&q->finished))) {
		if (!is_child(q, io)) {
			q->pending--;
			q->begun--;
			q->completed++;
		}
		io->done(io);
		if (q->waiting.head)
			start_waiting(q);
	}
	q->draining = false;
}

void tide_io_start_child(struct tide_queue *queue, struct tide_disk *below,
			 struct tide_io *child)
{
	child->queue = queue;
	child->disk = below;
	tide__io_begin(child);
}

void tide_queue_submit(struct tide_queue *queue, struct tide_disk *d,
		       struct tide_io *io)
{
	io->queue = queue;
	io->disk = d;
	io->parent = NULL;
	queue->pending++;
	io_list_add(&queue->waiting, io);
	start_waiting(queue);
	drain(queue);
}

/*
 * Is there something that nobody below knows of: what a done callback has just
 * submitted, or, while workers are busy, that we listen for them? Who sleeps on
 * tide_queue_fd would else sleep for ever.
 */
static bool has_untold(const struct tide_queue *q)
{
	for (uint32_t lane = 0; lane < LANES; lane++)
		if (q->lanes[lane].head)
			return true;
	return q->uring && (io_uring_sq_ready(&q->ring) ||
			    (q->in_workers && !q->event_armed));
}

int tide_queue_poll(struct tide_queue *queue, bool wait)
{
	bool sleep;
	int ret = 0;

	queue->completed = 0;
	do {
		if (!queue->uring)
			tide__pool_hear(queue);
		tide__pool_collect(queue);
		drain(queue);
		/* Last of all: what done has just submitted is told, too. */
		tide__pool_turn(queue);
		sleep = wait && !queue->completed && queue->pending &&
			!queue->finished.head;
		if (queue->uring)
			ret = tide__uring_turn(queue, sleep);
		else if (sleep)
			ret = tide__pool_wait(queue);
		tide__pool_collect(queue);
		drain(queue);
	} while (!ret && (has_untold(queue) || (wait && !queue->completed &&
						queue->pending)));
	return ret ? ret : (int)queue->completed;
}
