/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks of an embedder's: registered by name and scheme, used with the calls
 * that block and through a queue on both engines, whose requests another thread
 * ends. What the table of calls lacks is made up for.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "seed.h"
#include "tidemark/disk_driver.h"

#define BYTES (1u << 20)
#define BLOCK 4096u
#define DEPTH 16
#define REQUESTS 20000u

/* Memory, and a thread that does what start has parked. */
struct memory {
	uint8_t bytes[BYTES];
	uint32_t flushes, closes, durable; /* atomic */
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct tide_io *parked[DEPTH];
	uint32_t count;
	bool stop;
	pthread_t thread;
};

static struct memory memory = { .lock = PTHREAD_MUTEX_INITIALIZER,
				.more = PTHREAD_COND_INITIALIZER };
static bool with_start, writable_only_read;

static void copy(uint8_t *at, const struct iovec *parts, uint32_t count,
		 bool out)
{
	for (uint32_t i = 0; i < count; i++) {
		if (out)
			memcpy(at, parts[i].iov_base, parts[i].iov_len);
		else
			memcpy(parts[i].iov_base, at, parts[i].iov_len);
		at += parts[i].iov_len;
	}
}

static int mem_read(void *opaque, uint64_t offset_bytes,
		    const struct iovec *parts, uint32_t count,
		    struct tide_error *err)
{
	struct memory *m = opaque;

	(void)err;
	copy(m->bytes + offset_bytes, parts, count, false);
	return 0;
}

static int mem_write(void *opaque, uint64_t offset_bytes,
		     const struct iovec *parts, uint32_t count, uint32_t flags,
		     struct tide_error *err)
{
	struct memory *m = opaque;

	(void)err;
	tide__add_relaxed(&m->durable, flags & TIDE_FUA ? 1 : 0);
	copy(m->bytes + offset_bytes, parts, count, true);
	return 0;
}

static int mem_flush(void *opaque, struct tide_error *err)
{
	(void)err;
	tide__add_relaxed(&((struct memory *)opaque)->flushes, 1);
	return 0;
}

static int mem_close(void *opaque, struct tide_error *err)
{
	(void)err;
	tide__add_relaxed(&((struct memory *)opaque)->closes, 1);
	return 0;
}

static bool mem_start(void *opaque, struct tide_io *io)
{
	struct memory *m = opaque;

	if ((io->op != TIDE_IO_READ && io->op != TIDE_IO_WRITE) ||
	    !tide_io_park(io))
		return false;
	pthread_mutex_lock(&m->lock);
	m->parked[m->count++] = io;
	pthread_cond_signal(&m->more);
	pthread_mutex_unlock(&m->lock);
	return true;
}

