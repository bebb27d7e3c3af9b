/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty set against a model that a child could check: one byte a page for
 * the live set, one for the epoch. Plus the edges that a random script is slow
 * to find.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "seed.h"
#include "tidemark/dirty.h"

#define MODEL_PAGES 5000000u

static unsigned char model_live[MODEL_PAGES], model_epoch[MODEL_PAGES];

struct world {
	struct tide_set *set;
	struct tide_epoch *epoch;	/* NULL when closed */
	uint64_t pages;
	uint64_t rng;
};

static void pick(struct world *w, uint64_t *first, uint64_t *count)
{
	static const uint64_t longest[] = { 1, 3, 64, 130, 5000 };
	uint64_t max = longest[seed_below(&w->rng, 5)];

	*first = seed_below(&w->rng, w->pages);
	*count = seed_below(&w->rng, max + 1);
	if (*count > w->pages - *first)
		*count = w->pages - *first;
}

static void do_mark(struct world *w)
{
	uint64_t first, count;

	pick(w, &first, &count);
	/* Now and then over many blocks of the summaries. */
	if (!seed_below(&w->rng, 40)) {
		count = w->pages - first;
		if (count > 300000)
			count = 300000;
	}
	memset(model_live + first, 1, count);
	if (count == 1)
		tide_set_mark(w->set, first);
	else
		tide_set_mark_range(w->set, first, count);
}

static void do_merge(struct world *w)
{
	uint64_t words[80], first, count;

	pick(w, &first, &count);
	for (size_t i = 0; i < 80; i++)
		words[i] = seed_next(&w->rng) & seed_next(&w->rng);
	tide_set_merge_bitmap(w->set, first, words, count);
	for (uint64_t i = 0; i < count; i++)
		if (words[i / 64] >> (i % 64) & 1)
			model_live[first + i] = 1;
}

static void do_cut(struct world *w)
{
	struct tide_error err;
	struct tide_epoch *epoch = NULL;
	int ret = tide_set_cut(w->set, &epoch, &err);

	if (w->epoch) {
		assert_int_equal(ret, -EBUSY);
		assert_null(epoch);
		return;
	}
	assert_int_equal(ret, 0);
	w->epoch = epoch;
	memcpy(model_epoch, model_live, w->pages);
	memset(model_live, 0, w->pages);
}

static void do_ack(struct world *w)
{
	uint64_t first, count;

	pick(w, &first, &count);
	if (!w->epoch)
		return;
	tide_epoch_ack(w->epoch, first, count);
	memset(model_epoch + first, 0, count);
}

static void do_end(struct world *w)
{
	if (!w->epoch)
		return;
	if (seed_below(&w->rng, 2)) {
		tide_epoch_commit(w->epoch);
	} else {
		tide_epoch_rollback(w->epoch);
		for (uint64_t i = 0; i < w->pages; i++)
			model_live[i] |= model_epoch[i];
	}
	memset(model_epoch, 0, w->pages);
	w->epoch = NULL;
}

static uint64_t model_count(const unsigned char *model, uint64_t pages)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < pages; i++)
		count += model[i];
	return count;
}

static void check_runs(struct world *w, bool live,
		       const unsigned char *model);

static void check_live(struct world *w)
{
	uint64_t words[MODEL_PAGES / 64 + 1], first, count;

	assert_int_equal(tide_set_count(w->set),
			 model_count(model_live, w->pages));
	check_runs(w, true, model_live);
	pick(w, &first, &count);
	words[count / 64] = 0;
	assert_int_equal(tide_set_export_bitmap(w->set, first, count, words),
			 0);
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(words[i / 64] >> (i % 64) & 1,
				 model_live[first + i]);
	if (count % 64)
		assert_int_equal(words[count / 64] >> (count % 64), 0);
	for (int i = 0; i < 20; i++) {
		uint64_t page = seed_below(&w->rng, w->pages);

		assert_int_equal(tide_set_is_dirty(w->set, page),
				 model_live[page]);
	}
}

/* The ranges of the epoch, or of the live set, against @model. */
static void check_runs(struct world *w, bool live, const unsigned char *model)
{
	struct tide_range ranges[90];
	size_t n,
		max = 1 + seed_below(&w->rng, seed_below(&w->rng, 2) ? 7 : 90);
	uint64_t cursor = 0, at = 0;

	while ((n = live ? tide_set_next(w->set, &cursor, ranges, max)
			 : tide_epoch_next(w->epoch, &cursor, ranges, max))) {
		for (size_t i = 0; i < n; i++) {
			assert_true(ranges[i].count > 0);
			for (; at < ranges[i].first; at++)
				assert_int_equal(model[at], 0);
			for (uint64_t k = 0; k < ranges[i].count; k++, at++)
				assert_int_equal(model[at], 1);
			if (at < w->pages)	/* maximal */
				assert_int_equal(model[at], 0);
		}
	}
	for (; at < w->pages; at++)
		assert_int_equal(model[at], 0);
}

