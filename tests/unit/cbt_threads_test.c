/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tracker with many at once: writers and cuts, requests of a queue, bursts
 * of first writes, readers that take their time.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "cbt_world.h"
#include "disk/queue.h"

/* --- at once -------------------------------------------------------------- */

struct writer {
	pthread_t thread;
	struct world *w;
	uint32_t number;
	bool stop; /* atomic */
	uint64_t writes; /* atomic */
	uint64_t *latest; /* a count a block; atomic */
};

#define BLOCK 4096u
#define BLOCKS (MAX_BYTES / BLOCK)

/* Each writes its own blocks, and counts before. */
static void *write_on(void *arg)
{
	static const uint8_t buf[BLOCK];
	struct writer *r = arg;
	uint64_t x = r->number + 1;

	while (!tide__load_seqcst(&r->stop)) {
		uint64_t block;

		x = x * 6364136223846793005u + 1442695040888963407u;
		block = (x >> 33) % (BLOCKS / 4) * 4 + r->number;
		tide__add_seqcst(&r->latest[block], 1);
		if (tide_disk_write(r->w->d, block * BLOCK, buf, BLOCK, NULL))
			return "a write failed";
		tide__add_seqcst(&r->writes, 1);
	}
	return NULL;
}

/* Each has written once more. */
static void await_writes(struct writer r[4])
{
	for (int i = 0; i < 4; i++) {
		uint64_t now = tide__load_seqcst(&r[i].writes);

		while (tide__load_seqcst(&r[i].writes) == now)
			usleep(100);
	}
}

/*
 * Four writers, and cuts: what was written after a checkpoint returned is since
 * it, and what ended before it began is not, in the union of them all.
 */
static void writers_and_cuts(enum cbt_durability durability)
{
	static uint64_t latest[BLOCKS], before[BLOCKS], first[BLOCKS];
	struct writer r[4] = { 0 };
	uint8_t *got = calloc(1, UNITS);
	struct world w;

	memset(latest, 0, sizeof(latest));
	world_init(&w, MAX_BYTES);
	w.o.durability = durability;
	w.o.shift = 12;
	w.o.region_shift = 18;
	world_open(&w);
	for (uint32_t i = 0; i < 4; i++) {
		r[i] = (struct writer){ .w = &w, .number = i,
					.latest = latest };
		pthread_create(&r[i].thread, NULL, write_on, &r[i]);
	}
	for (uint32_t i = 0; i < 60; i++) {
		char name[16];

		snprintf(name, sizeof(name), "k%u", i);
		assert_int_equal(cbt_checkpoint_create(&w.c, 1, name, false,
						       NULL), 0);
		for (uint32_t b = 0; b < BLOCKS; b++)
			before[b] = tide__load_seqcst(&latest[b]);
		if (i == 0)
			memcpy(first, before, sizeof(first));
		await_writes(r);
		world_ask(&w, name, got);
		if (i % 3 == 2) {
			snprintf(name, sizeof(name), "k%u", i - 1);
			assert_int_equal(cbt_checkpoint_delete(w.c, name,
							       NULL), 0);
		}
	}
	for (uint32_t i = 0; i < 4; i++) {
		void *wrong;

		tide__store_seqcst(&r[i].stop, true);
		pthread_join(r[i].thread, &wrong);
		assert_null(wrong);
	}
	world_ask(&w, "k59", got);
	/* Counted after the last cut, so written after it. */
	for (uint32_t b = 0; b < BLOCKS; b++)
		assert_true(latest[b] == before[b] || got[b * 8]);
	world_ask(&w, "k0", got);
	for (uint32_t b = 0; b < BLOCKS; b++)
		assert_true(latest[b] == first[b] || got[b * 8]);
	world_kill(&w);
	world_open(&w);
	world_ask(&w, "k59", got);
	for (uint32_t b = 0; b < BLOCKS; b++)
		assert_true(latest[b] == before[b] || got[b * 8]);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	free(got);
	world_fini(&w);
}

static void test_writers_and_cuts(void **state)
{
	(void)state;
	writers_and_cuts(CBT_PROCESS);
	writers_and_cuts(CBT_POWER);
}

/* A queue's requests are parked while a cut holds the gate, and come back. */
struct request {
	struct tide_io io;
	uint32_t *left;
	const struct writer *cuts;
};

static void again(struct tide_io *io)
{
	struct request *q = io->opaque;

	assert_int_equal(io->result, 0);
	/* Until there were cuts among them, however slow their thread is. */
	if (*q->left || tide__load_seqcst(&q->cuts->writes) < 3) {
		*q->left -= !!*q->left;
		io->offset_bytes = (uint64_t)below(UNITS - 8) * 512;
		tide_queue_submit(io->queue, io->disk, io);
	}
}

static void *cut_often(void *arg)
{
	struct writer *r = arg;

	for (uint32_t i = 0; !tide__load_seqcst(&r->stop); i++) {
		char name[16];

		snprintf(name, sizeof(name), "q%u", i);
		if (cbt_checkpoint_create(&r->w->c, 1, name, false, NULL) ||
		    cbt_checkpoint_delete(r->w->c, name, NULL))
			return "a cut failed";
		tide__add_seqcst(&r->writes, 1);
	}
	return NULL;
}

