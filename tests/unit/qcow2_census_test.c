/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The census against a plain array: few pairs of uses and references, and so
 * many that pages become wide in the middle of the counting.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qcow2/check/census.h"
#include "seed.h"

#define CLUSTERS (3 * CENSUS_PAGE_CLUSTERS + 17)

struct model {
	uint64_t refs[CLUSTERS];
	uint32_t uses[CLUSTERS];
	bool wrong[CLUSTERS];
};

static void compare(const struct qcow2_census *c, const struct model *m)
{
	uint64_t used = 0;

	for (uint64_t i = 0; i < CLUSTERS; i++) {
		assert_int_equal(qcow2_census_refs(c, i), m->refs[i]);
		assert_int_equal(qcow2_census_uses(c, i), m->uses[i]);
		assert_int_equal(qcow2_census_wrong(c, i), m->wrong[i]);
		used += m->refs[i] != 0;
	}
	assert_int_equal(qcow2_census_used(c), used);
	assert_int_equal(qcow2_census_refs(c, CLUSTERS), 0);
	assert_int_equal(qcow2_census_uses(c, CLUSTERS), 0);
}

static void step(struct qcow2_census *c, struct model *m, uint64_t *rng,
		 uint64_t max_refs, uint64_t max_uses)
{
	/* The third page is left alone. */
	uint64_t i = seed_below(rng, 2 * CENSUS_PAGE_CLUSTERS);
	uint64_t refs = seed_below(rng, max_refs);
	uint32_t use = (uint32_t)seed_below(rng, max_uses), before;

	if (seed_below(rng, 8) == 0) {
		assert_int_equal(qcow2_census_take(c, i), 0);
		m->refs[i] -= m->refs[i] != 0;
		return;
	}
	assert_int_equal(qcow2_census_add(c, i, refs, use, &before), 0);
	assert_int_equal(before, m->uses[i]);
	m->uses[i] |= 1u << use;
	m->refs[i] = refs + m->refs[i] > UINT32_MAX ? UINT32_MAX
						    : refs + m->refs[i];
	if (seed_below(rng, 16) == 0) {
		qcow2_census_set_wrong(c, i);
		m->wrong[i] = true;
	}
}

static void play(uint64_t seed, uint64_t max_refs, uint64_t max_uses,
		 bool wide)
{
	struct model *m = calloc(1, sizeof(*m));
	struct qcow2_census c;
	uint64_t rng = seed;

	assert_non_null(m);
	assert_int_equal(qcow2_census_init(&c, CLUSTERS), 0);
	for (unsigned int n = 0; n < 60000; n++) {
		step(&c, m, &rng, max_refs, max_uses);
		if (n % 20000 == 0)
			compare(&c, m);
	}
	compare(&c, m);
	assert_int_equal(c.pages[0]->wide != NULL, wide);
	assert_null(c.pages[2]);
	qcow2_census_fini(&c);
	free(m);
}

static void few_pairs_take_a_byte(void **state)
{
	(void)state;
	play(seed_of("few_pairs_take_a_byte", 5), 2, 1, false);
}

static void many_pairs_make_pages_wide(void **state)
{
	uint64_t seed = seed_of("many_pairs_make_pages_wide", 7);

	(void)state;
	play(seed, 40, QCOW2_USE_PACKED + 1, true);
	play(seed + 1, 1ull << 33, 3, true);
}

/* All 256 numbers are given out, and the page stays narrow till then. */
static void the_last_number_is_good(void **state)
{
	struct qcow2_census c;
	uint32_t before;

	(void)state;
	assert_int_equal(qcow2_census_init(&c, CLUSTERS), 0);
	for (uint64_t i = 0; i < CENSUS_PAIRS - 1; i++)
		assert_int_equal(qcow2_census_add(&c, i, i + 1, 0, &before), 0);
	assert_null(c.pages[0]->wide);
	assert_int_equal(qcow2_census_refs(&c, CENSUS_PAIRS - 2),
			 CENSUS_PAIRS - 1);
	assert_int_equal(qcow2_census_add(&c, 0, 1000, 1, &before), 0);
	assert_non_null(c.pages[0]->wide);
	assert_int_equal(qcow2_census_refs(&c, 0), 1001);
	assert_int_equal(qcow2_census_uses(&c, 0), 3);
	assert_int_equal(qcow2_census_refs(&c, 1), 2);
	qcow2_census_fini(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(few_pairs_take_a_byte),
		cmocka_unit_test(many_pairs_make_pages_wide),
		cmocka_unit_test(the_last_number_is_good),
	};

	return cmocka_run_group_tests_name("qcow2_census", tests, NULL, NULL);
}
