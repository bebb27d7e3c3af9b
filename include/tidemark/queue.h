/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An asynchronous I/O queue: many requests in flight on any number of disks,
 * driven by one thread.
 *
 * The queue belongs to the thread that uses it: submit, poll and the `done`
 * callbacks all run there. It uses io_uring, or, if the kernel refuses io_uring
 * (or TIDEMARK_IO=threads is set), a pool of threads that make the blocking
 * calls of tidemark/disk.h. The same pool takes what a driver cannot start
 * without blocking: a qcow2 write that must copy, a read of a metadata block
 * that is not in memory.
 *
 * Each submitted io is completed exactly once, even if the disk fails. An io is
 * the caller's memory and must stay valid, at the same address, until its done
 * callback is called, which may submit it again.
 */
#ifndef TIDEMARK_QUEUE_H
#define TIDEMARK_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "tidemark/disk.h"
#include "tidemark/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tide_queue;

enum tide_io_op {
	TIDE_IO_READ,
	TIDE_IO_WRITE,
	TIDE_IO_ZERO,
	TIDE_IO_DISCARD,
	TIDE_IO_FLUSH
};

struct tide_io {
	/* Filled by the caller. */
	enum tide_io_op op;
	uint32_t flags; /* TIDE_ZERO_* for zero; TIDE_FUA for any change */
	uint64_t offset_bytes;
	uint64_t length_bytes;
	/*
	 * Memory: read: filled; write: not changed. One buffer, or, if
	 * @iov_count is not 0, parts whose lengths add up to length_bytes
	 * (else -EINVAL). The array, too, must stay valid until done.
	 */
	void *buf;
	const struct iovec *iov;
	uint32_t iov_count;
	void (*done)(struct tide_io *io); /* result is set */
	void *opaque;

	int result; /* 0 or -errno */

	/* The library's own. */
	struct tide_disk *disk;
	struct tide_queue *queue;
	struct tide_io *next;
	struct tide_io *parent;
	struct iovec whole; /* buf, as a part */
	uint64_t scratch[4]; /* the driver's */
	uint64_t reserved[4];
};

/*
 * tide_queue_create: at most @depth requests are in flight below (1 to 4096;
 * more may be submitted, and wait). -ENOMEM, -EINVAL; a refused io_uring is no
 * error. tide_queue_uses_uring tells which engine is used.
 */
int tide_queue_create(uint32_t depth, struct tide_queue **out,
		      struct tide_error *err);
/* The queue must be idle. NULL is fine. */
void tide_queue_destroy(struct tide_queue *queue);
bool tide_queue_uses_uring(const struct tide_queue *queue);

/*
 * tide_queue_submit: submit @io to @d. Never fails: errors are passed to done,
 * which may be called from within submit. The kernel may see the request only
 * at the next poll.
 */
void tide_queue_submit(struct tide_queue *queue, struct tide_disk *d,
		       struct tide_io *io);

/*
 * tide_queue_poll: submit to the kernel, and call done for completed requests;
 * with @wait, sleep until at least one is (if any is in flight). Returns how
 * many of the caller's requests were completed, or -errno.
 */
int tide_queue_poll(struct tide_queue *queue, bool wait);
/* Requests submitted and not completed. */
uint32_t tide_queue_pending(const struct tide_queue *queue);
/* Readable when poll has something to do: for a caller's own event loop. */
int tide_queue_fd(const struct tide_queue *queue);

#ifdef __cplusplus
}
#endif

#endif