/* From a cursor anywhere, also inside a run: what is left from there on. */
static void check_cursor(struct world *w)
{
	uint64_t from = seed_below(&w->rng, w->pages), cursor = from;
	uint64_t end = from;
	struct tide_range r;

	if (!tide_epoch_next(w->epoch, &cursor, &r, 1)) {
		r.first = w->pages;
		r.count = 0;
	}
	while (end < r.first)
		assert_int_equal(model_epoch[end++], 0);
	for (; end < r.first + r.count; end++)
		assert_int_equal(model_epoch[end], 1);
	if (end < w->pages)
		assert_int_equal(model_epoch[end], 0);
}

/* Part after part, the ranges of an epoch are those of the whole. */
static void check_parts(struct world *w)
{
	unsigned int parts = 1 + (unsigned int)seed_below(&w->rng, 9);
	struct tide_range r[5], whole;
	uint64_t all = 0, cursor;
	size_t n;

	for (unsigned int part = 0; part < parts; part++) {
		cursor = 0;
		while ((n = tide_epoch_next_part(w->epoch, part, parts,
						 &cursor, r, 5)))
			for (size_t i = 0; i < n; i++) {
				assert_int_equal(tide_epoch_next(
				    w->epoch, &all, &whole, 1), 1);
				assert_memory_equal(&whole, &r[i],
						    sizeof(whole));
			}
	}
	assert_int_equal(tide_epoch_next(w->epoch, &all, &whole, 1), 0);
}

static void check_epoch(struct world *w)
{
	if (!w->epoch)
		return;
	assert_int_equal(tide_epoch_count(w->epoch),
			 model_count(model_epoch, w->pages));
	check_runs(w, false, model_epoch);
	check_cursor(w);
	check_parts(w);
}

static void script(uint64_t pages, uint64_t seed, int steps)
{
	struct world w = { .pages = pages, .rng = seed };
	static void (*const does[])(struct world *) = {
		do_mark, do_mark, do_mark, do_merge, do_cut, do_ack, do_end,
	};

	memset(model_live, 0, sizeof(model_live));
	memset(model_epoch, 0, sizeof(model_epoch));
	assert_int_equal(tide_set_create(&w.set, pages, NULL), 0);
	for (int i = 0; i < steps; i++) {
		does[seed_below(&w.rng, 7)](&w);
		if (pages < 5000 || i % 50 == 0) {
			check_live(&w);
			check_epoch(&w);
		}
	}
	check_live(&w);
	check_epoch(&w);
	tide_set_destroy(w.set);
}

static void every_small_size(void **state)
{
	uint64_t seed = seed_of("every_small_size", 20261121);

	(void)state;
	for (uint64_t pages = 1; pages <= 200; pages++)
		script(pages, seed + pages, 60);
}

static void powers_and_neighbours(void **state)
{
	static const uint64_t sizes[] = { 511,	512,   513,    4095,  4096,
					  4097, 32767, 32768,  32769, 262143,
					  262144, 262145, MODEL_PAGES };
	uint64_t seed = seed_of("powers_and_neighbours", 7);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		script(sizes[i], seed + i, 600);
}

static void sizes_are_checked(void **state)
{
	struct tide_error err;
	struct tide_set *set = (void *)1;

	(void)state;
	assert_int_equal(tide_set_create(&set, 0, &err), -EINVAL);
	assert_int_equal(tide_set_create(&set, TIDE_SET_MAX_PAGES + 1, &err),
			 -EINVAL);
	assert_ptr_equal(set, (void *)1);
	assert_non_null(strstr(err.text, "1 to 2^40 pages"));
	tide_set_destroy(NULL);
}

/* 2^40 pages: 4 PiB of guest. Marks at both ends and across the middle. */
static void largest_set(void **state)
{
	uint64_t last = TIDE_SET_MAX_PAGES - 1, cursor = 0;
	struct tide_range r[4];
	struct tide_epoch *epoch;
	struct tide_set *set;

	(void)state;
	assert_int_equal(tide_set_create(&set, TIDE_SET_MAX_PAGES, NULL), 0);
	tide_set_mark(set, 0);
	tide_set_mark(set, last);
	tide_set_mark_range(set, (1ull << 39) - 100, 200);
	tide_set_mark(set, 1ull << 32);
	assert_int_equal(tide_set_count(set), 203);
	assert_int_equal(tide_set_cut(set, &epoch, NULL), 0);
	assert_int_equal(tide_epoch_next(epoch, &cursor, r, 4), 4);
	assert_int_equal(r[1].first, 1ull << 32);
	assert_int_equal(r[2].first, (1ull << 39) - 100);
	assert_int_equal(r[2].count, 200);
	assert_int_equal(r[3].first, last);
	assert_int_equal(tide_epoch_next(epoch, &cursor, r, 4), 0);
	tide_epoch_commit(epoch);
	assert_int_equal(tide_set_count(set), 0);
	tide_set_destroy(set);
}

