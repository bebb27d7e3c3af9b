/* SPDX-License-Identifier: BSD-2-Clause */
/* A table of all ranges: against what was marked, its limit, its failures. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "seed.h"
#include "tidemark/ranges.h"

#define PAGES 20000u

static bool no_memory;
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return no_memory ? NULL : __real_reallocarray(p, n, size);
}

/* The table holds exactly what @bit says, in maximal runs. */
static void assert_table(const struct tide_ranges *t, const bool *bit)
{
	size_t at = 0;

	for (uint64_t p = 0; p < PAGES; p++) {
		uint64_t first = p;

		while (p < PAGES && bit[p])
			p++;
		if (p == first)
			continue;
		assert_true(at < t->count);
		assert_int_equal(t->range[at].first, first);
		assert_int_equal(t->range[at].count, p - first);
		at++;
	}
	assert_int_equal(at, t->count);
}

static void all_of_them(void **state)
{
	static uint64_t words[PAGES / 64 + 1];
	static bool bit[PAGES];
	uint64_t rng = seed_of("all_of_them", 3);
	struct tide_ranges t = { 0 };
	struct tide_epoch *epoch;
	struct tide_scan *scan;
	struct tide_set *set;

	(void)state;
	assert_int_equal(tide_set_create(&set, PAGES, NULL), 0);
	for (uint64_t p = 0; p < PAGES; p++) {
		bit[p] = seed_below(&rng, 3) == 0 || p / 1000 == 7;
		if (!bit[p])
			continue;
		words[p / 64] |= 1ull << p % 64;
		tide_set_mark(set, p);
	}
	assert_int_equal(tide_ranges_add_set(&t, set, 0, NULL), 0);
	assert_true(t.count > 3000);	/* many batches, several doublings */
	assert_table(&t, bit);
	tide_ranges_fini(&t);
	assert_int_equal(t.count, 0);
	assert_int_equal(tide_set_cut(set, &epoch, NULL), 0);
	assert_int_equal(tide_ranges_add_epoch(&t, epoch, 0, NULL), 0);
	assert_table(&t, bit);
	tide_ranges_fini(&t);
	/* Parts that cut runs at their borders, put together. */
	for (unsigned int part = 0; part < 7; part++) {
		struct tide_scan_options o = { .a = words, .a_pages = PAGES,
					       .part = part, .parts = 7,
					       .cut_runs = true };

		assert_int_equal(tide_scan_create(&scan, &o, NULL), 0);
		assert_int_equal(tide_ranges_add_scan(&t, scan, 0, NULL), 0);
		tide_scan_destroy(scan);
	}
	assert_table(&t, bit);
	tide_ranges_fini(&t);
	tide_set_destroy(set);
}

/* Pages 10, 12, 14 in the table; a set that begins with 15 would add two. */
static void failures_leave_it_as_it_was(void **state)
{
	static bool bit[PAGES];
	struct tide_ranges t = { 0 };
	struct tide_error err;
	struct tide_set *set, *more;

	(void)state;
	assert_int_equal(tide_set_create(&set, PAGES, NULL), 0);
	assert_int_equal(tide_set_create(&more, PAGES, NULL), 0);
	for (uint64_t p = 10; p < 16; p += 2) {
		tide_set_mark(set, p);
		bit[p] = true;
	}
	tide_set_mark(more, 15);
	tide_set_mark(more, 20);
	tide_set_mark(more, 30);
	assert_int_equal(tide_ranges_add_set(&t, set, 2, &err), -E2BIG);
	assert_non_null(strstr(err.text, "more than 2 ranges"));
	assert_int_equal(t.count, 0);
	assert_int_equal(tide_ranges_add_set(&t, set, 3, &err), 0);
	assert_table(&t, bit);
	assert_int_equal(tide_ranges_add_set(&t, more, 4, &err), -E2BIG);
	assert_table(&t, bit);
	/* Full, and no memory to double it. */
	for (uint64_t p = 100; p < 100 + 2 * 61; p += 2) {
		tide_set_mark(set, p);
		bit[p] = true;
	}
	tide_ranges_fini(&t);
	assert_int_equal(tide_ranges_add_set(&t, set, 0, &err), 0);
	assert_int_equal(t.count, 64);
	no_memory = true;
	tide_set_mark(more, 221);	/* joins the last one */
	tide_set_mark(more, 300);
	assert_int_equal(tide_ranges_add_set(&t, more, 0, &err), -ENOMEM);
	no_memory = false;
	assert_table(&t, bit);
	assert_int_equal(tide_ranges_add_set(&t, more, 0, &err), 0);
	tide_ranges_fini(&t);
	tide_set_destroy(set);
	tide_set_destroy(more);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_of_them),
		cmocka_unit_test(failures_leave_it_as_it_was),
	};

	return cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}