static void test_queue(void **state)
{
	static uint8_t buf[4096];
	struct tide_queue *q;
	struct writer r = { 0 };
	struct world w;
	void *wrong;

	(void)state;
	for (int mode = CBT_PROCESS; mode <= CBT_POWER; mode++) {
		struct request ios[64];
		uint32_t left = 20000;

		world_init(&w, MAX_BYTES);
		w.o.durability = (enum cbt_durability)mode;
		w.o.region_shift = 18;
		w.o.bound_bytes = 16 << 18;
		world_open(&w);
		r = (struct writer){ .w = &w };
		assert_int_equal(tide_queue_create(64, &q, NULL), 0);
		pthread_create(&r.thread, NULL, cut_often, &r);
		for (int i = 0; i < 64; i++) {
			ios[i] = (struct request){
				.io = { .op = TIDE_IO_WRITE, .buf = buf,
					.length_bytes = 4096, .done = again,
					.offset_bytes = (uint64_t)i * 4096,
					.opaque = &ios[i] },
				.left = &left, .cuts = &r,
			};
			tide_queue_submit(q, w.d, &ios[i].io);
		}
		while (tide_queue_pending(q))
			assert_true(tide_queue_poll(q, true) >= 0);
		tide__store_seqcst(&r.stop, true);
		pthread_join(r.thread, &wrong);
		assert_null(wrong);
		tide_queue_destroy(q);
		assert_int_equal(tide_disk_close(w.d, NULL), 0);
		world_fini(&w);
	}
}

static void count_one(struct tide_io *io)
{
	assert_int_equal(io->result, 0);
	++*(uint32_t *)io->opaque;
}

/* First writes that come together share a durable block: 64 and more. */
static void test_burst(void **state)
{
	static uint8_t buf[512];
	struct cbt_status before, after;
	struct tide_io ios[192];
	struct tide_queue *q;
	struct world w;
	uint32_t done = 0;

	(void)state;
	world_init(&w, MAX_BYTES);
	w.o.durability = CBT_POWER;
	w.o.shift = 12;
	w.o.region_shift = 16;
	w.o.bound_bytes = 384 << 16;
	world_open(&w);
	cbt_status(w.c, &before);
	assert_int_equal(tide_queue_create(192, &q, NULL), 0);
	/* The first block is not written before all of them wait. */
	tide__store_seqcst(&world_hold_durable, true);
	for (uint64_t i = 0; i < 192; i++) {
		ios[i] = (struct tide_io){
			.op = TIDE_IO_WRITE, .buf = buf, .length_bytes = 512,
			.offset_bytes = (i * 2) << 16, .done = count_one,
			.opaque = &done };
		tide_queue_submit(q, w.d, &ios[i]);
	}
	do
		cbt_status(w.c, &after);
	while (after.first_writes - before.first_writes < 192 &&
	       tide_queue_poll(q, false) >= 0);
	tide__store_seqcst(&world_hold_durable, false);
	while (tide_queue_pending(q))
		assert_true(tide_queue_poll(q, true) >= 0);
	cbt_status(w.c, &after);
	assert_int_equal(done, 192);
	assert_int_equal(after.first_writes - before.first_writes, 192);
	print_message("# 192 first writes, %d blocks\n",
		      (int)(after.intents - before.intents));
	/* Two, and one for each second that this took. */
	assert_true(after.intents - before.intents <= 8);
	tide_queue_destroy(q);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* --- who asks may take his time, and use the tracker meanwhile ------------ */

struct busy_reader {
	struct world *w;
	uint32_t calls;
};

/* In power mode the write needs the log's thread, and that the tracker. */
static bool use_it(void *opaque, uint64_t length, bool dirty)
{
	static uint8_t buf[512];
	struct busy_reader *b = opaque;
	char name[16];

	(void)length, (void)dirty;
	snprintf(name, sizeof(name), "n%u", b->calls);
	assert_int_equal(cbt_checkpoint_create(&b->w->c, 1, name, false, NULL),
			 0);
	assert_int_equal(tide_disk_write(b->w->d, (uint64_t)b->calls << 20,
					 buf, 512, NULL), 0);
	return ++b->calls < 8;
}

static void test_reader_uses_it(void **state)
{
	static uint8_t buf[512], got[UNITS];
	struct busy_reader b = { 0 };
	struct world w;

	(void)state;
	world_init(&w, MAX_BYTES);
	w.o.durability = CBT_POWER;
	w.o.shift = 12;
	w.o.region_shift = 16;
	w.o.bound_bytes = 4 << 16;
	b.w = &w;
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(tide_disk_write(w.d, i << 20, buf, 512, NULL),
				 0);
	assert_int_equal(cbt_changes(w.c, "k", NULL, 0, MAX_BYTES, use_it, &b,
				     NULL), 0);
	assert_int_equal(b.calls, 8);
	world_ask(&w, "n0", got);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(got[i << 11], 1);
	assert_int_equal(got[8 << 11], 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* Another of that name is not gone on with in the middle. */
static bool replace_it(void *opaque, uint64_t length, bool dirty)
{
	struct busy_reader *b = opaque;

	(void)length, (void)dirty;
	if (!b->calls++) {
		assert_int_equal(cbt_bitmap_remove(b->w->c, "b", NULL), 0);
		assert_int_equal(cbt_bitmap_add(b->w->c, "b", 512, true, NULL),
				 0);
	}
	return true;
}

static void test_replaced_meanwhile(void **state)
{
	struct busy_reader b = { 0 };
	struct world w;

	(void)state;
	world_init(&w, MAX_BYTES);
	b.w = &w;
	world_open(&w);
	assert_int_equal(cbt_bitmap_add(w.c, "b", 512, true, NULL), 0);
	assert_int_equal(cbt_changes(w.c, "b", NULL, 0, MAX_BYTES, replace_it,
				     &b, NULL), -ESTALE);
	assert_int_equal(b.calls, 1);
	assert_int_equal(cbt_changes(w.c, "b", NULL, 0, MAX_BYTES, replace_it,
				     &b, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writers_and_cuts),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_reader_uses_it),
		cmocka_unit_test(test_replaced_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
