/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instants: random scripts of changes through the layer, instants that begin
 * and end between them, each held against a copy of the disk that was made when
 * it began; by blocking calls, by a queue, and by several threads at once with
 * readers beside them (which ThreadSanitizer may look at). Each is read as its
 * disk, and past it, as another process does.
 */
#include <errno.h>
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
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "disk/disk.h"
#include "disk/queue.h"
#include "folder.h"
#include "instant/instant.h"
#include "instant/peek.h"
#include "seed.h"

enum { SHIFT = 12, BLOCK = 1 << SHIFT, BLOCKS = 97,
       SIZE = BLOCKS * BLOCK - 1000 };

static char folder[FOLDER_BYTES], path[128];
static struct tide_disk *layer;
static uint8_t now[SIZE];

static int setup(void **state)
{
	const struct tide_disk_options o = { .format = "raw",
					     .writable = true };
	struct tide_disk *below;
	int fd;

	(void)state;
	if (folder_make(folder, "/tmp"))
		return -1;
	snprintf(path, sizeof(path), "%s/disk", folder);
	for (uint32_t i = 0; i < SIZE; i++)
		now[i] = (uint8_t)(i * 7 + i / 4096);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (fd < 0 || write(fd, now, SIZE) != SIZE || close(fd))
		return -1;
	if (tide_disk_open(path, &o, &below, NULL))
		return -1;
	return instant_layer_create(below, &layer, NULL);
}

static int teardown(void **state)
{
	(void)state;
	return tide_disk_close(layer, NULL) || folder_remove(folder);
}

/* How another process reads an instant: by what it was offered. */
static struct {
	pthread_mutex_t lock;
	struct {
		struct instant *instant;
		struct instant_peek *peek;
	} list[8];
	uint64_t reads; /* that said something */
} peeks = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void add_peek(struct instant *i)
{
	int disk, states, n = 0;

	assert_int_equal(instant_offer(i, &disk, &states), 0);
	pthread_mutex_lock(&peeks.lock);
	while (peeks.list[n].instant)
		n++;
	assert_true(n < 8);
	assert_int_equal(instant_peek_open(disk, states, tide_disk_size(
				instant_disk(i)), &peeks.list[n].peek, NULL),
			 0);
	peeks.list[n].instant = i;
	pthread_mutex_unlock(&peeks.lock);
}

static struct instant_peek *peek_of(const struct instant *i)
{
	struct instant_peek *p = NULL;

	pthread_mutex_lock(&peeks.lock);
	for (int n = 0; n < 8 && !p; n++)
		if (peeks.list[n].instant == i)
			p = peeks.list[n].peek;
	pthread_mutex_unlock(&peeks.lock);
	return p;
}

/* It ends, and who still peeks is told nothing any more. */
static void end(struct instant *i)
{
	struct instant_peek *p = peek_of(i);
	uint8_t byte;

	assert_int_equal(tide_disk_close(instant_disk(i), NULL), 0);
	assert_false(instant_peek_read(p, 0, &byte, 1));
	instant_peek_close(p);
	pthread_mutex_lock(&peeks.lock);
	for (int n = 0; n < 8; n++)
		if (peeks.list[n].instant == i)
			peeks.list[n].instant = NULL;
	pthread_mutex_unlock(&peeks.lock);
}

static struct instant *begin(uint64_t bound)
{
	struct instant_options o = { .folder = folder, .bound_bytes = bound,
				     .shift = SHIFT };
	struct instant *i;

	assert_int_equal(instant_prepare(layer, &o, &i, NULL), 0);
	instant_start(i);
	add_peek(i);
	return i;
}

static void must_be(struct instant *i, const uint8_t *want, uint64_t offset,
		    uint64_t length)
{
	static __thread uint8_t got[SIZE];
	struct tide_error err;
	int ret = tide_disk_read(instant_disk(i), offset, got, length, &err);

	if (ret)
		fail_msg("%s", err.text);
	if (memcmp(got, want + offset, length))
		fail_msg("another content in [%llu, +%llu)",
			 (unsigned long long)offset,
			 (unsigned long long)length);
	for (uint64_t end = offset + length, n; offset < end; offset += n) {
		n = end - offset < BLOCK ? end - offset : BLOCK;
		if (!instant_peek_read(peek_of(i), offset, got, n))
			continue;
		tide__add_relaxed(&peeks.reads, 1);
		if (memcmp(got, want + offset, n))
			fail_msg("another content past it in [%llu, +%llu)",
				 (unsigned long long)offset,
				 (unsigned long long)n);
	}
}

