/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TIDE_FUA on a file: what the kernel is asked, on both engines and by the
 * calls that block. Every write of the file driver passes through here, the
 * ring's as it is told to the kernel. What it means to a qcow2 image is tested
 * by pulling the plug: qcow2_crash_test.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>
#include <liburing.h>

#include "base/atomic.h"
#include "disk/disk.h"
#include "disk/queue.h"

#define BYTES 65536u

static char path[] = "durable_test.XXXXXX";
static uint32_t durable, plain, syncs; /* atomic: writes and fdatasyncs */
static bool refuse; /* the kernel does not know RWF_DSYNC */

ssize_t __real_pwritev64v2(int fd, const struct iovec *v, int count,
			   off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *v, int count,
			   off_t offset, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *v, int count,
			   off_t offset, int flags)
{
	if (refuse && flags & RWF_DSYNC) {
		errno = EOPNOTSUPP;
		return -1;
	}
	tide__add_relaxed(flags & RWF_DSYNC ? &durable : &plain, 1);
	return __real_pwritev64v2(fd, v, count, offset, flags);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	tide__add_relaxed(&syncs, 1);
	return __real_fdatasync(fd);
}

/* What has been put into the ring and not yet shown to the kernel. */
static void look(struct io_uring *ring)
{
	for (unsigned int i = ring->sq.sqe_head; i != ring->sq.sqe_tail; i++) {
		struct io_uring_sqe *sqe =
			&ring->sq.sqes[i & ring->sq.ring_mask];

		if (sqe->opcode == IORING_OP_FSYNC)
			syncs++;
		if (sqe->opcode != IORING_OP_WRITE &&
		    sqe->opcode != IORING_OP_WRITEV)
			continue;
		if (sqe->rw_flags & RWF_DSYNC)
			durable++;
		else
			plain++;
		if (refuse && sqe->rw_flags & RWF_DSYNC)
			sqe->rw_flags = 1 << 30; /* nothing that it knows */
	}
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	look(ring);
	return __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n)
{
	look(ring);
	return __real_io_uring_submit_and_wait(ring, n);
}

struct world {
	struct tide_disk *d;
	struct tide_queue *q;
	char *buf;
};

static int setup(void **state, bool threads, bool direct)
{
	struct tide_disk_options o = { .writable = true, .format = "raw",
				       .direct = direct };
	struct world *w = calloc(1, sizeof(*w));
	int fd;

	memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
	fd = mkstemp(path);
	if (!w || fd < 0 || ftruncate(fd, BYTES) < 0)
		return -1;
	close(fd);
	setenv("TIDEMARK_IO", threads ? "threads" : "", 1);
	w->buf = aligned_alloc(4096, BYTES);
	if (!w->buf || tide_disk_open(path, &o, &w->d, NULL) ||
	    tide_queue_create(8, &w->q, NULL))
		return -1;
	memset(w->buf, 7, BYTES);
	*state = w;
	return 0;
}

static int setup_uring(void **state)
{
	return setup(state, false, false);
}

static int setup_threads(void **state)
{
	return setup(state, true, false);
}

static int setup_direct(void **state)
{
	return setup(state, false, true);
}

static int teardown(void **state)
{
	struct world *w = *state;

	tide_queue_destroy(w->q);
	tide_disk_close(w->d, NULL);
	unlink(path);
	free(w->buf);
	free(w);
	return 0;
}

static void count(struct tide_io *io)
{
	++*(int *)io->opaque;
}

/* Submit one, and see what became of it. */
static void run(struct world *w, enum tide_io_op op, uint32_t flags,
		uint64_t offset, uint64_t length)
{
	int calls = 0;
	struct tide_io io = { .op = op, .flags = flags, .buf = w->buf,
			      .offset_bytes = offset, .length_bytes = length,
			      .done = count, .opaque = &calls };

	durable = plain = syncs = 0;
	tide_queue_submit(w->q, w->d, &io);
	while (tide_queue_pending(w->q))
		assert_true(tide_queue_poll(w->q, true) >= 0);
	assert_int_equal(calls, 1);
	assert_int_equal(io.result, 0);
}

static void expect(uint32_t durable_writes, uint32_t flushes)
{
	assert_int_equal(durable, durable_writes);
	assert_int_equal(plain, 0);
	assert_int_equal(syncs, flushes);
}

/* Small, large, in place of nothing: one write, and no flush of the file. */
static void test_writes(void **state)
{
	struct world *w = *state;

	run(w, TIDE_IO_WRITE, TIDE_FUA, 4096, 4096);
	expect(1, 0);
	run(w, TIDE_IO_WRITE, TIDE_FUA, 0, BYTES);
	expect(1, 0);
	run(w, TIDE_IO_WRITE, TIDE_FUA, 100, 100);
	expect(1, 0);
	run(w, TIDE_IO_WRITE, 0, 4096, 4096);
	assert_int_equal(durable + syncs, 0);
	run(w, TIDE_IO_READ, TIDE_FUA, 4096, 4096);
	expect(0, 0);
}

static void test_blocking(void **state)
{
	struct world *w = *state;
	struct iovec parts[3] = { { w->buf, 512 }, { w->buf, 0 },
				  { w->buf + 512, 512 } };

	durable = plain = syncs = 0;
	assert_int_equal(tide_disk_writev(w->d, 0, parts, 3, TIDE_FUA, NULL),
			 0);
	expect(1, 0);
	assert_int_equal(tide_disk_zero(w->d, 0, 4096, TIDE_FUA, NULL), 0);
	assert_int_equal(syncs, 1);
}

/* What has no such write: a flush follows. */
static void test_space(void **state)
{
	struct world *w = *state;

	run(w, TIDE_IO_ZERO, TIDE_FUA, 0, 4096);
	assert_int_equal(syncs, 1);
	run(w, TIDE_IO_ZERO, 0, 0, 4096);
	assert_int_equal(syncs, 0);
	run(w, TIDE_IO_DISCARD, TIDE_FUA, 0, 4096);
	assert_int_equal(syncs, 1);
}

/* A kernel that does not know the flag: a write, then a flush. */
static void test_refused(void **state)
{
	struct world *w = *state;
	char got[4096];

	refuse = true;
	memset(w->buf, 9, BYTES);
	run(w, TIDE_IO_WRITE, TIDE_FUA, 4096, 4096);
	refuse = false;
	assert_int_equal(plain, 1);
	assert_int_equal(syncs, 1);
	assert_int_equal(tide_disk_read(w->d, 4096, got, 4096, NULL), 0);
	assert_memory_equal(got, w->buf, 4096);
}

#define EACH(name)                                                           \
	{ #name " (io_uring)", name, setup_uring, teardown, NULL },          \
	{ #name " (threads)", name, setup_threads, teardown, NULL },         \
	{ #name " (O_DIRECT)", name, setup_direct, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_writes), EACH(test_blocking), EACH(test_space),
		EACH(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
