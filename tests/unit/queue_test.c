/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queue, on both engines: random requests against an array of bytes with
 * many in flight, callbacks that submit again, errors, short reads, children,
 * and a driver of our own that is slow, or fails, or starts nothing.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/recorder.h"
#include "disk/disk.h"
#include "disk/queue.h"
#include "seed.h"

#define BYTES (4u << 20)
#define PIECE 65536u
#define PIECES (BYTES / PIECE)
#define DEPTH 32
#define MAX_PARTS 2000 /* more than the kernel takes at once */

static char path[] = "queue_test.XXXXXX";

struct world {
	struct tide_disk *d;
	struct tide_queue *q;
	bool threads;
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
	w->threads = threads;
	if (tide_disk_open(path, &o, &w->d, NULL) ||
	    tide_queue_create(DEPTH, &w->q, NULL))
		return -1;
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

/* Small writes are done by the queue's own thread. */
static int setup_in_place(void **state)
{
	int ret = setup(state, false, false);
	const struct world *w = *state;

	if (!ret)
		tide__queue_in_place(w->q, true);
	return ret;
}

static int teardown(void **state)
{
	struct world *w = *state;

	tide_queue_destroy(w->q);
	tide_disk_close(w->d, NULL);
	unlink(path);
	free(w);
	return 0;
}

static void finish(struct world *w)
{
	while (tide_queue_pending(w->q))
		assert_true(tide_queue_poll(w->q, true) >= 0);
	assert_int_equal(tide_queue_poll(w->q, true), 0);
}

/* One piece of the disk, in which one request at a time is under way. */
struct piece {
	struct tide_io io;
	struct script *script;
	uint64_t base;
	uint8_t oracle[PIECE];
	uint8_t *buf;
	struct iovec parts[MAX_PARTS];
	bool busy;
};

struct script {
	struct world *w;
	uint64_t seed;
	uint32_t left, done;
	struct piece *pieces;
};

static void next(struct piece *p);

static void on_done(struct tide_io *io)
{
	struct piece *p = io->opaque;
	uint64_t at = io->offset_bytes - p->base;

	assert_true(p->busy);
	p->busy = false;
	p->script->done++;
	assert_int_equal(io->result, 0);
	if (io->op == TIDE_IO_READ)
		assert_memory_equal(p->buf, p->oracle + at, io->length_bytes);
	if (p->script->left)
		next(p);
}

/* The memory of half of the requests is in parts, some of them empty. */
static void cut(struct piece *p)
{
	uint64_t *seed = &p->script->seed, at = 0;
	uint64_t max = seed_below(seed, 8) ? 1 + seed_below(seed, 6)
					    : MAX_PARTS;
	uint32_t n = 0;
	bool blocks = seed_next(seed) & 1;

	if (seed_next(seed) & 1)
		return;
	while (n < max - 1) {
		uint64_t left = p->io.length_bytes - at;
		uint64_t step = seed_below(seed, 2 * left / (max - n) + 1);

		if (blocks)
			step &= ~UINT64_C(511);
		p->parts[n++] = (struct iovec){ p->buf + at, step };
		at += step;
	}
	p->parts[n++] = (struct iovec){ p->buf + at, p->io.length_bytes - at };
	p->io.iov = p->parts;
	p->io.iov_count = n;
	p->io.buf = NULL;
}

static void next(struct piece *p)
{
	static const enum tide_io_op ops[] = {
		TIDE_IO_READ, TIDE_IO_READ, TIDE_IO_READ, TIDE_IO_WRITE,
		TIDE_IO_WRITE, TIDE_IO_ZERO, TIDE_IO_FLUSH
	};
	struct script *s = p->script;
	uint64_t at = seed_below(&s->seed, PIECE);
	uint64_t length = seed_below(&s->seed, PIECE - at + 1);

	if (seed_next(&s->seed) & 1) {
		at &= ~UINT64_C(4095);
		length = PIECE - at < 4096 ? PIECE - at : 4096;
	}
	p->io = (struct tide_io){
		.op = ops[seed_below(&s->seed, 7)],
		.flags = TIDE_ZERO_MAY_UNMAP |
			 (seed_below(&s->seed, 64) ? 0 : TIDE_FUA),
		.offset_bytes = p->base + at,
		.length_bytes = length,
		.buf = p->buf,
		.done = on_done,
		.opaque = p,
	};
	if (p->io.op == TIDE_IO_WRITE) {
		memset(p->buf, (int)seed_next(&s->seed), length);
		memcpy(p->oracle + at, p->buf, length);
	} else if (p->io.op == TIDE_IO_ZERO) {
		memset(p->oracle + at, 0, length);
	}
	cut(p);
	s->left--;
	p->busy = true;
	tide_queue_submit(s->w->q, s->w->d, &p->io);
}

static void test_random(void **state)
{
	struct script s = { .w = *state, .left = 20000 };
	uint32_t total = s.left;
	uint8_t *all;

	s.seed = seed_of("queue", 7);
	s.pieces = calloc(PIECES, sizeof(*s.pieces));
	for (unsigned int i = 0; i < PIECES; i++) {
		s.pieces[i].script = &s;
		s.pieces[i].base = (uint64_t)i * PIECE;
		s.pieces[i].buf = aligned_alloc(4096, PIECE);
	}
	/* Twice the depth: half of them wait. */
	for (unsigned int i = 0; i < PIECES; i++)
		next(&s.pieces[i]);
	finish(s.w);
	assert_int_equal(s.left, 0);
	assert_int_equal(s.done, total);
	all = malloc(BYTES);
	assert_int_equal(tide_disk_read(s.w->d, 0, all, BYTES, NULL), 0);
	for (unsigned int i = 0; i < PIECES; i++) {
		assert_memory_equal(all + (uint64_t)i * PIECE,
				    s.pieces[i].oracle, PIECE);
		free(s.pieces[i].buf);
	}
	free(all);
	free(s.pieces);
}

struct counter {
	struct tide_io io;
	struct world *w;
	uint32_t calls, again;
};

static void count_again(struct tide_io *io)
{
	struct counter *c = io->opaque;

	c->calls++;
	if (c->again) {
		c->again--;
		tide_queue_submit(c->w->q, io->disk, io);
	}
}

static struct counter counter(struct world *w, enum tide_io_op op,
			      uint64_t offset, uint64_t length, void *buf)
{
	return (struct counter){
		.io = { .op = op, .offset_bytes = offset,
			.length_bytes = length, .buf = buf,
			.done = count_again },
		.w = w,
	};
}

static int run_one(struct counter *c)
{
	c->io.opaque = c;
	tide_queue_submit(c->w->q, c->w->d, &c->io);
	finish(c->w);
	return c->io.result;
}

/* Requests that are complete at once, each from the callback of the last. */
static void test_no_deep_stack(void **state)
{
	struct counter c = counter(*state, TIDE_IO_READ, 0, 0, NULL);

	c.again = 1000000;
	assert_int_equal(run_one(&c), 0);
	assert_int_equal(c.calls, 1000001);
}

static void test_refused(void **state)
{
	struct world *w = *state;
	char byte;
	struct iovec short_part = { &byte, 1 };
	struct counter c = counter(w, TIDE_IO_READ, BYTES, 1, &byte);
	struct tide_queue *q;

	assert_int_equal(run_one(&c), -EINVAL);
	c = counter(w, TIDE_IO_WRITE, UINT64_MAX, 2, &byte);
	assert_int_equal(run_one(&c), -EINVAL);
	c = counter(w, TIDE_IO_WRITE, 0, 2, NULL);
	c.io.iov = &short_part;
	c.io.iov_count = 1;
	assert_int_equal(run_one(&c), -EINVAL);
	w->d->writable = false;
	c = counter(w, TIDE_IO_WRITE, 0, 1, &byte);
	assert_int_equal(run_one(&c), -EROFS);
	c = counter(w, TIDE_IO_FLUSH, 0, 0, NULL);
	assert_int_equal(run_one(&c), 0);
	w->d->writable = true;
	assert_int_equal(c.calls, 1);
	assert_int_equal(tide_queue_create(0, &q, NULL), -EINVAL);
	assert_int_equal(tide_queue_create(4097, &q, NULL), -EINVAL);
	print_message("# engine: %s\n", tide_queue_uses_uring(w->q)
			? "io_uring" : "threads");
	if (w->threads)
		assert_false(tide_queue_uses_uring(w->q));
}

static void test_short_file(void **state)
{
	struct world *w = *state;
	static char buf[20480] __attribute__((aligned(4096)));
	static const char zeroes[20480];
	struct counter c = counter(w, TIDE_IO_READ, 0, sizeof(buf), buf);

	memset(buf, 3, sizeof(buf));
	assert_int_equal(tide_disk_write(w->d, 0, buf, sizeof(buf), NULL), 0);
	assert_int_equal(truncate(path, 10001), 0);
	assert_int_equal(run_one(&c), 0);
	assert_int_equal(buf[10000], 3);
	assert_memory_equal(buf + 10001, zeroes, sizeof(buf) - 10001);
	c = counter(w, TIDE_IO_READ, 65536, sizeof(buf), buf);
	memset(buf, 3, sizeof(buf));
	assert_int_equal(run_one(&c), 0);
	assert_memory_equal(buf, zeroes, sizeof(buf));
}

/* The file may not grow: the write that begins inside the limit comes short. */
static void test_no_room(void **state)
{
	struct world *w = *state;
	struct rlimit old, limit;
	char *buf = aligned_alloc(4096, PIECE);
	struct counter c = counter(w, TIDE_IO_WRITE, 0, PIECE, buf);
	int ret;

	memset(buf, 1, PIECE);
	assert_int_equal(truncate(path, 4096), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = old;
	limit.rlim_cur = 8192;
	setrlimit(RLIMIT_FSIZE, &limit);
	ret = run_one(&c);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(ret, -EFBIG);
	assert_int_equal(c.calls, 1);
	free(buf);
}

/* A disk that fails from some request on: each io comes back, once. */
struct failing {
	struct tide_io io;
	uint32_t *left, *good, *bad;
};

static void count_result(struct tide_io *io)
{
	struct failing *f = io->opaque;

	if (io->result)
		assert_int_equal(io->result, -ENOSPC);
	++*(io->result ? f->bad : f->good);
	if (*f->left) {
		--*f->left;
		tide_queue_submit(io->queue, io->disk, io);
	}
}

static void test_failing_disk(void **state)
{
	struct world *w = *state;
	struct recorder *r = recorder_create();
	struct recorder_fault fault = { .ops = RECORDER_CHANGES, .after = 700,
					.error = -ENOSPC };
	struct tide_disk_options o = { .writable = true, .no_lock = true,
				       .open_file = recorder_open,
				       .open_opaque = r };
	struct failing ios[3 * DEPTH];
	uint32_t left = 2000 - 3 * DEPTH, good = 0, bad = 0;
	static char buf[512];
	struct tide_disk *d;

	assert_int_equal(tide_disk_open_file(path, &o, &d, NULL), 0);
	recorder_set_fault(r, &fault);
	for (unsigned int i = 0; i < 3 * DEPTH; i++) {
		ios[i] = (struct failing){
			.io = { .op = TIDE_IO_WRITE, .buf = buf,
				.offset_bytes = i * 512, .length_bytes = 512,
				.done = count_result, .opaque = &ios[i] },
			.left = &left, .good = &good, .bad = &bad,
		};
		if (i % 8 == 7)
			ios[i].io.op = TIDE_IO_FLUSH;
		tide_queue_submit(w->q, d, &ios[i].io);
	}
	finish(w);
	assert_int_equal(good, 700);
	assert_int_equal(bad, 1300);
	assert_int_equal(recorder_faults(r), 1300);
	tide_disk_close(d, NULL);
	recorder_destroy(r);
}

/* The descriptor becomes readable: a caller's own event loop. */
static void test_fd(void **state)
{
	struct world *w = *state;
	char byte;
	struct counter c = counter(w, TIDE_IO_READ, 5, 1, &byte);
	struct pollfd event = { .fd = tide_queue_fd(w->q), .events = POLLIN };

	c.io.opaque = &c;
	for (int i = 0; i < 50; i++) {
		tide_queue_submit(w->q, w->d, &c.io);
		while (tide_queue_pending(w->q)) {
			if (tide_queue_poll(w->q, false))
				break;
			assert_int_equal(poll(&event, 1, 10000), 1);
		}
	}
	assert_int_equal(c.calls, 50);
}

/* A disk whose requests all go to workers, and take so many milliseconds. */
struct slow {
	struct tide_disk disk;
};

static int slow_read(struct tide_disk *d, uint64_t offset_bytes, void *buf,
		     uint64_t length_bytes, struct tide_error *err)
{
	struct timespec ts = { .tv_nsec = (long)offset_bytes * 1000000 };

	(void)d, (void)buf, (void)length_bytes, (void)err;
	nanosleep(&ts, NULL);
	return 0;
}

struct sleeper {
	struct tide_io io;
	int left;
};

static void sleep_again(struct tide_io *io)
{
	struct sleeper *s = io->opaque;

	assert_int_equal(io->result, 0);
	if (--s->left)
		tide_queue_submit(io->queue, io->disk, io);
}

/*
 * One poll a wakeup, as an event loop does it, is enough: whatever is under way
 * wakes the descriptor, also what a callback has just submitted and a worker
 * that is slower than another. Nor is it readable for nothing.
 */
static void test_fd_slept_upon(void **state)
{
	struct world *w = *state;
	static const struct tide_disk_ops ops = { .name = "slow",
						  .read = slow_read };
	struct slow slow = { .disk = { .ops = &ops, .size_bytes = BYTES,
				       .path = "slow" } };
	struct pollfd event = { .fd = tide_queue_fd(w->q), .events = POLLIN };
	struct sleeper sleepers[4];
	int wakeups = 0;
	char byte;

	for (int i = 0; i < 4; i++) {
		sleepers[i] = (struct sleeper){
			.io = { .op = TIDE_IO_READ, .buf = &byte,
				.offset_bytes = 1 + 7 * (uint64_t)i,
				.length_bytes = 1, .done = sleep_again,
				.opaque = &sleepers[i] },
			.left = 10,
		};
		tide_queue_submit(w->q, &slow.disk, &sleepers[i].io);
	}
	tide_queue_poll(w->q, false);
	while (tide_queue_pending(w->q)) {
		int n = poll(&event, 1, 10000);

		/* The ring's own work may interrupt the sleep: no wakeup. */
		assert_true(n == 1 || (n < 0 && errno == EINTR));
		wakeups++;
		assert_true(tide_queue_poll(w->q, false) >= 0);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(sleepers[i].left, 0);
	assert_true(wakeups <= 200);
}

/* A disk that halves requests for the disk below, and fails where told. */
struct halver {
	struct tide_disk disk;
	struct tide_disk *below;
	uint64_t bad_offset;
	bool one_by_one; /* the second half when the first is done */
};

static void start_half(struct halver *h, struct tide_io *io, bool second);

static void on_child(struct tide_io *child)
{
	struct tide_io *io = child->parent;
	struct halver *h = (struct halver *)io->disk;

	if (child->result && !io->scratch[1])
		io->scratch[1] = (uint64_t)-child->result;
	tide_io_put(io->queue, child);
	if (!--io->scratch[0])
		tide_io_complete(io, -(int)io->scratch[1]);
	else if (h->one_by_one)
		start_half(h, io, true);
}

static void start_half(struct halver *h, struct tide_io *io, bool second)
{
	uint64_t half = io->length_bytes / 2, skip = second ? half : 0;
	struct tide_io *child = tide_io_get(io->queue);

	assert_non_null(child);
	*child = (struct tide_io){
		.op = io->op, .done = on_child, .parent = io,
		.buf = (char *)io->buf + skip,
		.offset_bytes = io->offset_bytes + skip,
		.length_bytes = second ? io->length_bytes - half : half,
	};
	if (h->bad_offset == child->offset_bytes)
		child->offset_bytes = BYTES;
	tide_io_start_child(io->queue, h->below, child);
}

static bool halver_start(struct tide_disk *d, struct tide_io *io)
{
	struct halver *h = (struct halver *)d;

	io->scratch[0] = 2;
	io->scratch[1] = 0;
	start_half(h, io, false);
	if (!h->one_by_one)
		start_half(h, io, true);
	return true;
}

static void test_children(void **state)
{
	static const struct tide_disk_ops ops = { .name = "halver",
						  .start = halver_start };
	struct world *w = *state;
	struct halver h = {
		.disk = { .ops = &ops, .size_bytes = BYTES, .writable = true,
			  .path = path },
		.below = w->d, .bad_offset = UINT64_MAX,
	};
	char in[1001], out[1001];
	struct counter c = counter(w, TIDE_IO_WRITE, 77, sizeof(in), in);

	memset(in, 42, sizeof(in));
	w->d = &h.disk;
	c.again = 2 * DEPTH * 4;	/* children are given back */
	assert_int_equal(run_one(&c), 0);
	assert_int_equal(c.calls, 2 * DEPTH * 4 + 1);
	c = counter(w, TIDE_IO_READ, 77, sizeof(in), out);
	assert_int_equal(run_one(&c), 0);
	assert_memory_equal(in, out, sizeof(in));
	h.one_by_one = true;
	c = counter(w, TIDE_IO_WRITE, 77, sizeof(in), in);
	c.again = 50;
	assert_int_equal(run_one(&c), 0);
	assert_int_equal(c.calls, 51);
	/* The first half is done before the sleep that waits for the second. */
	tide_queue_submit(w->q, w->d, &c.io);
	assert_true(tide_queue_poll(w->q, false) >= 0);
	usleep(20000);
	finish(w);
	c = counter(w, TIDE_IO_READ, 77, sizeof(in), out);
	h.bad_offset = 77 + sizeof(in) / 2;
	assert_int_equal(run_one(&c), -EINVAL);
	w->d = h.below;
}

/* A disk whose requests end on another thread: the last bit says how. */
#define PARKED 64
#define PARKINGS 20000u

struct parker {
	struct tide_disk disk;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct tide_io *parked[PARKED];
	uint32_t count, agains;
	bool stop;
};

static bool parker_start(struct tide_disk *d, struct tide_io *io)
{
	struct parker *p = (struct parker *)d;

	assert_true(tide_io_park(io));
	pthread_mutex_lock(&p->lock);
	p->parked[p->count++] = io;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
	return true;
}

/* Every third is begun again; the others end with what their offset says. */
static void *unpark(void *arg)
{
	struct parker *p = arg;
	uint32_t n = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		struct tide_io *io = p->count ? p->parked[--p->count] : NULL;

		if (!io) {
			pthread_cond_wait(&p->more, &p->lock);
			continue;
		}
		if (++n % 3)
			pthread_mutex_unlock(&p->lock);
		if (n % 3) {
			tide_io_unpark(io, -(int)io->offset_bytes);
			pthread_mutex_lock(&p->lock);
		} else {
			p->agains++;
			tide_io_again(io);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct parked {
	struct tide_io io;
	uint32_t *left, *done;
};

static void park_next(struct tide_io *io)
{
	struct parked *k = io->opaque;

	assert_int_equal(io->result, -(int)io->offset_bytes);
	++*k->done;
	if (*k->left) {
		--*k->left;
		io->offset_bytes = *k->left % 7;
		tide_queue_submit(io->queue, io->disk, io);
	}
}

/* Three threads end what the queue's own has parked; it sleeps on its fd. */
static void test_parked(void **state)
{
	static const struct tide_disk_ops ops = { .name = "parker",
						  .start = parker_start };
	struct world *w = *state;
	struct parker p = {
		.disk = { .ops = &ops, .size_bytes = BYTES, .path = path },
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.more = PTHREAD_COND_INITIALIZER,
	};
	struct pollfd event = { .fd = tide_queue_fd(w->q), .events = POLLIN };
	uint32_t left = PARKINGS - DEPTH, done = 0;
	struct parked ios[DEPTH];
	pthread_t threads[3];
	char byte;

	for (int i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, unpark, &p);
	for (int i = 0; i < DEPTH; i++) {
		ios[i] = (struct parked){
			.io = { .op = TIDE_IO_READ, .length_bytes = 1,
				.buf = &byte, .done = park_next,
				.opaque = &ios[i] },
			.left = &left, .done = &done,
		};
		tide_queue_submit(w->q, &p.disk, &ios[i].io);
	}
	while (done < PARKINGS) {
		assert_true(tide_queue_poll(w->q, false) >= 0);
		if (done < PARKINGS && !tide_queue_poll(w->q, false))
			assert_int_equal(poll(&event, 1, 10000), 1);
	}
	pthread_mutex_lock(&p.lock);
	p.stop = true;
	pthread_cond_broadcast(&p.more);
	pthread_mutex_unlock(&p.lock);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(done, PARKINGS);
	assert_int_equal(tide_queue_pending(w->q), 0);
	assert_true(p.agains > 0);
}

/* Parts of the same blocks and whole ones, all at once: none undoes another. */
static void test_shared_blocks(void **state)
{
	struct world *w = *state;
	struct counter c[8 * 9];
	char *buf = aligned_alloc(4096, 8 * 4096), got[4096];

	memset(buf, 5, 4096 * 8);
	for (unsigned int i = 0; i < 8 * 9; i++) {
		uint64_t page = i / 9, part = i % 9;

		/* Eight stripes of this page; the whole of the one after. */
		c[i] = counter(w, TIDE_IO_WRITE, page * 8192 + part * 512 + 100,
			       part < 8 ? 100 : 4096, buf);
		if (part == 8)
			c[i].io.offset_bytes = page * 8192 + 4096;
		c[i].io.opaque = &c[i];
		tide_queue_submit(w->q, w->d, &c[i].io);
	}
	finish(w);
	for (unsigned int page = 0; page < 16; page++) {
		assert_int_equal(tide_disk_read(w->d, page * 4096u, got, 4096,
						NULL), 0);
		for (unsigned int i = 0; i < 4096; i++)
			assert_int_equal(got[i], page % 2 ||
					 i % 512 / 100 == 1 ? 5 : 0);
	}
	free(buf);
}

#define DIRECT(name)                                                         \
	{ #name " (O_DIRECT)", name, setup_direct, teardown, NULL }
#define IN_PLACE(name)                                                       \
	{ #name " (in place)", name, setup_in_place, teardown, NULL }
#define BOTH(name)                                                           \
	{ #name " (io_uring)", name, setup_uring, teardown, NULL },          \
	{ #name " (threads)", name, setup_threads, teardown, NULL }

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_random), BOTH(test_no_deep_stack),
		BOTH(test_refused), BOTH(test_short_file),
		BOTH(test_no_room), BOTH(test_failing_disk),
		BOTH(test_fd), BOTH(test_fd_slept_upon), BOTH(test_children),
		BOTH(test_parked),
		IN_PLACE(test_random), IN_PLACE(test_no_deep_stack),
		IN_PLACE(test_no_room), IN_PLACE(test_children),
		DIRECT(test_random), DIRECT(test_short_file),
		DIRECT(test_children), DIRECT(test_shared_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