/* A random change, to the disk and to `now`. */
static void change(uint64_t *rng)
{
	uint64_t at = seed_below(rng, SIZE), what = seed_below(rng, 5);
	uint64_t length = 1 + seed_below(rng, 1u << seed_below(rng, 17));
	static uint8_t buf[SIZE];

	if (length > SIZE - at)
		length = SIZE - at;
	memset(buf, (int)seed_below(rng, 256), length);
	if (what == 0)
		assert_int_equal(tide_disk_zero(layer, at, length, 0, NULL), 0);
	else if (what == 1)
		assert_int_equal(tide_disk_discard(layer, at, length, NULL), 0);
	else
		assert_int_equal(tide_disk_write(layer, at, buf, length, NULL),
				 0);
	if (what == 0)
		memset(now + at, 0, length);
	else if (what == 1) /* the old bytes or zeroes: ask which */
		assert_int_equal(tide_disk_read(layer, at, now + at, length,
						NULL), 0);
	else
		memcpy(now + at, buf, length);
}

#define MAX 4

/* Instants come and go between changes; all that live say what was. */
static void test_script(void **state)
{
	uint64_t seed = seed_of("instant", 1), rng = seed;
	struct instant *all[MAX] = { NULL };
	static uint8_t held[MAX][SIZE];

	(void)state;
	for (int step = 0; step < 3000; step++) {
		uint64_t n = seed_below(&rng, MAX), at, length;

		if (seed_below(&rng, 40) == 0 && all[n]) {
			must_be(all[n], held[n], 0, SIZE);
			instant_end(all[n], "enough");
			end(all[n]);
			all[n] = NULL;
		} else if (seed_below(&rng, 20) == 0 && !all[n]) {
			memcpy(held[n], now, SIZE);
			all[n] = begin(UINT64_MAX / 2);
		}
		change(&rng);
		at = seed_below(&rng, SIZE);
		length = 1 + seed_below(&rng, SIZE - at);
		for (int i = 0; i < MAX; i++)
			if (all[i])
				must_be(all[i], held[i], at, length);
	}
	for (int i = 0; i < MAX; i++)
		if (all[i])
			end(all[i]);
	assert_true(peeks.reads > 1000);
}

static void test_passed(void **state)
{
	static uint8_t held[SIZE], buf[SIZE];
	struct instant_state s;
	struct tide_error err;
	struct instant *i;

	(void)state;
	memcpy(held, now, SIZE);
	i = begin(UINT64_MAX / 2);
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(tide_disk_write(layer, 0, buf, 8 * BLOCK, NULL), 0);
	instant_state(i, &s);
	assert_int_equal(s.kept_bytes, 8 * BLOCK);
	assert_int_equal(s.copies, 8);
	must_be(i, held, 0, SIZE);
	/* Parts of blocks are still needed; whole ones are given back. */
	instant_pass(i, 100, 4 * BLOCK);
	instant_state(i, &s);
	assert_int_equal(s.kept_bytes, 5 * BLOCK);
	must_be(i, held, 0, BLOCK);
	assert_int_equal(tide_disk_read(instant_disk(i), BLOCK, buf, 1, &err),
			 -EIO);
	assert_non_null(strstr(err.text, "was not to be kept"));
	must_be(i, held, 4 * BLOCK, SIZE - 4 * BLOCK);
	/* What was passed over costs nothing, and is read until it changes. */
	instant_pass(i, 20 * BLOCK, SIZE);
	must_be(i, held, 20 * BLOCK, SIZE - 20 * BLOCK);
	memset(buf, 0xdd, sizeof(buf));
	assert_int_equal(tide_disk_write(layer, 30 * BLOCK, buf,
					 SIZE - 30 * BLOCK, NULL), 0);
	instant_state(i, &s);
	assert_int_equal(s.copies, 8);
	assert_int_equal(tide_disk_read(instant_disk(i), SIZE - 1, buf, 1,
					NULL), -EIO);
	must_be(i, held, 20 * BLOCK, 10 * BLOCK);
	assert_int_equal(tide_disk_write(instant_disk(i), 0, buf, 1, NULL),
			 -EROFS);
	end(i);
}

static void test_full(void **state)
{
	static uint8_t held[SIZE], buf[SIZE];
	struct instant *small, *large;
	struct instant_state s;
	struct tide_error err;

	(void)state;
	memcpy(held, now, SIZE);
	small = begin(3 * BLOCK);
	large = begin(UINT64_MAX / 2);
	memset(buf, 0x77, sizeof(buf));
	assert_int_equal(tide_disk_write(layer, 0, buf, 3 * BLOCK, NULL), 0);
	must_be(small, held, 0, SIZE);
	assert_int_equal(tide_disk_write(layer, 5 * BLOCK, buf, BLOCK, &err),
			 0);
	assert_int_equal(tide_disk_read(instant_disk(small), 0, buf, 1, &err),
			 -EIO);
	assert_non_null(strstr(err.text, "scratch file is full"));
	instant_state(small, &s);
	assert_true(s.dead);
	assert_int_equal(s.max_kept_bytes, 3 * BLOCK);
	must_be(large, held, 0, SIZE);
	end(small);
	end(large);
}

