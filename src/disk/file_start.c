/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file driver: requests of a queue, and who carries them out.
 *
 *  - The ring: what does not wait (reads of cached pages), what O_DIRECT takes
 *    as it is, flushes, and large writes.
 *  - The queue's own thread: small writes into the page cache, where the file
 *    system cannot promise not to wait (ext4), if the owner allows it.
 *  - A lane of the pool: the same, if not: the ring would hand each to a kernel
 *    thread, one wakeup a write, where a lane does them in a row. Not those
 *    that are to be durable: the lane would stand still for each.
 *  - A worker: large reads of cached pages, whose cost is a copy that several
 *    threads share; zeroing and discarding, which wait in any case and have a
 *    way out when refused; parts of blocks under O_DIRECT.
 *
 * docs/evaluation.md has what each choice gained.
 */
#include <errno.h>
#include <sys/uio.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "disk/file.h"
#include "disk/queue_internal.h"

#define PARTS 64u
#define SMALL_BYTES 65536u
#define LARGE_BYTES 131072u
#define SLOW_NS UINT64_C(10000000)
#define PAUSE_NS UINT64_C(500000000)

/*
 * The first small write asks the file system, by being one that must not
 * wait. True: it is done already.
 */
static bool ask_nowait(struct file *f, struct tide_io *io)
{
	struct tide_vec v = tide__io_vec(io);
	struct iovec parts[PARTS];
	uint32_t count = tide__vec_parts(&v, parts, PARTS);
	ssize_t n = pwritev2(f->fd, parts, (int)count, (off_t)io->offset_bytes,
			     RWF_NOWAIT);

	/* A hint for later calls; nothing else depends on it. */
	if (n < 0 && errno != EAGAIN)
		tide__store_relaxed(&f->nowait, NOWAIT_REFUSED);
	else
		tide__store_relaxed(&f->nowait, NOWAIT_KNOWN);
	if (n < 0 || (uint64_t)n != io->length_bytes)
		return false;
	tide_io_complete(io, 0);
	return true;
}

/*
 * At once, here: no wakeup of anybody. What took long was held up by the
 * kernel (too much is dirty) or by other threads, and the next ones would be,
 * too: for a while the lanes have them.
 */
static bool write_in_place(struct file *f, struct tide_io *io)
{
	struct tide_queue *q = io->queue;
	uint64_t start = tide__now_ns(), took;
	struct tide_error err;
	struct tide_vec v;
	int ret;

	if (start < q->in_place_from_ns)
		return false;
	v = tide__io_vec(io);
	ret = file__writev(&f->disk, io->offset_bytes, &v, io->flags, &err);
	took = tide__now_ns() - start;
	if (took > SLOW_NS)
		q->in_place_from_ns = start + took + PAUSE_NS;
	tide_io_complete(io, ret);
	return true;
}

static bool start_small_write(struct file *f, struct tide_io *io)
{
	if (tide__load_relaxed(&f->nowait) == NOWAIT_UNKNOWN &&
	    ask_nowait(f, io))
		return true;
	if (tide__load_relaxed(&f->nowait) == NOWAIT_KNOWN &&
	    tide__uring_start(io, f->fd))
		return true;
	if (io->queue->in_place && write_in_place(f, io))
		return true;
	tide__pool_give_in_order(io);
	return true;
}

static bool start_cached(struct file *f, struct tide_io *io)
{
	if (io->op == TIDE_IO_WRITE && io->length_bytes <= SMALL_BYTES &&
	    !(io->flags & TIDE_FUA))
		return start_small_write(f, io);
	if (io->op == TIDE_IO_READ && io->length_bytes >= LARGE_BYTES)
		return false;
	return tide__uring_start(io, f->fd);
}

/* The ring keeps its progress in a child's scratch; ours has the range. */
static void direct_written(struct tide_io *child)
{
	struct tide_io *io = child->parent;
	int result = child->result;

	file__blocks_leave(file_of(io->disk), (void *)io->scratch);
	tide_io_put(io->queue, child);
	tide_io_complete(io, result);
}

static bool start_direct_write(struct file *f, struct tide_io *io)
{
	struct tide_io *child = tide_io_get(io->queue);

	if (!child)
		return false;
	if (!file__blocks_try_enter(f, (void *)io->scratch, io->offset_bytes,
				    io->length_bytes)) {
		tide_io_put(io->queue, child);
		return false;
	}
	*child = (struct tide_io){
		.op = TIDE_IO_WRITE, .flags = io->flags, .buf = io->buf,
		.iov = io->iov, .iov_count = io->iov_count,
		.done = direct_written,
		.offset_bytes = io->offset_bytes, .disk = io->disk,
		.length_bytes = io->length_bytes, .queue = io->queue,
		.parent = io,
	};
	if (tide__uring_start(child, f->fd))
		return true;
	file__blocks_leave(f, (void *)io->scratch);
	tide_io_put(io->queue, child);
	return false;
}

static bool start_direct(struct file *f, struct tide_io *io)
{
	struct tide_vec v;

	if (io->op == TIDE_IO_FLUSH)
		return tide__uring_start(io, f->fd);
	v = tide__io_vec(io);
	if (!file__is_aligned(f, io->offset_bytes, &v))
		return false;
	return io->op == TIDE_IO_WRITE ? start_direct_write(f, io)
				       : tide__uring_start(io, f->fd);
}

bool file__start(struct tide_disk *d, struct tide_io *io)
{
	struct file *f = file_of(d);

	if (io->op == TIDE_IO_ZERO || io->op == TIDE_IO_DISCARD)
		return false;
	return f->direct ? start_direct(f, io) : start_cached(f, io);
}
