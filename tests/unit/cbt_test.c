/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tracker: several disks at one instant, what it believes after a crash and
 * after others wrote, a store that fails, memory that runs out or that a
 * damaged store asks for.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/bytes.h"
#include "cbt_world.h"
#include "seed.h"

/* In process mode a power cut is said, and nothing is believed. */
static void test_power_in_process_mode(void **state)
{
	static uint8_t byte[512];
	struct cbt_info info;
	struct world w;

	(void)state;
	world_init(&w, 1 << 20);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(cbt_bitmap_add(w.c, "b", 65536, false, NULL), 0);
	assert_int_equal(tide_disk_write(w.d, 0, byte, 512, NULL), 0);
	world_kill(&w);
	memset(w.boot, 99, 16);
	world_open(&w);
	assert_non_null(strstr(cbt_note(w.c), "process durability"));
	assert_int_equal(cbt_info(w.c, "k", CBT_COUNTED, &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_INCONSISTENT);
	assert_non_null(strstr(info.reason, "process durability"));
	assert_int_equal(cbt_info(w.c, "b", CBT_COUNTED, &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_DISABLED);
	assert_int_equal(cbt_checkpoint_delete(w.c, "k", NULL), 0);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* --- who wrote while nobody tracked -------------------------------------- */

static void expect_doubt(struct world *w, const char *why)
{
	struct cbt_info info;

	world_open(w);
	assert_int_equal(cbt_info(w->c, "k", CBT_COUNTED, &info, NULL), 0);
	if (why) {
		assert_int_equal(info.word, CBT_SAYS_INCONSISTENT);
		assert_non_null(strstr(info.reason, why));
		assert_int_equal(cbt_checkpoint_delete(w->c, "k", NULL), 0);
		assert_int_equal(cbt_checkpoint_create(&w->c, 1, "k", false,
						       NULL), 0);
	} else {
		assert_int_equal(info.word, CBT_SAYS_RECORDING);
	}
	assert_int_equal(tide_disk_close(w->d, NULL), 0);
}

static void test_foreign_writes(void **state)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
				     { .tv_sec = 1000 } };
	char live[128], command[400];
	struct world w;

	(void)state;
	world_init(&w, 1 << 20);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	expect_doubt(&w, NULL);
	utimensat(AT_FDCWD, w.path, times, 0);
	expect_doubt(&w, "modified after it was closed");
	expect_doubt(&w, NULL);
	w.spy.disk.size_bytes = 2 << 20;
	expect_doubt(&w, "size");
	snprintf(command, sizeof(command), "cp %s %s.2 && mv %s.2 %s", w.path,
		 w.path, w.path, w.path);
	assert_int_equal(system(command), 0);
	expect_doubt(&w, "another file");
	/* The live file of a killed server is gone; and again, half way. */
	world_open(&w);
	world_kill(&w);
	snprintf(live, sizeof(live), "rm %s/*.live", w.live);
	assert_int_equal(system(live), 0);
	world_open(&w);
	world_kill(&w);
	expect_doubt(&w, "live file is gone");
	world_fini(&w);
}

/* --- a store that fails --------------------------------------------------- */

static void test_store_fails(void **state)
{
	static uint8_t buf[4096];
	struct cbt_status status;
	struct tide_error err;
	struct cbt_info info;
	struct world w;

	(void)state;
	world_init(&w, MAX_BYTES);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	tide__store_seqcst(&world_fail_with, ENOSPC);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tide_disk_write(w.d, i * 1048576, buf, 4096,
						 NULL), 0);
		assert_int_equal(cbt_checkpoint_create(&w.c, 1, "x", false,
						       &err), -ENOSPC);
		assert_non_null(strstr(err.text, "disk.tidemark"));
		assert_int_equal(cbt_bitmap_add(w.c, "y", 65536, true, &err),
				 -ENOSPC);
		assert_int_equal(cbt_checkpoint_delete(w.c, "k", &err),
				 -ENOSPC);
	}
	cbt_status(w.c, &status);
	assert_non_null(strstr(status.trouble, "No space"));
	assert_int_equal(cbt_info(w.c, "x", CBT_COUNTED, &info, NULL), -ENOENT);
	/* Killed like this: nothing is lost. */
	world_kill(&w);
	tide__store_seqcst(&world_fail_with, 0);
	world_open(&w);
	assert_string_equal(cbt_note(w.c), "");
	assert_int_equal(cbt_info(w.c, "k", CBT_COUNTED, &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_RECORDING);
	assert_int_equal(info.dirty_bytes, 3 * 65536);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* In power mode writes go on, and it is said that power may lose marks. */
static void test_intents_fail(void **state)
{
	static uint8_t buf[4096];
	struct cbt_status status;
	struct cbt_info info;
	struct world w;

	(void)state;
	world_init(&w, MAX_BYTES);
	w.o.durability = CBT_POWER;
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	tide__store_seqcst(&world_fail_with, EIO);
	assert_int_equal(tide_disk_write(w.d, 0, buf, 4096, NULL), 0);
	cbt_status(w.c, &status);
	assert_true(status.lost);
	assert_non_null(strstr(status.trouble, "power cut"));
	tide__store_seqcst(&world_fail_with, 0);
	assert_int_equal(tide_disk_close(w.d, NULL), -EIO);
	/* The live file says more than the store. */
	world_open(&w);
	assert_int_equal(cbt_info(w.c, "k", CBT_COUNTED, &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_RECORDING);
	assert_int_equal(info.dirty_bytes, 65536);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* What is not done for want of memory is not half done; no mark is lost. */
static void verbs_without_memory(struct world *w, int left)
{
	static uint8_t buf[4096];
	struct expected *k = &w->points[0], *b = &w->points[1];
	int ret[6];

	tide__store_seqcst(&world_allocations_left, left);
	ret[0] = cbt_checkpoint_create(&w->c, 1, "new", false, NULL);
	ret[1] = cbt_bitmap_add(w->c, "fine", 512, true, NULL);
	tide_disk_write(w->d, 3 << 20, buf, 4096, NULL);
	ret[2] = cbt_bitmap_merge(w->c, b->name, w->c, k->name, NULL);
	ret[3] = cbt_bitmap_enable(w->c, b->name, false, NULL);
	ret[4] = cbt_rename(w->c, "new", "other", NULL);
	ret[5] = tide_disk_resize(w->d, MAX_BYTES / 2 + left * 4096, NULL);
	tide__store_seqcst(&world_allocations_left, -1);
	for (int i = 0; i < 6; i++)
		assert_true(ret[i] == 0 || ret[i] == -ENOMEM ||
			    (i == 4 && ret[0] && ret[i] == -ENOENT));
	world_expect_dirty(w, 3 << 20, 4096);
	if (!ret[2])
		memset(b->dirty, 1, 8);
}

static void test_no_memory(void **state)
{
	static uint8_t buf[4096];
	struct world w;

	(void)state;
	world_ran_out = true;
	for (int left = 0; world_ran_out; left++) {
		world_init(&w, MAX_BYTES / 2);
		world_open(&w);
		strcpy(w.points[0].name, "k");
		strcpy(w.points[1].name, "b");
		assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false,
						       NULL), 0);
		assert_int_equal(cbt_bitmap_add(w.c, "b", 4096, true, NULL),
				 0);
		w.points[0].there = w.points[0].records = true;
		w.points[1].there = w.points[1].records = true;
		assert_int_equal(tide_disk_write(w.d, 0, buf, 4096, NULL), 0);
		world_expect_dirty(&w, 0, 4096);
		world_ran_out = false;
		verbs_without_memory(&w, left);
		for (int i = 0; i < 2; i++)
			memset(w.points[i].may, 1, UNITS);
		world_check_all(&w);
		world_reopen(&w, left % 2);
		world_check_all(&w);
		assert_int_equal(tide_disk_close(w.d, NULL), 0);
		world_fini(&w);
		assert_true(left < 5000);
	}
}

/* --- a store from elsewhere ----------------------------------------------- */

static void test_damaged_store(void **state)
{
	static uint8_t whole[4 << 20], buf[4096];
	struct tide_error err;
	struct world w;
	ssize_t length;
	int fd, refusals = 0;

	(void)state;
	world_rng = seed_of("cbt", 11) + 5;
	world_init(&w, MAX_BYTES);
	world_open(&w);
	for (int i = 0; i < 4; i++) {
		char name[4] = { 'k', (char)('0' + i) };

		assert_int_equal(cbt_checkpoint_create(&w.c, 1, name, false,
						       NULL), 0);
		assert_int_equal(tide_disk_write(w.d, i * 2097152, buf, 4096,
						 NULL), 0);
	}
	assert_int_equal(cbt_bitmap_add(w.c, "b", 4096, true, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	fd = open(w.store, O_RDWR);
	length = pread(fd, whole, sizeof(whole), 0);
	assert_true(length > 8192 && length < (ssize_t)sizeof(whole));
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t at = below(40 * 4096); /* behind it are zeroes */
		uint8_t byte = (uint8_t)(whole[at] ^ 1u << below(8));

		world_put(fd, &byte, 1, at);
		if (cbt_open(&w.spy.disk, &w.o, &w.c, &err)) {
			assert_non_null(strstr(err.text, "disk.tidemark"));
			refusals++;
		} else {
			cbt_discard(w.c, true);
		}
		world_put(fd, whole, 64 * 4096, 0);
		assert_int_equal(ftruncate(fd, length), 0);
	}
	assert_true(refusals > 0);
	assert_int_equal(ftruncate(fd, 5000), 0);
	assert_int_equal(cbt_open(&w.spy.disk, &w.o, &w.c, &err), -EINVAL);
	close(fd);
	world_fini(&w);
}

/* As it is now in the file, and called right by both superblocks. */
static void bless_catalog(int fd)
{
	uint8_t super[4096], catalog[65536];

	for (off_t at = 0; at < 8192; at += 4096) {
		uint64_t bytes;

		assert_int_equal(pread(fd, super, 4096, at), 4096);
		bytes = tide__get_le(super + 72, 8);
		assert_true(bytes <= sizeof(catalog));
		assert_int_equal(
			pread(fd, catalog, bytes,
			      (off_t)tide__get_le(super + 64, 8) * 4096),
			(ssize_t)bytes);
		tide__put_le(super + 80, XXH64(catalog, bytes, 0), 8);
		tide__put_le(super + 4088, XXH64(super, 4088, 0), 8);
		world_put(fd, super, 4096, (uint64_t)at);
	}
}

/* Its checksums are right: it is refused, with its name, or it opens. */
static void test_wrong_catalog(void **state)
{
	static uint8_t whole[4 << 20];
	uint64_t at, bytes;
	struct tide_error err;
	struct world w;
	ssize_t length;
	int fd, refusals = 0;

	(void)state;
	world_init(&w, MAX_BYTES);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(cbt_bitmap_add(w.c, "b", 4096, true, NULL), 0);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	fd = open(w.store, O_RDWR);
	length = pread(fd, whole, sizeof(whole), 0);
	assert_true(length > 8192 && length < (ssize_t)sizeof(whole));
	/* Of the newer one, which is at the sequence's place. */
	at = tide__get_le(whole + 16, 8) > tide__get_le(whole + 4112, 8) ? 0
									: 4096;
	bytes = tide__get_le(whole + at + 72, 8);
	at = tide__get_le(whole + at + 64, 8) * 4096;
	for (uint64_t i = 0; i < bytes; i++) {
		uint8_t byte = whole[at + i] ^ 0x81;

		world_put(fd, &byte, 1, at + i);
		bless_catalog(fd);
		if (cbt_open(&w.spy.disk, &w.o, &w.c, &err)) {
			if (!strstr(err.text, "disk"))
				fail_msg("byte %d: %s", (int)i, err.text);
			refusals++;
		} else {
			cbt_discard(w.c, true);
		}
		assert_int_equal(ftruncate(fd, 0), 0);
		world_put(fd, whole, (size_t)length, 0);
	}
	assert_true(refusals > 0);
	close(fd);
	world_fini(&w);
}

static void set_making(struct world *w, bool making)
{
	pthread_mutex_lock(&w->c->lock);
	cbt_catalog_find(&w->c->catalog, "g")->making = making;
	assert_int_equal(cbt_commit(w->c, NULL), 0);
	pthread_mutex_unlock(&w->c->lock);
}

/* Killed while the stores heard of one checkpoint: on both, or on none. */
static void finish_both(struct world *w, struct world *v, bool one_made)
{
	struct cbt *both[2] = { w->c, v->c };
	struct cbt_info info;

	assert_int_equal(cbt_checkpoint_create(both, 2, "g", false, NULL), 0);
	set_making(w, true);
	set_making(v, !one_made);
	world_kill(w);
	world_kill(v);
	world_open(w);
	world_open(v);
	both[0] = w->c;
	both[1] = v->c;
	cbt_finish_groups(both, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(cbt_info(both[i], "g", CBT_COUNTED, &info,
					  NULL),
				 one_made ? 0 : -ENOENT);
		if (one_made)
			assert_int_equal(info.word, CBT_SAYS_RECORDING);
	}
}

/* One instant for several disks; names; who already tracks. */
static void test_several(void **state)
{
	struct world w, v;
	struct cbt *both[2], *third;
	struct cbt_info info, other;
	struct tide_error err;

	(void)state;
	world_init(&w, MAX_BYTES);
	world_init(&v, MAX_BYTES);
	world_open(&w);
	world_open(&v);
	both[0] = w.c;
	both[1] = v.c;
	assert_int_equal(cbt_checkpoint_create(both, 2, "k", false, NULL), 0);
	assert_int_equal(cbt_checkpoint_create(&v.c, 1, "only", false, NULL),
			 0);
	assert_int_equal(cbt_checkpoint_create(both, 2, "only", false, &err),
			 -EEXIST);
	assert_int_equal(cbt_info(w.c, "only", CBT_COUNTED, &info, NULL),
			 -ENOENT);
	assert_int_equal(cbt_checkpoint_create(both, 2, "", false, &err),
			 -EINVAL);
	assert_int_equal(cbt_open(&w.spy.disk, &w.o, &third, &err), -EBUSY);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "p", true, NULL), 0);
	assert_int_equal(cbt_info(w.c, "p", CBT_COUNTED, &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_BUSY);
	assert_int_equal(cbt_info(w.c, "k", CBT_COUNTED, &other, NULL), 0);
	assert_memory_equal(info.parent, other.uuid, 16);
	world_kill(&w);
	world_open(&w);
	assert_int_equal(cbt_info(w.c, "p", CBT_COUNTED, &info, NULL), 0);
	assert_true(info.pending);
	assert_int_equal(cbt_checkpoint_finish(w.c, "p", true, NULL), 0);
	assert_int_equal(cbt_checkpoint_finish(w.c, "p", true, NULL), 0);
	assert_int_equal(cbt_checkpoint_finish(w.c, "p", false, &err),
			 -EINVAL);
	assert_int_equal(cbt_checkpoint_finish(w.c, "q", false, NULL), 0);
	assert_int_equal(cbt_bitmap_add(w.c, "b", 1000, true, &err), -EINVAL);
	assert_int_equal(cbt_bitmap_clear(w.c, "k", &err), -EINVAL);
	finish_both(&w, &v, false);
	finish_both(&w, &v, true);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	assert_int_equal(tide_disk_close(v.d, NULL), 0);
	world_fini(&v);
	world_fini(&w);
}

/* Moved is moved, whatever the store says; it hears of it when it can. */
static void test_give_away(void **state)
{
	static uint8_t buf[512];
	struct cbt_status status;
	struct tide_error err;
	struct cbt_info info;
	struct world w;

	(void)state;
	world_init(&w, MAX_BYTES);
	world_open(&w);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "k", false, NULL), 0);
	assert_int_equal(cbt_hold(w.c, 1000000000, NULL), 0);
	tide__store_seqcst(&world_fail_with, EIO);
	assert_int_equal(cbt_give_away(w.c, "there", &err), -EIO);
	tide__store_seqcst(&world_fail_with, 0);
	cbt_let_go(w.c);
	assert_int_equal(tide_disk_write(w.d, 0, buf, 512, &err), -ESHUTDOWN);
	assert_non_null(strstr(err.text, "moved to there"));
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "l", false, NULL), 0);
	assert_int_equal(tide_disk_write(w.d, 0, buf, 512, &err), -ESHUTDOWN);
	assert_non_null(strstr(err.text, "moved to there"));
	cbt_status(w.c, &status);
	assert_non_null(strstr(status.trouble, "moved to there"));
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_open(&w);
	assert_int_equal(cbt_info(w.c, "k", CBT_UNCOUNTED, &info, NULL), 0);
	assert_int_equal(info.word, CBT_SAYS_INCONSISTENT);
	assert_non_null(strstr(info.reason, "moved to there"));
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_power_in_process_mode),
		cmocka_unit_test(test_foreign_writes),
		cmocka_unit_test(test_store_fails),
		cmocka_unit_test(test_intents_fail),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_damaged_store),
		cmocka_unit_test(test_wrong_catalog),
		cmocka_unit_test(test_give_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