static void out_of_range_is_everything(void **state)
{
	struct tide_range r[2];
	struct tide_epoch *epoch;
	struct tide_set *set;
	uint64_t cursor = 0;

	(void)state;
	assert_int_equal(tide_set_create(&set, 1000, NULL), 0);
	tide_set_mark(set, 1000);
	tide_set_mark_range(set, 990, 11);
	tide_set_mark_range(set, UINT64_MAX, UINT64_MAX);
	tide_set_mark_range(set, UINT64_MAX, 0);	/* nothing: no bug */
	assert_int_equal(tide_set_out_of_range(set), 3);
	assert_int_equal(tide_set_count(set), 1000);
	assert_true(tide_set_is_dirty(set, 5));
	assert_int_equal(tide_set_cut(set, &epoch, NULL), 0);
	assert_int_equal(tide_epoch_count(epoch), 1000);
	assert_int_equal(tide_epoch_next(epoch, &cursor, r, 2), 1);
	assert_int_equal(r[0].count, 1000);
	tide_epoch_rollback(epoch);
	assert_int_equal(tide_set_cut(set, &epoch, NULL), 0);
	assert_int_equal(tide_epoch_count(epoch), 1000);
	tide_epoch_commit(epoch);
	assert_int_equal(tide_set_cut(set, &epoch, NULL), 0);
	assert_int_equal(tide_epoch_count(epoch), 0);
	assert_int_equal(tide_set_export_bitmap(set, 0, 1001, NULL), -EINVAL);
	tide_set_destroy(set);
}

static void epochs_are_numbered(void **state)
{
	struct tide_epoch *epoch;
	struct tide_set *set;

	(void)state;
	assert_int_equal(tide_set_create(&set, 64, NULL), 0);
	for (uint64_t k = 1; k < 5; k++) {
		assert_int_equal(tide_set_cut(set, &epoch, NULL), 0);
		assert_int_equal(tide_epoch_number(epoch), k);
		tide_epoch_commit(epoch);
		tide_epoch_commit(epoch);	/* closed: nothing happens */
		tide_epoch_rollback(epoch);
		tide_epoch_ack(epoch, 0, 64);
	}
	tide_set_destroy(set);
}

/*
 * Runs of every length across words and blocks, read in batches of every size:
 * large ones take a shorter way, which full words at the end of a run, pages
 * alone, and the end of the set must not lead astray.
 */
static void runs_in_batches(void **state)
{
	static const size_t batches[] = { 1, 2, 7, 64, 65, 200, 1000, 4000 };
	enum { PAGES = 300001 };
	static bool want[PAGES], got[PAGES];
	static struct tide_range r[4000];
	uint64_t rng = seed_of("runs_in_batches", 53);
	struct tide_epoch *epoch;
	struct tide_set *set;

	(void)state;
	assert_int_equal(tide_set_create(&set, PAGES, NULL), 0);
	for (int round = 0; round < 60; round++) {
		uint64_t longest = UINT64_C(1) << seed_below(&rng, 14);
		uint64_t runs = 1 + seed_below(&rng, 20000 / longest + 2);

		memset(want, 0, sizeof(want));
		for (uint64_t i = 0; i < runs; i++) {
			uint64_t count = 1 + seed_below(&rng, longest);
			uint64_t first = seed_below(&rng, PAGES - count + 1);

			if (seed_below(&rng, 4) == 0)
				first &= ~UINT64_C(63);
			if (seed_below(&rng, 20) == 0)
				first = PAGES - count;
			tide_set_mark_range(set, first, count);
			memset(want + first, 1, count);
		}
		assert_int_equal(tide_set_cut(set, &epoch, NULL), 0);
		for (size_t b = 0; b < sizeof(batches) / sizeof(*batches);
		     b++) {
			uint64_t cursor = 0, last = 0;
			size_t n;

			memset(got, 0, sizeof(got));
			while ((n = tide_epoch_next(epoch, &cursor, r,
						    batches[b])))
				for (size_t i = 0; i < n; i++) {
					assert_true(r[i].count);
					assert_true(!last || r[i].first > last);
					last = r[i].first + r[i].count;
					assert_true(last <= PAGES);
					memset(got + r[i].first, 1, r[i].count);
				}
			assert_memory_equal(got, want, sizeof(got));
		}
		tide_epoch_commit(epoch);
	}
	tide_set_destroy(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_small_size),
		cmocka_unit_test(powers_and_neighbours),
		cmocka_unit_test(runs_in_batches),
		cmocka_unit_test(sizes_are_checked),
		cmocka_unit_test(largest_set),
		cmocka_unit_test(out_of_range_is_everything),
		cmocka_unit_test(epochs_are_numbered),
	};

	return cmocka_run_group_tests_name("dirty", tests, NULL, NULL);
}
