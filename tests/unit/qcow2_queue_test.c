/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The qcow2 driver under queues: many requests in flight from one thread or
 * several, with the smallest metadata cache, so that every page that is used
 * may be pushed out by the next; on every shape of image and both engines.
 *
 * The disk is cut into units, each one thread's, with one request in flight a
 * unit: so what a unit must hold is known, whatever the order of the rest.
 * Afterwards the image must be clean, for us and for the reference tool.
 *
 * And the power goes under a queue: what a unit may then hold is the last
 * value that a flush covered, or any that was on its way since.
 *
 * A part of the shapes by default; with CAMPAIGN set 200 runs over all. ONLY
 * names one of the tests.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "disk/disk.h"
#include "disk/queue.h"
#include "folder.h"
#include "qcow2/check/check.h"
#include "qcow2/driver/create.h"
#include "qcow2/format/reader.h"
#include "seed.h"
#include "tests/support/recorder.h"

#define IN_FLIGHT 24u
#define MAX_UNITS 16384u
#define MAX_THREADS 4u
#define UNKNOWN 256 /* after a discard: one value throughout, 0 or the old */

static char folder[FOLDER_BYTES], image[128], crashed[128];
static bool have_qemu_img;

static int setup(void **state)
{
	(void)state;
	if (folder_make(folder, access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm"))
		return -1;
	have_qemu_img = system("qemu-img --version >/dev/null 2>&1") == 0;
	snprintf(image, sizeof(image), "%s/image", folder);
	snprintf(crashed, sizeof(crashed), "%s/crashed", folder);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return folder_remove(folder);
}

/* --- the image afterwards --- */

static void say(void *opaque, const struct qcow2_problem *p)
{
	(void)opaque;
	printf("# %s: %s\n", qcow2_problem_name(p->type), p->text);
}

/* @leaks: they are no fault (a crash leaves some). */
static void check_image(const char *path, bool leaks, const char *when)
{
	struct qcow2_reader reader;
	struct qcow2_header header;
	struct qcow2_check found;
	struct tide_error err;
	uint8_t *first = malloc(2u << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t have;

	assert_true(fd >= 0 && first);
	assert_int_equal(qcow2_reader_fd(&reader, &fd, path, &err), 0);
	have = reader.size_bytes < 2u << 20 ? reader.size_bytes : 2u << 20;
	assert_int_equal(qcow2_read_at(&reader, 0, first, have, &err), 0);
	if (qcow2_header_parse_tolerant(path, first, have, reader.size_bytes,
					&header, &err) ||
	    qcow2_check(&reader, &header, leaks ? NULL : say, NULL, &found,
			NULL, &err))
		fail_msg("%s: %s", when, err.text);
	if (qcow2_check_corruptions(&found))
		fail_msg("%s: the image is corrupt", when);
	if (!leaks && found.found[QCOW2_PROBLEM_LEAK])
		fail_msg("%s: clusters are leaked", when);
	qcow2_header_fini(&header);
	free(first);
	close(fd);
}

static void ask_reference(const char *path, const char *when)
{
	char command[400];

	if (!have_qemu_img)
		return;
	snprintf(command, sizeof(command), "qemu-img check -q %s >&2", path);
	if (system(command))
		fail_msg("%s: qemu-img check does not find it clean", when);
}

/* --- threads with queues --- */

struct world {
	struct tide_disk *d;
	uint64_t unit, units;
	unsigned int threads;
	uint64_t steps; /* for each thread */
	int want[MAX_UNITS]; /* a byte, or UNKNOWN */
	const char *when;
	unsigned int failed; /* atomic */
};

struct worker;

struct slot {
	struct tide_io io;
	struct worker *worker;
	uint8_t *bytes;
	uint64_t at; /* unit */
	int value;
	bool busy;
};

struct worker {
	struct world *w;
	unsigned int id;
	uint64_t rng, left;
	struct tide_queue *queue;
	struct slot slot[IN_FLIGHT];
	unsigned int busy;
};

static void complain(struct world *w, const char *what, uint64_t unit, int got,
		     int want)
{
	if (__atomic_add_fetch(&w->failed, 1, __ATOMIC_RELAXED) <= 5)
		printf("# %s: %s, unit %llu: %d, not %d\n", w->when, what,
		       (unsigned long long)unit, got, want);
}

/* What was read of a unit: all one byte, and the one that it must be. */
static void judge(struct world *w, uint64_t unit, const uint8_t *bytes)
{
	for (uint64_t i = 1; i < w->unit; i++)
		if (bytes[i] != bytes[0]) {
			complain(w, "mixed content", unit, bytes[i], bytes[0]);
			return;
		}
	if (w->want[unit] == UNKNOWN)
		w->want[unit] = bytes[0];
	else if (bytes[0] != w->want[unit])
		complain(w, "wrong content", unit, bytes[0], w->want[unit]);
}

static void done(struct tide_io *io)
{
	struct slot *s = io->opaque;
	struct world *w = s->worker->w;

	s->busy = false;
	s->worker->busy--;
	if (io->result) {
		complain(w, "a request failed", s->at, io->result, 0);
		return;
	}
	if (io->op == TIDE_IO_READ)
		judge(w, s->at, s->bytes);
	else if (io->op != TIDE_IO_FLUSH)
		w->want[s->at] = s->value;
}

/* A unit of this worker's that no other slot of it is busy with. */
static uint64_t free_unit(struct worker *k)
{
	for (;;) {
		uint64_t at = seed_below(&k->rng, k->w->units / k->w->threads) *
			      k->w->threads + k->id;
		bool taken = false;

		for (unsigned int i = 0; i < IN_FLIGHT; i++)
			taken |= k->slot[i].busy && k->slot[i].at == at;
		if (!taken)
			return at;
	}
}

static void choose(struct worker *k, struct slot *s)
{
	uint64_t dice = seed_below(&k->rng, 100);

	s->io.op = dice < 45 ? TIDE_IO_WRITE :
		   dice < 53 ? TIDE_IO_ZERO :
		   dice < 63 ? TIDE_IO_DISCARD :
		   dice < 65 ? TIDE_IO_FLUSH :
			       TIDE_IO_READ;
	s->value = s->io.op == TIDE_IO_WRITE ?
			   (int)(1 + seed_below(&k->rng, 255)) :
		   s->io.op == TIDE_IO_DISCARD ? UNKNOWN :
						 0;
	s->io.flags = s->io.op == TIDE_IO_ZERO && dice & 1 ?
			      TIDE_ZERO_MAY_UNMAP :
			      0;
	if (s->io.op == TIDE_IO_WRITE)
		memset(s->bytes, s->value, k->w->unit);
}

static void submit(struct worker *k, struct slot *s)
{
	memset(&s->io, 0, sizeof(s->io));
	s->at = free_unit(k);
	choose(k, s);
	s->io.offset_bytes = s->io.op == TIDE_IO_FLUSH ? 0 : s->at * k->w->unit;
	s->io.length_bytes = s->io.op == TIDE_IO_FLUSH ? 0 : k->w->unit;
	s->io.buf = s->bytes;
	s->io.done = done;
	s->io.opaque = s;
	s->busy = true;
	k->busy++;
	k->left--;
	tide_queue_submit(k->queue, k->w->d, &s->io);
}

static void *work(void *opaque)
{
	struct worker *k = opaque;
	struct tide_error err;

	if (tide_queue_create(16, &k->queue, &err)) {
		complain(k->w, err.text, 0, 0, 0);
		return NULL;
	}
	for (unsigned int i = 0; i < IN_FLIGHT; i++) {
		k->slot[i].worker = k;
		k->slot[i].bytes = malloc(k->w->unit);
	}
	while (k->left || k->busy) {
		for (unsigned int i = 0; i < IN_FLIGHT && k->left; i++)
			if (!k->slot[i].busy)
				submit(k, &k->slot[i]);
		tide_queue_poll(k->queue, k->busy > 0);
	}
	for (unsigned int i = 0; i < IN_FLIGHT; i++)
		free(k->slot[i].bytes);
	tide_queue_destroy(k->queue);
	return NULL;
}

static void run_workers(struct world *w, uint64_t seed)
{
	static struct worker workers[MAX_THREADS];
	pthread_t thread[MAX_THREADS];

	memset(workers, 0, sizeof(workers));
	for (unsigned int i = 0; i < w->threads; i++) {
		workers[i] = (struct worker){ .w = w, .id = i,
					      .rng = seed + i,
					      .left = w->steps };
		assert_int_equal(pthread_create(&thread[i], NULL, work,
						&workers[i]), 0);
	}
	for (unsigned int i = 0; i < w->threads; i++)
		pthread_join(thread[i], NULL);
}

static void read_all(struct world *w)
{
	uint8_t *bytes = malloc(w->unit);
	struct tide_error err;

	for (uint64_t i = 0; i < w->units; i++) {
		if (tide_disk_read(w->d, i * w->unit, bytes, w->unit, &err))
			fail_msg("%s: %s", w->when, err.text);
		judge(w, i, bytes);
	}
	free(bytes);
}

/* --- shapes --- */

struct shape {
	const char *name;
	uint64_t size_bytes;
	struct qcow2_create_options o;
};

#define MIB (1ull << 20)

/* Disks of some hundred L2 pages, where the clusters are small enough. */
static const struct shape shapes[] = {
	{ "512 B, 16-bit counts", 64 * MIB, { .cluster_bits = 9,
		.default_refcounts = true } },
	{ "1 KiB", 64 * MIB, { .cluster_bits = 10,
		.default_refcounts = true } },
	{ "512 B, 1-bit counts", 32 * MIB, { .cluster_bits = 9,
		.refcount_order = 0 } },
	{ "1 KiB, 64-bit counts", 64 * MIB, { .cluster_bits = 10,
		.refcount_order = 6 } },
	{ "4 KiB, 64-bit counts", 64 * MIB, { .cluster_bits = 12,
		.refcount_order = 6 } },
	{ "2 KiB, version 2", 128 * MIB, { .cluster_bits = 11, .version = 2,
		.default_refcounts = true } },
	{ "4 KiB", 256 * MIB, { .cluster_bits = 12,
		.default_refcounts = true } },
	{ "16 KiB, extended L2", 256 * MIB, { .cluster_bits = 14,
		.extended_l2 = true, .default_refcounts = true } },
	{ "8 KiB, 4-bit counts", 256 * MIB, { .cluster_bits = 13,
		.refcount_order = 2 } },
	{ "64 KiB", 512 * MIB, { .cluster_bits = 16,
		.default_refcounts = true } },
	{ "128 KiB, extended L2", 512 * MIB, { .cluster_bits = 17,
		.extended_l2 = true, .default_refcounts = true } },
	{ "2 MiB", 1024 * MIB, { .cluster_bits = 21,
		.default_refcounts = true } },
};

#define SHAPES (sizeof(shapes) / sizeof(*shapes))

static void make_image(const struct shape *shape)
{
	struct qcow2_create_options o = shape->o;
	struct tide_error err;

	unlink(image);
	o.size_bytes = shape->size_bytes;
	if (qcow2_create(image, &o, &err))
		fail_msg("%s: %s", shape->name, err.text);
}

static void one_run(const struct shape *shape, unsigned int threads,
		    uint64_t cache_bytes, uint64_t steps, uint64_t seed)
{
	static struct world w;
	struct tide_disk_options o = { .writable = true,
				       .cache_bytes = cache_bytes };
	struct tide_error err;
	char when[160];

	snprintf(when, sizeof(when), "%s, %u queue(s), cache %llu, %s, seed "
		 "%llu", shape->name, threads, (unsigned long long)cache_bytes,
		 getenv("TIDEMARK_IO") ? getenv("TIDEMARK_IO") : "io_uring",
		 (unsigned long long)seed);
	make_image(shape);
	memset(&w, 0, sizeof(w));
	w.when = when;
	w.threads = threads;
	w.steps = steps;
	w.unit = 4096;
	w.units = shape->size_bytes / w.unit;
	if (w.units > MAX_UNITS) {
		w.unit = shape->size_bytes / MAX_UNITS;
		w.unit = w.unit > 65536 ? 65536 : w.unit;
		w.units = MAX_UNITS;
	}
	if (tide_disk_open(image, &o, &w.d, &err))
		fail_msg("%s: %s", when, err.text);
	run_workers(&w, seed);
	if (!w.failed)
		read_all(&w);
	if (tide_disk_close(w.d, &err))
		fail_msg("%s: close: %s", when, err.text);
	if (w.failed)
		fail_msg("%s: %u faults", when, w.failed);
	check_image(image, false, when);
	ask_reference(image, when);
}

static void engine(bool threads)
{
	if (threads)
		setenv("TIDEMARK_IO", "threads", 1);
	else
		unsetenv("TIDEMARK_IO");
}

/* Engines, queues and caches change with the number of the run. */
static void numbered_run(unsigned int n, uint64_t steps, uint64_t seed)
{
	static const uint64_t caches[] = { 1, 65536, 1, 1u << 20 };

	engine(n / SHAPES % 2);
	one_run(&shapes[n % SHAPES], n / 2 % 3 == 0 ? 1 : n % 2 ? 4 : 2,
		caches[n % 4], steps, seed);
	engine(false);
}

static void random_requests(void **state)
{
	bool campaign = getenv("CAMPAIGN") != NULL;
	uint64_t seed = seed_of("random_requests", 131);
	unsigned int runs = campaign ? 200 : 2 * SHAPES;

	(void)state;
	for (unsigned int n = 0; n < runs; n++) {
		numbered_run(n, campaign ? 12000 : 1500, seed + 100 * n);
		if (n % 20 == 19)
			print_message("# %u of %u runs\n", n + 1, runs);
	}
	print_message("# %u runs over %zu shapes: no fault\n", runs, SHAPES);
}

/* The case that was found: four queues, 1 KiB clusters, 64 KiB of cache. */
static void found_pages_pushed_out_in_use(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 4; i++)
		one_run(&shapes[1], i % 2 ? 1 : 4, 65536, 16000, 1000 + i);
}

/* --- the power goes --- */

#define HISTORY 64u

struct value {
	int value;
	uint64_t begun,
		ended; /* events in the log; ended: UINT64_MAX not yet */
	uint64_t order; /* when it ended, in steps of the script */
};

struct past {
	struct value v[HISTORY];
	unsigned int count;
};

struct covering {
	uint64_t submitted; /* order */
	uint64_t ended; /* events */
};

struct power {
	struct recorder *r;
	struct past *past; /* [units] */
	struct covering flush[512];
	unsigned int flushes;
	uint64_t order;
	unsigned int busy, failed;
};

struct request {
	struct tide_io io;
	struct power *p;
	uint8_t *bytes;
	uint64_t unit;
	struct value *value; /* NULL: a flush */
	uint64_t order;
	bool busy;
};

static uint64_t log_length(const struct power *p)
{
	uint64_t n;

	recorder_events(p->r, &n);
	return n;
}

static void request_done(struct tide_io *io)
{
	struct request *q = io->opaque;
	struct power *p = q->p;

	q->busy = false;
	p->busy--;
	p->failed += io->result != 0;
	if (q->value) {
		q->value->ended = log_length(p);
		q->value->order = ++p->order;
	} else if (p->flushes < 512) {
		p->flush[p->flushes++] = (struct covering){
			.submitted = q->order, .ended = log_length(p) };
	}
}

static bool unit_busy(const struct request *all, uint64_t unit)
{
	for (unsigned int i = 0; i < IN_FLIGHT; i++)
		if (all[i].busy && all[i].value && all[i].unit == unit)
			return true;
	return false;
}

static void power_step(struct power *p, struct tide_queue *queue,
		       struct tide_disk *d, struct request *all,
		       struct request *q, uint64_t units, uint64_t *rng)
{
	uint64_t dice = seed_below(rng, 10);

	memset(&q->io, 0, sizeof(q->io));
	q->unit = seed_below(rng, units);
	q->value = NULL;
	q->io.done = request_done;
	q->io.opaque = q;
	if (dice == 0 || unit_busy(all, q->unit) ||
	    p->past[q->unit].count == HISTORY) {
		q->io.op = TIDE_IO_FLUSH;
		q->order = p->order;
	} else {
		struct past *past = &p->past[q->unit];

		q->value = &past->v[past->count++];
		*q->value = (struct value){
			.value = dice < 3 ? 0 : (int)(1 + seed_below(rng, 255)),
			.begun = log_length(p), .ended = UINT64_MAX,
			.order = UINT64_MAX };
		q->io.op = dice < 3 ? TIDE_IO_ZERO : TIDE_IO_WRITE;
		q->io.flags = dice == 1 ? TIDE_ZERO_MAY_UNMAP : 0;
		q->io.offset_bytes = q->unit * 4096;
		q->io.length_bytes = 4096;
		memset(q->bytes, q->value->value, 4096);
		q->io.buf = q->bytes;
	}
	q->busy = true;
	p->busy++;
	tide_queue_submit(queue, d, &q->io);
}

static void power_script(struct power *p, struct tide_disk *d, uint64_t units,
			 unsigned int steps, uint64_t *rng)
{
	static struct request all[IN_FLIGHT];
	struct tide_queue *queue;

	memset(all, 0, sizeof(all));
	assert_int_equal(tide_queue_create(16, &queue, NULL), 0);
	for (unsigned int i = 0; i < IN_FLIGHT; i++) {
		all[i].p = p;
		all[i].bytes = malloc(4096);
	}
	while (steps || p->busy) {
		for (unsigned int i = 0; i < IN_FLIGHT && steps; i++) {
			if (all[i].busy)
				continue;
			power_step(p, queue, d, all, &all[i], units, rng);
			steps--;
		}
		tide_queue_poll(queue, p->busy > 0);
	}
	for (unsigned int i = 0; i < IN_FLIGHT; i++)
		free(all[i].bytes);
	tide_queue_destroy(queue);
}

/* The newest flush that was over after @prefix events: what it covers. */
static uint64_t covered_at(const struct power *p, uint64_t prefix)
{
	uint64_t covered = 0;

	for (unsigned int i = 0; i < p->flushes; i++)
		if (p->flush[i].ended <= prefix &&
		    p->flush[i].submitted > covered)
			covered = p->flush[i].submitted;
	return covered;
}

/* Which bytes may the unit hold if the power went after @prefix events? */
static void allow(const struct past *past, uint64_t covered, uint64_t prefix,
		  bool may[256])
{
	unsigned int from = 0;

	memset(may, 0, 256 * sizeof(*may));
	may[0] = true; /* as long as nothing was made durable */
	for (unsigned int i = 0; i < past->count; i++)
		if (past->v[i].order <= covered) {
			from = i;
			may[0] = false;
		}
	for (unsigned int i = from; i < past->count; i++)
		if (past->v[i].begun <= prefix)
			may[past->v[i].value] = true;
}

static void judge_crash(const struct power *p, uint64_t units, uint64_t prefix,
			const char *when)
{
	static uint8_t bytes[4096];
	struct tide_disk_options o = { 0 };
	struct tide_error err;
	struct tide_disk *d;
	uint64_t covered = covered_at(p, prefix);
	bool may[256];

	check_image(crashed, true, when);
	if (tide_disk_open(crashed, &o, &d, &err))
		fail_msg("%s: %s", when, err.text);
	for (uint64_t u = 0; u < units; u++) {
		if (tide_disk_read(d, u * 4096, bytes, 4096, &err))
			fail_msg("%s: %s", when, err.text);
		allow(&p->past[u], covered, prefix, may);
		for (unsigned int i = 0; i < 4096; i++)
			if (!may[bytes[i]])
				fail_msg("%s: unit %llu byte %u is %u, which "
					 "it may not be", when,
					 (unsigned long long)u, i, bytes[i]);
	}
	tide_disk_close(d, NULL);
}

static void crash_shape(const struct shape *shape, uint64_t moments,
			uint64_t seed)
{
	uint64_t units = 512, events, step, rng = seed;
	struct power *p = calloc(1, sizeof(*p));
	struct tide_disk_options o = { .writable = true, .cache_bytes = 1,
				       .open_file = recorder_open };
	struct recorder_image bytes;
	struct tide_disk *d;
	struct tide_error err;
	char when[160];

	make_image(shape);
	p->past = calloc(units, sizeof(*p->past));
	o.open_opaque = p->r = recorder_create();
	if (tide_disk_open(image, &o, &d, &err))
		fail_msg("%s: %s", shape->name, err.text);
	power_script(p, d, units, 1200, &rng);
	assert_int_equal(p->failed, 0);
	tide_disk_close(d, NULL);
	events = log_length(p);
	step = getenv("CAMPAIGN") ? 3 : events / moments + 1;
	for (uint64_t at = 0; at <= events; at += step)
		for (uint64_t k = 0; k < 3; k++) {
			snprintf(when, sizeof(when), "%s, seed %llu, power "
				 "gone after %llu of %llu events, way %llu",
				 shape->name, (unsigned long long)seed,
				 (unsigned long long)at,
				 (unsigned long long)events,
				 (unsigned long long)k);
			assert_int_equal(recorder_crash(p->r, at,
				k ? seed_next(&rng) | 1 : 0, &bytes), 0);
			recorder_image_save(&bytes, crashed);
			recorder_image_free(&bytes);
			judge_crash(p, units, at, when);
		}
	recorder_destroy(p->r);
	free(p->past);
	free(p);
}

static void power_cuts(void **state)
{
	uint64_t seed = seed_of("power_cuts", 137);

	(void)state;
	for (unsigned int threads = 0; threads < 2; threads++) {
		engine(threads);
		crash_shape(&shapes[1], 40, seed);
		crash_shape(&shapes[6], 40, seed + 1);
		crash_shape(&shapes[7], 40, seed + 2);
	}
	engine(false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_pages_pushed_out_in_use),
		cmocka_unit_test(random_requests),
		cmocka_unit_test(power_cuts),
	};

	if (getenv("ONLY"))
		cmocka_set_test_filter(getenv("ONLY"));
	return cmocka_run_group_tests_name("qcow2_queue", tests, setup,
					   teardown);
}
