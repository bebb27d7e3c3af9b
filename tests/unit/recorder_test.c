/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The recording layer of the crash tests is itself tested: that its log makes
 * the file again, that faults come when they are due, and that a crash keeps
 * what was flushed and never makes up a sector that nobody wrote.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/recorder.h"
#include "seed.h"

#define BYTES 65536u
#define SECTOR 512u
#define SECTORS (BYTES / SECTOR)

static char path[] = "recorder_test.XXXXXX";

static struct tide_disk *open_on(struct recorder *r)
{
	struct tide_disk_options o = { .writable = true, .format = "raw",
				       .open_file = recorder_open,
				       .open_opaque = r };
	struct tide_disk *d = NULL;

	assert_int_equal(tide_disk_open(path, &o, &d, NULL), 0);
	return d;
}

static int setup(void **state)
{
	int fd;

	memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
	fd = mkstemp(path);
	if (fd < 0 || ftruncate(fd, BYTES) < 0)
		return -1;
	close(fd);
	*state = recorder_create();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	recorder_destroy(*state);
	unlink(path);
	return 0;
}

static void random_change(struct tide_disk *d, uint64_t *seed, uint8_t value)
{
	uint8_t buf[4096];
	uint64_t size = tide_disk_size(d);
	uint64_t at = seed_below(seed, size);
	uint64_t length = seed_below(seed, sizeof(buf)) + 1;

	if (length > size - at)
		length = size - at;
	memset(buf, value, sizeof(buf));
	switch (seed_below(seed, 8)) {
	case 0:
		assert_int_equal(tide_disk_zero(d, at, length, 0, NULL), 0);
		break;
	case 1:
		assert_int_equal(tide_disk_discard(d, at, length, NULL), 0);
		break;
	case 2:
		assert_int_equal(tide_disk_resize(d, BYTES / 2 + at, NULL), 0);
		break;
	case 3:
		assert_int_equal(tide_disk_flush(d, NULL), 0);
		break;
	default:
		assert_int_equal(tide_disk_write(d, at, buf, length, NULL), 0);
	}
}

/* The whole log, replayed, is the file. */
static void test_replay(void **state)
{
	struct recorder *r = *state;
	struct tide_disk *d = open_on(r);
	struct recorder_image image;
	uint64_t seed = seed_of("recorder", 3), count;
	uint8_t *now;

	for (int i = 0; i < 500; i++)
		random_change(d, &seed, (uint8_t)(i + 1));
	recorder_events(r, &count);
	assert_int_equal(count, 500);
	assert_int_equal(recorder_crash(r, count, 0, &image), 0);
	assert_int_equal(image.size_bytes, tide_disk_size(d));
	now = malloc(image.size_bytes);
	assert_int_equal(tide_disk_read(d, 0, now, image.size_bytes, NULL), 0);
	assert_memory_equal(now, image.bytes, image.size_bytes);
	free(now);
	recorder_image_free(&image);
	tide_disk_close(d, NULL);
}

static void test_faults(void **state)
{
	struct recorder *r = *state;
	struct tide_disk *d = open_on(r);
	struct recorder_fault fault = { .ops = RECORDER_WRITE, .after = 1,
					.count = 1, .error = -ENOSPC,
					.torn_bytes = 100 };
	char buf[512], got[512];
	struct tide_error err;

	memset(buf, 1, sizeof(buf));
	recorder_set_fault(r, &fault);
	assert_int_equal(tide_disk_write(d, 0, buf, 512, NULL), 0);
	assert_int_equal(tide_disk_write(d, 512, buf, 512, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "asked for"));
	assert_int_equal(tide_disk_write(d, 1024, buf, 512, NULL), 0);
	assert_int_equal(tide_disk_read(d, 512, got, 512, NULL), 0);
	assert_int_equal(got[99], 1);
	assert_int_equal(got[100], 0);
	fault = (struct recorder_fault){ .ops = RECORDER_FLUSH | RECORDER_READ,
					 .error = -EIO };
	recorder_set_fault(r, &fault);
	assert_int_equal(tide_disk_flush(d, NULL), -EIO);
	assert_int_equal(tide_disk_read(d, 0, got, 1, NULL), -EIO);
	assert_int_equal(tide_disk_write(d, 0, buf, 1, NULL), 0);
	assert_int_equal(recorder_faults(r), 3);
	recorder_set_fault(r, NULL);
	assert_int_equal(tide_disk_read(d, 0, got, 1, NULL), 0);
	tide_disk_close(d, NULL);
}

/* Sector i holds version v at the times when it was written. */
static void test_crash(void **state)
{
	struct recorder *r = *state;
	struct tide_disk *d = open_on(r);
	uint64_t seed = seed_of("recorder crash", 5), count;
	uint8_t flushed[SECTORS] = { 0 }, last[SECTORS] = { 0 };
	uint8_t buf[8 * SECTOR];
	bool lost = false, torn = false;
	struct recorder_image image;

	for (int version = 1; version < 100; version++) {
		uint64_t at = seed_below(&seed, SECTORS - 8);

		memset(buf, version, sizeof(buf));
		memset(last + at, version, 8);
		assert_int_equal(tide_disk_write(d, at * SECTOR, buf,
						 sizeof(buf), NULL), 0);
		if (version == 50) {
			assert_int_equal(tide_disk_flush(d, NULL), 0);
			memcpy(flushed, last, sizeof(last));
		}
	}
	recorder_events(r, &count);
	for (uint64_t s = 1; s <= 200; s++) {
		assert_int_equal(recorder_crash(r, count, s, &image), 0);
		for (unsigned int i = 0; i < SECTORS; i++) {
			uint8_t is = image.bytes[i * SECTOR];

			assert_memory_equal(image.bytes + i * SECTOR,
					    image.bytes + i * SECTOR + 1,
					    SECTOR - 1);
			assert_in_range(is, flushed[i], last[i]);
			lost |= is != last[i];
			torn |= i && last[i] == last[i - 1] &&
				flushed[i] == flushed[i - 1] &&
				is != image.bytes[(i - 1) * SECTOR];
		}
		recorder_image_free(&image);
	}
	assert_true(lost);
	assert_true(torn);
	tide_disk_close(d, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_replay, setup, teardown),
		cmocka_unit_test_setup_teardown(test_faults, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