static void *work(void *opaque)
{
	struct memory *m = opaque;

	pthread_mutex_lock(&m->lock);
	while (!m->stop) {
		struct tide_io *io = m->count ? m->parked[--m->count] : NULL;
		const struct iovec *parts;
		uint32_t count;

		if (!io) {
			pthread_cond_wait(&m->more, &m->lock);
			continue;
		}
		parts = tide_io_parts(io, &count);
		copy(m->bytes + io->offset_bytes, parts, count,
		     io->op == TIDE_IO_WRITE);
		tide_io_unpark(io, 0);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static int mem_open(void *opaque, const char *path,
		    const struct tide_disk_options *options,
		    struct tide_disk **out, struct tide_error *err)
{
	struct tide_disk_calls calls = {
		.size = sizeof(calls), .name = "memory", .read = mem_read,
		.write = mem_write, .flush = mem_flush, .close = mem_close,
		.start = with_start ? mem_start : NULL,
	};

	if (!strcmp(path, "mem:none"))
		return tide_error_set(err, -ENOENT, "memory", TIDE_NO_OFFSET,
				      "%s: there is no such memory", path);
	if (writable_only_read)
		calls.write = NULL;
	return tide_disk_create(&calls, opaque, path, BYTES,
				options->writable, out, err);
}

static const struct tide_disk_driver driver = {
	.size = sizeof(driver), .name = "memory", .scheme = "mem",
	.open = mem_open, .opaque = &memory,
};

static struct tide_disk *open_it(const char *path, const char *format)
{
	struct tide_disk_options o = { .size = sizeof(o), .writable = true,
				       .format = format };
	struct tide_error err;
	struct tide_disk *d;

	if (tide_disk_open(path, &o, &d, &err))
		fail_msg("%s", err.text);
	return d;
}

/* --- who may be registered, and who is found ----------------------------- */

static int register_as(const char *name, const char *scheme)
{
	struct tide_disk_driver d = driver;

	d.name = name;
	d.scheme = scheme;
	return tide_disk_register(&d, NULL);
}

static void test_names(void **state)
{
	struct {
		struct tide_disk_driver d;
		uint64_t later;
	} o = { driver, 1 };

	(void)state;
	assert_int_equal(register_as("memory", NULL), -EEXIST);
	assert_int_equal(register_as("other", "mem"), -EEXIST);
	assert_int_equal(register_as("mem", NULL), -EEXIST);
	assert_int_equal(register_as("qcow2", NULL), -EEXIST);
	assert_int_equal(register_as("other", "file"), -EEXIST);
	assert_int_equal(register_as("", NULL), -EINVAL);
	assert_int_equal(register_as("a/b", NULL), -EINVAL);
	assert_int_equal(register_as("other", "A"), -EINVAL);
	assert_int_equal(register_as(NULL, "x"), -EINVAL);
	o.d.name = "other";
	o.d.scheme = NULL;
	o.d.size = sizeof(o);
	assert_int_equal(tide_disk_register(&o.d, NULL), -EINVAL);
}

static void test_open(void **state)
{
	const struct tide_disk_options w = { .writable = true };
	char path[] = "driver_test.XXXXXX", url[64];
	struct tide_error err;
	struct tide_disk *d;
	char byte;

	(void)state;
	d = open_it("mem:pool/a:b", NULL);
	assert_int_equal(tide_disk_size(d), BYTES);
	assert_int_equal(tide_disk_read(d, BYTES, &byte, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "mem:pool/a:b"));
	memory.closes = 0;
	assert_int_equal(tide_disk_close(d, NULL), 0);
	assert_int_equal(memory.closes, 1);
	assert_int_equal(tide_disk_close(open_it("any", "memory"), NULL), 0);
	assert_int_equal(tide_disk_open("mem:none", &w, &d, &err), -ENOENT);
	/* No scheme of ours, or none at all: files. */
	assert_int_equal(tide_disk_open("mex:a", &w, &d, &err), -ENOENT);
	assert_int_equal(tide_disk_open("./mem:a", &w, &d, &err), -ENOENT);
	assert_int_equal(tide_disk_open("me:m", &w, &d, &err), -ENOENT);
	writable_only_read = true;
	assert_int_equal(tide_disk_open("mem:a", &w, &d, &err), -EINVAL);
	assert_int_equal(tide_disk_open("mem:a", NULL, &d, &err), 0);
	assert_int_equal(tide_disk_write(d, 0, "x", 1, &err), -EROFS);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	writable_only_read = false;
	close(mkstemp(path));
	assert_int_equal(truncate(path, 12345), 0);
	snprintf(url, sizeof(url), "file:%s", path);
	d = open_it(url, NULL);
	assert_int_equal(tide_disk_size(d), 12345);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	unlink(path);
}

/* --- what the table lacks ------------------------------------------------- */

static void test_made_up(void **state)
{
	struct tide_disk *d = open_it("mem:a", NULL);
	static const uint8_t zeroes[3 * BLOCK];
	static uint8_t buf[200];
	struct iovec parts[200];
	struct tide_disk_extent x;

	(void)state;
	memset(memory.bytes, 5, BYTES);
	assert_int_equal(tide_disk_zero(d, 1000, 3 * BLOCK, 0, NULL), 0);
	assert_memory_equal(memory.bytes + 1000, zeroes, sizeof(zeroes));
	assert_int_equal(memory.bytes[999], 5);
	assert_int_equal(memory.bytes[1000 + 3 * BLOCK], 5);
	assert_int_equal(tide_disk_zero(d, 0, 1, TIDE_ZERO_NO_FALLBACK, NULL),
			 -ENOTSUP);
	assert_int_equal(tide_disk_discard(d, 0, 1, NULL), -ENOTSUP);
	assert_int_equal(tide_disk_resize(d, 1, NULL), -ENOTSUP);
	assert_int_equal(tide_disk_status(d, 5, 77, &x, NULL), 0);
	assert_true(x.length_bytes == 77 && !x.flags);
	memory.flushes = memory.durable = 0;
	for (int i = 0; i < 200; i++) {
		buf[i] = (uint8_t)i;
		parts[i] = (struct iovec){ &buf[i], 1 };
	}
	assert_int_equal(tide_disk_writev(d, 300, parts, 200, TIDE_FUA, NULL),
			 0);
	assert_memory_equal(memory.bytes + 300, buf, 200);
	assert_int_equal(memory.flushes, 1);
	assert_int_equal(memory.durable, 0);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

/* --- in a queue ----------------------------------------------------------- */

struct request {
	struct tide_io io;
	uint64_t *seed, at;
	uint32_t *left, *done;
	uint8_t expected;
	uint8_t buf[BLOCK];
	struct iovec parts[2];
};

static void next(struct request *r, struct tide_queue *q, struct tide_disk *d)
{
	r->io.op = seed_next(r->seed) & 1 ? TIDE_IO_WRITE : TIDE_IO_READ;
	if (r->io.op == TIDE_IO_WRITE) {
		r->expected = (uint8_t)seed_next(r->seed);
		memset(r->buf, r->expected, BLOCK);
	}
	r->io.iov_count = seed_next(r->seed) & 1 ? 2 : 0;
	r->io.flags = r->io.op == TIDE_IO_WRITE && !seed_below(r->seed, 8)
			      ? TIDE_FUA : 0;
	tide_queue_submit(q, d, &r->io);
}

static void on_done(struct tide_io *io)
{
	struct request *r = io->opaque;

	assert_int_equal(io->result, 0);
	if (io->op == TIDE_IO_READ)
		for (uint32_t i = 0; i < BLOCK; i++)
			assert_int_equal(r->buf[i], r->expected);
	++*r->done;
	if (*r->left) {
		--*r->left;
		next(r, io->queue, io->disk);
	}
}

static void in_queue(bool start, const char *engine)
{
	static struct request requests[DEPTH];
	uint64_t seed = seed_of("driver", 11);
	uint32_t left = REQUESTS - DEPTH, done = 0;
	struct tide_queue *q;
	struct tide_disk *d;
	struct pollfd event;

	with_start = start;
	memset(memory.bytes, 0, BYTES);
	memory.stop = false;
	pthread_create(&memory.thread, NULL, work, &memory);
	d = open_it("mem:a", NULL);
	setenv("TIDEMARK_IO", engine, 1);
	assert_int_equal(tide_queue_create(DEPTH, &q, NULL), 0);
	event = (struct pollfd){ .fd = tide_queue_fd(q), .events = POLLIN };
	for (uint32_t i = 0; i < DEPTH; i++) {
		struct request *r = &requests[i];

		memset(r, 0, sizeof(*r));
		r->seed = &seed;
		r->left = &left;
		r->done = &done;
		r->parts[0] = (struct iovec){ r->buf, 1000 };
		r->parts[1] = (struct iovec){ r->buf + 1000, BLOCK - 1000 };
		r->io.iov = r->parts;
		r->io.buf = r->buf;
		r->io.offset_bytes = i * BLOCK;
		r->io.length_bytes = BLOCK;
		r->io.done = on_done;
		r->io.opaque = r;
		next(r, q, d);
	}
	while (done < REQUESTS) {
		assert_true(tide_queue_poll(q, false) >= 0);
		if (done < REQUESTS && !tide_queue_poll(q, false))
			assert_true(poll(&event, 1, 10000) == 1 ||
				    errno == EINTR);
	}
	assert_int_equal(tide_queue_pending(q), 0);
	tide_queue_destroy(q);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	pthread_mutex_lock(&memory.lock);
	memory.stop = true;
	pthread_cond_signal(&memory.more);
	pthread_mutex_unlock(&memory.lock);
	pthread_join(memory.thread, NULL);
	with_start = false;
}

static uint64_t real_bytes, told_bytes;

static int mem_real_size(void *opaque, uint64_t *size_bytes,
			 struct tide_error *err)
{
	(void)opaque;
	(void)err;
	*size_bytes = real_bytes;
	return 0;
}

static int mem_resize(void *opaque, uint64_t size_bytes, struct tide_error *err)
{
	(void)opaque;
	(void)err;
	told_bytes = size_bytes;
	return 0;
}

/* Others may resize what a driver accesses, if it can say how large it is. */
static void test_notice(void **state)
{
	struct tide_disk_calls calls = { .size = sizeof(calls), .name = "m",
					 .read = mem_read,
					 .resize = mem_resize };
	struct tide_disk *d;

	(void)state;
	assert_int_equal(tide_disk_create(&calls, &memory, "m", BYTES, false,
					  &d, NULL), 0);
	assert_int_equal(tide_disk_notice(d, NULL), -ENOTSUP);
	assert_int_equal(tide_disk_close(d, NULL), 0);
	calls.real_size = mem_real_size;
	assert_int_equal(tide_disk_create(&calls, &memory, "m", BYTES, false,
					  &d, NULL), 0);
	real_bytes = BYTES;
	assert_int_equal(tide_disk_notice(d, NULL), 0);
	assert_int_equal(told_bytes, 0);
	real_bytes = BYTES / 2;
	assert_int_equal(tide_disk_notice(d, NULL), 0);
	assert_int_equal(told_bytes, BYTES / 2);
	assert_int_equal(tide_disk_size(d), BYTES / 2);
	assert_int_equal(tide_disk_close(d, NULL), 0);
}

static void test_queue(void **state)
{
	(void)state;
	in_queue(true, "");
	in_queue(true, "threads");
	in_queue(false, "");
	in_queue(false, "threads");
}

static int setup(void **state)
{
	(void)state;
	return tide_disk_register(&driver, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_open),
		cmocka_unit_test(test_made_up), cmocka_unit_test(test_queue),
		cmocka_unit_test(test_notice),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