static void test_resize(void **state)
{
	static uint8_t held[SIZE];
	struct tide_error err;
	struct instant *i;
	uint8_t byte;

	(void)state;
	memcpy(held, now, SIZE);
	i = begin(UINT64_MAX / 2);
	assert_int_equal(tide_disk_resize(layer, 2 * SIZE, NULL), 0);
	assert_int_equal(tide_disk_size(layer), 2 * SIZE);
	assert_int_equal(tide_disk_write(layer, SIZE - 5, "0123456789", 10,
					 NULL), 0);
	must_be(i, held, 0, SIZE);
	assert_int_equal(tide_disk_size(instant_disk(i)), SIZE);
	assert_int_equal(tide_disk_resize(layer, SIZE / 2, NULL), 0);
	assert_int_equal(tide_disk_read(instant_disk(i), 0, &byte, 1, &err),
			 -EIO);
	assert_non_null(strstr(err.text, "made shorter"));
	end(i);
}

/* What lies there is what lay there: holes of the moment stay holes. */
static void test_status(void **state)
{
	struct tide_disk_extent x;
	struct instant *i;
	uint8_t buf[BLOCK];

	(void)state;
	memset(buf, 1, sizeof(buf));
	assert_int_equal(tide_disk_discard(layer, 0, 32 * BLOCK, NULL), 0);
	i = begin(UINT64_MAX / 2);
	assert_int_equal(tide_disk_write(layer, 8 * BLOCK, buf, BLOCK, NULL),
			 0);
	assert_int_equal(tide_disk_status(instant_disk(i), 0, SIZE, &x, NULL),
			 0);
	assert_int_equal(x.length_bytes, 8 * BLOCK);
	assert_true(x.flags & TIDE_EXTENT_ZERO);
	assert_int_equal(tide_disk_status(instant_disk(i), 8 * BLOCK + 1, SIZE -
					  8 * BLOCK - 1, &x, NULL), 0);
	assert_int_equal(x.length_bytes, BLOCK - 1);
	assert_int_equal(x.flags, 0);
	end(i);
}

static int open_peek(int disk, int states, uint64_t size)
{
	struct instant_peek *p = NULL;
	int ret = instant_peek_open(disk, states, size, &p, NULL);

	instant_peek_close(p);
	return ret;
}

