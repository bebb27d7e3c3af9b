/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writers behind rings, and cuts by several threads, while writers go on. The
 * books must close: each writer counts versions into pages of its own before
 * it pushes or marks; whoever takes an epoch reads the versions after the cut;
 * in the end every page was read at its last version.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "seed.h"
#include "tidemark/ring.h"

enum { WRITERS = 3, PARTS = 3, PAGES = 300000, WRITES = 300000 };

struct books {
	struct tide_set *set;
	struct tide_ring *ring[WRITERS];	/* NULL: marks */
	uint32_t version[PAGES];	/* what a page holds */
	uint32_t copied[PAGES];		/* what was read of it */
	unsigned int running;
	uint64_t seed;
};

struct job {
	struct books *b;
	unsigned int number;
};

static void *write_on(void *arg)
{
	struct job *job = arg;
	struct books *b = job->b;
	uint64_t rng = b->seed + job->number;

	for (int i = 0; i < WRITES; i++) {
		uint64_t page = seed_below(&rng, PAGES / WRITERS) * WRITERS +
				job->number;

		/* Relaxed: the push or mark orders it. */
		tide__add_relaxed(&b->version[page], 1);
		if (b->ring[job->number])
			tide_ring_push(b->ring[job->number], page);
		else
			tide_set_mark(b->set, page);
	}
	tide__add_seqcst(&b->running, -1);
	return NULL;
}

static void *take_part(void *arg)
{
	struct job *job = arg;

	tide_set_cut_part(job->b->set, job->number, PARTS);
	return NULL;
}

static struct tide_epoch *cut_together(struct books *b)
{
	struct job job[PARTS];
	pthread_t thread[PARTS];
	struct tide_epoch *epoch;

	assert_int_equal(tide_set_cut_begin(b->set, NULL), 0);
	assert_int_equal(tide_set_cut_begin(b->set, NULL), -EBUSY);
	for (unsigned int i = 0; i < PARTS; i++) {
		job[i] = (struct job){ b, i };
		assert_int_equal(pthread_create(&thread[i], NULL, take_part,
						&job[i]), 0);
	}
	for (unsigned int i = 0; i < PARTS; i++)
		pthread_join(thread[i], NULL);
	tide_set_cut_finish(b->set, &epoch);
	return epoch;
}

/* Part by part, and compare with the whole. */
static uint64_t copy(struct books *b, const struct tide_epoch *epoch)
{
	struct tide_range r[100], whole[1];
	uint64_t cursor, all = 0, pages = 0;
	size_t n;

	for (unsigned int part = 0; part < PARTS; part++) {
		cursor = 0;
		while ((n = tide_epoch_next_part(epoch, part, PARTS, &cursor, r,
						 100)))
			for (size_t i = 0; i < n; i++) {
				assert_int_equal(tide_epoch_next(epoch, &all,
								 whole, 1), 1);
				assert_memory_equal(whole, &r[i],
						    sizeof(*whole));
				for (uint64_t p = r[i].first;
				     p < r[i].first + r[i].count; p++)
					b->copied[p] = tide__load_relaxed(
					    &b->version[p]);
				pages += r[i].count;
			}
	}
	assert_int_equal(tide_epoch_next(epoch, &all, whole, 1), 0);
	assert_int_equal(pages, tide_epoch_count(epoch));
	return pages;
}

static void close_books(bool rings, uint32_t entries)
{
	struct books *b = calloc(1, sizeof(*b));
	uint64_t overflows = 0, pages = 0, cuts = 0;
	struct job job[WRITERS];
	pthread_t thread[WRITERS];
	bool last;

	b->seed = seed_of("close_books", 41);
	b->running = WRITERS;
	assert_int_equal(tide_set_create(&b->set, PAGES, NULL), 0);
	for (unsigned int i = 0; i < WRITERS; i++) {
		if (rings)
			assert_int_equal(tide_ring_create(
			    &b->ring[i], b->set, entries, NULL), 0);
		job[i] = (struct job){ b, i };
		assert_int_equal(pthread_create(&thread[i], NULL, write_on,
						&job[i]), 0);
	}
	do {
		struct tide_epoch *epoch;

		last = !tide__load_seqcst(&b->running);
		for (unsigned int i = 0; rings && i < WRITERS; i++)
			tide_ring_drain(b->ring[i]);
		epoch = cut_together(b);
		pages += copy(b, epoch);
		tide_epoch_commit(epoch);
		cuts++;
	} while (!last);
	for (unsigned int i = 0; i < WRITERS; i++) {
		pthread_join(thread[i], NULL);
		if (rings)
			overflows += tide_ring_overflows(b->ring[i]);
		tide_ring_destroy(b->ring[i]);
	}
	assert_memory_equal(b->version, b->copied, sizeof(b->version));
	print_message("# %llu cuts, %llu pages, %llu overflows\n",
		      (unsigned long long)cuts, (unsigned long long)pages,
		      (unsigned long long)overflows);
	tide_set_destroy(b->set);
	free(b);
}

static void marks_and_parallel_cuts(void **state)
{
	(void)state;
	close_books(false, 0);
}

static void small_rings_overflow(void **state)
{
	(void)state;
	close_books(true, 16);
}

static void large_rings(void **state)
{
	(void)state;
	close_books(true, 65536);
}

/* Alone: order, wrap, the overflow's count, and what a drain leaves. */
static void one_ring(void **state)
{
	struct tide_error err;
	struct tide_ring *ring;
	struct tide_set *set;

	(void)state;
	assert_int_equal(tide_set_create(&set, 100, NULL), 0);
	assert_int_equal(tide_ring_create(&ring, set, 3, &err), -EINVAL);
	assert_int_equal(tide_ring_create(&ring, set, 0, &err), -EINVAL);
	assert_int_equal(tide_ring_create(&ring, set, 1, &err), -EINVAL);
	assert_int_equal(tide_ring_create(&ring, set, 1u << 25, &err), -EINVAL);
	/* The least there is. */
	assert_int_equal(tide_ring_create(&ring, set, 2, &err), 0);
	tide_ring_destroy(ring);
	assert_non_null(strstr(err.text, "power of two"));
	assert_int_equal(tide_ring_create(&ring, set, 4, NULL), 0);
	for (int round = 0; round < 5; round++) {
		for (uint64_t page = 0; page < 6; page++)
			tide_ring_push(ring, 10 * (uint64_t)round + page);
		assert_int_equal(tide_ring_overflows(ring), 2 * (round + 1));
		assert_false(tide_set_is_dirty(set, 10 * (uint64_t)round));
		assert_true(tide_set_is_dirty(set, 10 * (uint64_t)round + 5));
		assert_int_equal(tide_ring_drain(ring), 4);
		assert_int_equal(tide_ring_drain(ring), 0);
		assert_true(tide_set_is_dirty(set, 10 * (uint64_t)round));
	}
	tide_ring_push(ring, 99);
	tide_ring_destroy(ring);
	assert_true(tide_set_is_dirty(set, 99));
	assert_int_equal(tide_set_count(set), 31);
	tide_set_destroy(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_ring),
		cmocka_unit_test(marks_and_parallel_cuts),
		cmocka_unit_test(small_rings_overflow),
		cmocka_unit_test(large_rings),
	};

	return cmocka_run_group_tests_name("producers", tests, NULL, NULL);
}
