/* SPDX-License-Identifier: BSD-2-Clause */
/* A queue from the driver's side; tidemark/queue.h has the user's. */
#ifndef TIDE_DISK_QUEUE_H
#define TIDE_DISK_QUEUE_H

#include "tidemark/disk_driver.h"
#include "tidemark/queue.h"

struct tide_vec;

/*
 * For drivers, in `start`: complete @io now; or hand a request to the file
 * below, as a child whose done callback is the driver's own. From the
 * queue's thread only.
 */
void tide_io_complete(struct tide_io *io, int result);
/* The memory of a read or write, in one piece or in parts; lives with @io. */
struct tide_vec tide__io_vec(struct tide_io *io);
/* A child io from the queue's free list; NULL when there is none: return
 * false from start. Given back with tide_io_put. */
struct tide_io *tide_io_get(struct tide_queue *queue);
void tide_io_put(struct tide_queue *queue, struct tide_io *child);
/* Submit a child. Not counted as a request of the caller's. */
void tide_io_start_child(struct tide_queue *queue, struct tide_disk *below,
			 struct tide_io *child);
/*
 * Whether small writes into the page cache may be carried out by the queue's
 * own thread, where they seldom wait and then for as long as the kernel holds
 * up who writes too much. For an owner that has nobody else to serve meanwhile.
 */
void tide__queue_in_place(struct tide_queue *queue, bool allowed);
/* Carry out @io's blocking operation on a worker; completes by itself. */
void tide_io_to_worker(struct tide_io *io);

#endif
