/* SPDX-License-Identifier: BSD-2-Clause */
/* The queue from the inside: queue*.c, and drivers that stand on a file. */
#ifndef TIDE_DISK_QUEUE_INTERNAL_H
#define TIDE_DISK_QUEUE_INTERNAL_H

#include <limits.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "disk/queue.h"

struct tide__pool;

/* The result of a parked request that is to be begun again. */
#define TIDE__AGAIN INT_MIN

/* Lanes of the pool: what is in one is carried out one after the other. */
#define LANES 4u

/* First in, first out, by io->next. */
struct io_list {
	struct tide_io *head, *tail;
};

static inline void io_list_add(struct io_list *list, struct tide_io *io)
{
	io->next = NULL;
	if (list->tail)
		list->tail->next = io;
	else
		list->head = io;
	list->tail = io;
}

static inline struct tide_io *io_list_take(struct io_list *list)
{
	struct tide_io *io = list->head;

	if (io) {
		list->head = io->next;
		if (!list->head)
			list->tail = NULL;
	}
	return io;
}

struct tide_queue {
	uint32_t depth;
	uint32_t pending; /* the caller's, submitted and not done */
	uint32_t begun; /* the caller's, under way */
	uint32_t completed; /* the caller's, in this poll */
	bool draining;
	bool in_place; /* small cached writes may be done at once */
	uint64_t in_place_from_ns; /* not before: they were slow */
	struct io_list waiting; /* over the depth */
	struct io_list finished; /* done is to be called */

	struct tide_io *children, *free_children;
	uint32_t child_count;

	struct tide__pool *pool; /* NULL until somebody needs it */
	struct io_list lanes[LANES]; /* not yet told to the pool */
	uint32_t in_workers;
	int event_fd; /* a worker has finished something */

	bool uring;
	struct io_uring ring;
	uint32_t in_ring; /* requests; without the read of the event */
	bool event_armed; /* the ring reads event_fd into event_count */
	uint64_t event_count;
};

/* queue.c: check @io, and start it below or on a worker. */
void tide__io_begin(struct tide_io *io);

/* queue_uring.c. create: -errno where io_uring is refused. */
int tide__uring_create(struct tide_queue *q, uint32_t entries);
void tide__uring_destroy(struct tide_queue *q);
/*
 * For the file driver's start: carry out @io (read, write or flush) on @fd.
 * False: there is no ring, or it is full.
 */
bool tide__uring_start(struct tide_io *io, int fd);
/* Submit, and reap; @wait: sleep until something is there. 0 or -errno. */
int tide__uring_turn(struct tide_queue *q, bool wait);

/* queue_pool.c. give: a worker will have it; false if there is no pool. */
bool tide__pool_give(struct tide_queue *q, struct tide_io *io);
/*
 * Like give, at the next poll, and not beside others of the same disk: for
 * what would only wait for each other. A worker takes many with one wakeup.
 */
void tide__pool_give_in_order(struct tide_io *io);
/* The pool's stack will bring @io back: push, from any thread. */
bool tide__pool_expect(struct tide_io *io);
void tide__pool_push(struct tide_io *io);
/* Tell the pool of the lanes. */
void tide__pool_turn(struct tide_queue *q);
void tide__pool_collect(struct tide_queue *q);
/* Without a ring: the event is taken notice of, and silent again. */
void tide__pool_hear(struct tide_queue *q);
/* Sleep until a worker has finished something. 0 or -errno. */
int tide__pool_wait(struct tide_queue *q);
void tide__pool_destroy(struct tide_queue *q);
/* The blocking operation of @io, whose range was checked. 0 or -errno. */
int tide__io_run(struct tide_io *io);

#endif
