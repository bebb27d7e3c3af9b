/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instants: random scripts of changes through the layer, instants that begin
 * and end between them, each held against a copy of the disk that was made when
 * it began; by blocking calls, by a queue, and by several threads at once with
 * readers beside them (which ThreadSanitizer may look at).
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
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "disk/disk.h"
#include "disk/queue.h"
#include "folder.h"
#include "instant/instant.h"
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

static struct instant *begin(uint64_t bound)
{
	struct instant_options o = { .folder = folder, .bound_bytes = bound,
				     .shift = SHIFT };
	struct instant *i;

	assert_int_equal(instant_prepare(layer, &o, &i, NULL), 0);
	instant_start(i);
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
			assert_int_equal(tide_disk_close(instant_disk(all[n]),
							 NULL), 0);
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
			tide_disk_close(instant_disk(all[i]), NULL);
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
	tide_disk_close(instant_disk(i), NULL);
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
	tide_disk_close(instant_disk(small), NULL);
	tide_disk_close(instant_disk(large), NULL);
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
	tide_disk_close(instant_disk(i), NULL);
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
	tide_disk_close(instant_disk(i), NULL);
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
		tide_disk_close(instant_disk(second), NULL);
		for (int n = 0; n < WRITERS; n++)
			pthread_join(writers[n], NULL);
		tide__store_release(&crowd.over, true);
		for (int n = 0; n < READERS; n++)
			pthread_join(readers[n], NULL);
		must_be(crowd.i, crowd.held, 0, SIZE);
		tide_disk_close(instant_disk(crowd.i), NULL);
		crowd.seed++;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(script), TEST(passed), TEST(full), TEST(resize),
		TEST(status), TEST(threads),
	};

	return cmocka_run_group_tests_name("instant", tests, NULL, NULL);
}
