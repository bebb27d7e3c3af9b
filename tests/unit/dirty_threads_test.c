/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Markers, a taker and random rollbacks together, with books that must close.
 *
 * Each page has a counter, the "guest data". A marker raises the counter of a
 * page and then marks it. Where it can it owns the pages that it writes, so
 * that a plain store does, which may still be on its way when the mark is made.
 * The taker cuts, "copies" the counter of each page in the epoch, and commits
 * or rolls back. At the end, after a last cut, the copy of every page must
 * equal its counter: a lost mark leaves an older copy. Built with
 * ThreadSanitizer by `make tsan`.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "seed.h"
#include "tidemark/dirty.h"

#define MARKERS 4

struct shared {
	struct tide_set *set;
	uint64_t pages;
	uint32_t *data;		/* raised by markers */
	uint32_t *copy;		/* the taker's alone */
	uint64_t marks_each;
	uint64_t seed;
	unsigned int running;
};

struct marker {
	struct shared *shared;
	unsigned int number;
	uint64_t rng;
};

/* Relaxed: it is the set that must order it before the copy. */
static void write_page(const struct marker *m, uint64_t page)
{
	uint32_t *data = &m->shared->data[page];

	if (m->shared->pages < MARKERS)
		tide__add_relaxed(data, 1);
	else if (page % MARKERS == m->number)
		tide__store_relaxed(data, tide__load_relaxed(data) + 1);
}

static void *mark_loop(void *arg)
{
	struct marker *m = arg;
	struct shared *s = m->shared;

	for (uint64_t i = 0; i < s->marks_each; i++) {
		uint64_t page = seed_below(&m->rng, s->pages), count = 1;

		if (seed_below(&m->rng, 100) == 0) {
			count = 1 + seed_below(&m->rng, 200);
			if (count > s->pages - page)
				count = s->pages - page;
		}
		for (uint64_t k = 0; k < count; k++)
			write_page(m, page + k);
		if (count == 1)
			tide_set_mark(s->set, page);
		else
			tide_set_mark_range(s->set, page, count);
	}
	tide__add_relaxed(&s->running, -1u);
	return NULL;
}

/* One epoch: copy what it holds, then end it one way or the other. */
static uint64_t take(struct shared *s, uint64_t *rng, bool must_commit)
{
	struct tide_range r[32];
	struct tide_epoch *epoch;
	uint64_t cursor = 0, seen = 0;
	bool commit = must_commit || seed_below(rng, 3);
	size_t n;

	assert_int_equal(tide_set_cut(s->set, &epoch, NULL), 0);
	while ((n = tide_epoch_next(epoch, &cursor, r, 32))) {
		for (size_t i = 0; i < n; i++) {
			/* A failed send: not copied, not acknowledged. */
			if (!commit && seed_below(rng, 2))
				continue;
			for (uint64_t k = 0; k < r[i].count; k++) {
				uint64_t page = r[i].first + k;

				s->copy[page] =
				    tide__load_relaxed(&s->data[page]);
			}
			seen += r[i].count;
			if (!commit)
				tide_epoch_ack(epoch, r[i].first, r[i].count);
		}
	}
	if (commit)
		tide_epoch_commit(epoch);
	else
		tide_epoch_rollback(epoch);
	return seen;
}

static void run(uint64_t pages, uint64_t marks_each, uint64_t seed, bool fences)
{
	struct shared s = { .pages = pages, .marks_each = marks_each,
			    .seed = seed, .running = MARKERS };
	struct marker markers[MARKERS];
	pthread_t threads[MARKERS];
	uint64_t epochs = 0, copies = 0;

	s.data = calloc(pages, sizeof(*s.data));
	s.copy = calloc(pages, sizeof(*s.copy));
	assert_non_null(s.data);
	assert_non_null(s.copy);
	assert_int_equal(tide_set_create(&s.set, pages, NULL), 0);
	if (fences)
		tide_set_use_fences(s.set);
	for (unsigned int i = 0; i < MARKERS; i++) {
		markers[i] = (struct marker){ &s, i, seed + 1 + i };
		assert_int_equal(pthread_create(&threads[i], NULL, mark_loop,
						&markers[i]), 0);
	}
	while (tide__load_relaxed(&s.running)) {
		copies += take(&s, &seed, false);
		epochs++;
	}
	for (unsigned int i = 0; i < MARKERS; i++)
		pthread_join(threads[i], NULL);
	copies += take(&s, &seed, true);
	for (uint64_t page = 0; page < pages; page++)
		assert_int_equal(s.copy[page], s.data[page]);
	assert_int_equal(tide_set_count(s.set), 0);
	printf("# %" PRIu64 " pages: %" PRIu64 " marks, %" PRIu64 " epochs, %"
	       PRIu64 " copies\n", pages, marks_each * MARKERS, epochs, copies);
	tide_set_destroy(s.set);
	free(s.data);
	free(s.copy);
}

static void few_pages_hot(void **state)
{
	(void)state;
	run(70, 300000, seed_of("few_pages_hot", 1), false);
}

static void many_pages(void **state)
{
	(void)state;
	run(300000, 300000, seed_of("many_pages", 2), false);
}

static void one_word(void **state)
{
	(void)state;
	run(1, 200000, seed_of("one_word", 3), false);
}

static void with_fences(void **state)
{
	(void)state;
	run(70, 300000, seed_of("with_fences", 4), true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_word),
		cmocka_unit_test(few_pages_hot),
		cmocka_unit_test(many_pages),
		cmocka_unit_test(with_fences),
	};

	return cmocka_run_group_tests_name("dirty_threads", tests, NULL, NULL);
}