/* Memory as the server's, but sealed as @seals says, with a word changed. */
static int forged(int states, int seals, uint32_t word, uint32_t value)
{
	uint32_t head[4096 / 4 + 64];
	ssize_t n = pread(states, head, sizeof(head), 0);
	int fd = memfd_create("forged", MFD_ALLOW_SEALING);

	head[word] = value;
	assert_int_equal(write(fd, head, (size_t)n), n);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* What a server offers is not believed. */
static void test_offers(void **state)
{
	const int good = F_SEAL_SHRINK;
	struct instant *i = begin(UINT64_MAX / 2);
	int disk, states, ends[2];

	(void)state;
	assert_int_equal(instant_offer(i, &disk, &states), 0);
	/* Nobody but the server writes to them, or makes them shorter. */
	assert_true(write(states, "x", 1) < 0);
	assert_true(ftruncate(states, 0) < 0);
	assert_true(write(disk, "x", 1) < 0);
	assert_int_equal(open_peek(dup(disk), forged(states, good, 8, 0),
				   SIZE), 0);
	assert_int_equal(open_peek(dup(disk), forged(states, 0, 8, 0), SIZE),
			 -EPROTO);
	assert_int_equal(open_peek(dup(disk), dup(states), SIZE + 1), -EPROTO);
	for (uint32_t word = 0; word < 6; word++) /* each of the head */
		assert_int_equal(open_peek(dup(disk), forged(states, good,
							     word, 77), SIZE),
				 -EPROTO);
	/* Blocks so small that there are too few states. */
	assert_int_equal(open_peek(dup(disk), forged(states, good, 3, 9),
				   SIZE), -EPROTO);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(open_peek(ends[0], dup(states), SIZE), -EPROTO);
	assert_int_equal(open_peek(dup(disk), ends[1], SIZE), -EPROTO);
	close(disk);
	close(states);
	end(i);
}

/* --- threads -------------------------------------------------------------- */

enum { WRITERS = 4, READERS = 2 };

struct crowd {
	struct instant *i;
	uint8_t held[SIZE];
	bool over; /* atomic */
	uint64_t seed;
};

static struct crowd crowd;

static void on_done(struct tide_io *io)
{
	*(int *)io->opaque += 1 + (io->result != 0) * 1000;
}

/* Half of them by a queue, with several requests in flight. */
static void *write_on(void *opaque)
{
	uint64_t me = (uint64_t)(uintptr_t)opaque, rng = crowd.seed + me;
	static __thread uint8_t buf[8 * BLOCK];
	struct tide_queue *queue;

	assert_int_equal(tide_queue_create(16, &queue, NULL), 0);
	for (int n = 0; n < 150; n++) {
		struct tide_io io[4];
		int done = 0;

		memset(buf, (int)seed_below(&rng, 256), sizeof(buf));
		for (int k = 0; k < 4; k++) {
			uint64_t at = seed_below(&rng, SIZE - sizeof(buf));
			uint64_t length = 1 + seed_below(&rng, sizeof(buf));

			io[k] = (struct tide_io){
				.op = seed_below(&rng, 4) ? TIDE_IO_WRITE :
							    TIDE_IO_ZERO,
				.offset_bytes = at, .length_bytes = length,
				.buf = buf, .done = on_done, .opaque = &done,
			};
			if (me % 2)
				tide_queue_submit(queue, layer, &io[k]);
			else
				assert_int_equal(tide_disk_write(layer, at, buf,
							length, NULL), 0);
		}
		while (me % 2 && done < 4)
			tide_queue_poll(queue, true);
		assert_true(done <= 4);
	}
	tide_queue_destroy(queue);
	return NULL;
}

static void *read_on(void *opaque)
{
	uint64_t rng = crowd.seed + 77 + (uint64_t)(uintptr_t)opaque;

	while (!tide__load_acquire(&crowd.over)) {
		uint64_t at = seed_below(&rng, SIZE);

		must_be(crowd.i, crowd.held, at,
			1 + seed_below(&rng, SIZE - at));
	}
	return NULL;
}

/* A reader that passes over what it read, beside the writers. */
static void *pass_on(void *opaque)
{
	struct instant *i = opaque;

	for (uint64_t at = 0; at < SIZE; at += 3 * BLOCK) {
		uint64_t n = SIZE - at < 3 * BLOCK ? SIZE - at : 3 * BLOCK;

		must_be(i, crowd.held, at, n);
		instant_pass(i, at, n);
		usleep(500);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t writers[WRITERS], readers[READERS], passer;
	struct instant *second;
	struct instant_state s;

	(void)state;
	crowd.seed = seed_of("instant", 1);
	for (int round = 0; round < 3; round++) {
		crowd.over = false;
		assert_int_equal(tide_disk_read(layer, 0, crowd.held, SIZE,
						NULL), 0);
		crowd.i = begin(UINT64_MAX / 2);
		second = begin(UINT64_MAX / 2);
		for (uintptr_t n = 0; n < WRITERS; n++)
			pthread_create(&writers[n], NULL, write_on, (void *)n);
		for (uintptr_t n = 0; n < READERS; n++)
			pthread_create(&readers[n], NULL, read_on, (void *)n);
		pthread_create(&passer, NULL, pass_on, second);
		pthread_join(passer, NULL);
		instant_state(second, &s);
		assert_int_equal(s.kept_bytes, 0);
		/* Gone while writers are at it. */
		end(second);
		for (int n = 0; n < WRITERS; n++)
			pthread_join(writers[n], NULL);
		tide__store_release(&crowd.over, true);
		for (int n = 0; n < READERS; n++)
			pthread_join(readers[n], NULL);
		must_be(crowd.i, crowd.held, 0, SIZE);
		end(crowd.i);
		crowd.seed++;
	}
}

/* Blocks are read past the instant again and again until they change. */
static void *peek_on(void *opaque)
{
	const struct instant_peek *p = opaque;
	static uint8_t got[16 * BLOCK];

	while (instant_peek_read(p, 0, got, sizeof(got)))
		if (memcmp(got, crowd.held, sizeof(got)))
			return opaque;
	return NULL;
}

static void test_second_look(void **state)
{
	static uint8_t buf[16 * BLOCK];
	pthread_t reader;
	void *wrong;

	(void)state;
	for (int round = 0; round < 100; round++) {
		struct instant *i;

		assert_int_equal(tide_disk_read(layer, 0, crowd.held, SIZE,
						NULL), 0);
		i = begin(UINT64_MAX / 2);
		pthread_create(&reader, NULL, peek_on, peek_of(i));
		usleep(100 * (round % 8));
		memset(buf, round, sizeof(buf));
		assert_int_equal(tide_disk_write(layer, 0, buf, sizeof(buf),
						 NULL), 0);
		pthread_join(reader, &wrong);
		assert_null(wrong);
		end(i);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(offers),
		TEST(script), TEST(passed), TEST(full), TEST(resize),
		TEST(status), TEST(threads), TEST(second_look),
	};

	return cmocka_run_group_tests_name("instant", tests, NULL, NULL);
}
