/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queue on io_uring.
 *
 * Requests are written into the ring by submit, and told to the kernel by one
 * call in poll, which also waits: a batch costs one system call. What comes
 * back short is sent again for the rest; a read that meets the end of the file
 * gives zeroes. Workers' results arrive here, too: while any worker is busy,
 * the ring reads the event they ring, so that one sleep serves both.
 *
 * A request on its way keeps the bytes done so far in scratch[0] and its
 * descriptor in scratch[1].
 */
#include <errno.h>
#include <string.h>

#include "disk/disk.h"
#include "disk/queue_internal.h"

#define REAP 64u
#define MAX_AT_ONCE (UINT64_C(1) << 30)
#define MAX_PARTS 1024u /* the kernel's UIO_MAXIOV */

/* Linux 5.19 and later need not be interrupted to complete: cheaper. */
int tide__uring_create(struct tide_queue *q, uint32_t entries)
{
	int ret = io_uring_queue_init(entries, &q->ring,
				      IORING_SETUP_COOP_TASKRUN |
					      IORING_SETUP_TASKRUN_FLAG);

	if (ret == -EINVAL)
		ret = io_uring_queue_init(entries, &q->ring, 0);
	q->uring = !ret;
	return ret;
}

void tide__uring_destroy(struct tide_queue *q)
{
	if (q->uring)
		io_uring_queue_exit(&q->ring);
}

/* An entry of the ring; makes room by telling the kernel of what is there. */
static struct io_uring_sqe *get_sqe(struct tide_queue *q)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);

	if (!sqe && io_uring_submit(&q->ring) > 0)
		sqe = io_uring_get_sqe(&q->ring);
	return sqe;
}

/*
 * A read or write of @v at @at. The array of parts is the caller's and stays
 * put; one is never made here: what begins in the middle of a part is the rest
 * of that part first.
 */
static void put_transfer(struct io_uring_sqe *sqe, int fd, bool out,
			 const struct tide_vec *v, uint64_t at)
{
	uint32_t count = v->count < MAX_PARTS ? v->count : MAX_PARTS;
	struct iovec part;

	if (count == 1 || v->skip_bytes) {
		tide__vec_parts(v, &part, 1);
		if (part.iov_len > MAX_AT_ONCE)
			part.iov_len = MAX_AT_ONCE;
		io_uring_prep_rw(out ? IORING_OP_WRITE : IORING_OP_READ, sqe,
				 fd, part.iov_base, (unsigned int)part.iov_len,
				 at);
	} else {
		io_uring_prep_rw(out ? IORING_OP_WRITEV : IORING_OP_READV, sqe,
				 fd, v->parts, count, at);
	}
}

/* What is left of @io, into the ring. */
static bool put_rest(struct tide_io *io)
{
	struct tide_queue *q = io->queue;
	struct io_uring_sqe *sqe = get_sqe(q);
	uint64_t done = io->scratch[0];
	int fd = (int)io->scratch[1];
	struct tide_vec v;

	if (!sqe)
		return false;
	if (io->op == TIDE_IO_FLUSH) {
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	} else {
		v = tide__io_vec(io);
		v = tide__vec_slice(&v, done, io->length_bytes - done);
		put_transfer(sqe, fd, io->op == TIDE_IO_WRITE, &v,
			     io->offset_bytes + done);
		if (io->op == TIDE_IO_WRITE && io->flags & TIDE_FUA)
			sqe->rw_flags = RWF_DSYNC;
	}
	io_uring_sqe_set_data(sqe, io);
	q->in_ring++;
	return true;
}

bool tide__uring_start(struct tide_io *io, int fd)
{
	if (!io->queue->uring)
		return false;
	io->scratch[0] = 0;
	io->scratch[1] = (uint64_t)fd;
	return put_rest(io);
}

/* O_DIRECT cannot go on from the middle of a block, where only the end is. */
static bool is_end(const struct tide_io *io, int n)
{
	return !n || (uint32_t)n % io->disk->alignment_bytes;
}

/* The kernel's answer @n to a read or write of the rest of @io. */
static void on_bytes(struct tide_io *io, int n)
{
	uint64_t left = io->length_bytes - io->scratch[0];

	if (io->op == TIDE_IO_READ && is_end(io, n)) {
		struct tide_vec v = tide__io_vec(io);

		v = tide__vec_slice(&v, io->scratch[0] + (uint64_t)n,
				    left - (uint64_t)n);
		tide__vec_zero(&v);
		left = (uint64_t)n;
	} else if (n == 0) {
		tide_io_complete(io, -EIO);
		return;
	}
	io->scratch[0] += (uint64_t)n;
	if (left == (uint64_t)n)
		tide_io_complete(io, 0);
	else if (!put_rest(io))
		tide_io_to_worker(io);	/* from the start: no harm */
}

static void on_answer(struct tide_queue *q, struct tide_io *io, int res)
{
	if (!io) {
		q->event_armed = false;
		return;
	}
	q->in_ring--;
	if (res == -EINTR || res == -EAGAIN) {
		if (!put_rest(io))
			tide_io_to_worker(io);
	} else if (res == -EOPNOTSUPP && io->flags & TIDE_FUA) {
		tide_io_to_worker(io);	/* a write, then a flush */
	} else if (res < 0) {
		tide_io_complete(io, res);
	} else if (io->op == TIDE_IO_FLUSH) {
		tide_io_complete(io, 0);
	} else {
		on_bytes(io, res);
	}
}

static void arm_event(struct tide_queue *q)
{
	struct io_uring_sqe *sqe;

	if (!q->in_workers || q->event_armed || !(sqe = get_sqe(q)))
		return;
	io_uring_prep_read(sqe, q->event_fd, &q->event_count,
			   sizeof(q->event_count), 0);
	io_uring_sqe_set_data(sqe, NULL);
	q->event_armed = true;
}

int tide__uring_turn(struct tide_queue *q, bool wait)
{
	struct io_uring_cqe *cqes[REAP];
	unsigned int n;
	int ret = 0;

	arm_event(q);
	if (wait && (q->in_ring || q->event_armed))
		ret = io_uring_submit_and_wait(&q->ring, 1);
	else if (io_uring_sq_ready(&q->ring))
		ret = io_uring_submit(&q->ring);
	do {
		n = io_uring_peek_batch_cqe(&q->ring, cqes, REAP);
		for (unsigned int i = 0; i < n; i++)
			on_answer(q, io_uring_cqe_get_data(cqes[i]),
				  cqes[i]->res);
		io_uring_cq_advance(&q->ring, n);
	} while (n == REAP);
	/* Busy or interrupted: what waits in the ring goes with the next. */
	if (ret == -EINTR || ret == -EAGAIN || ret == -EBUSY)
		ret = 0;
	return ret < 0 ? ret : 0;
}
