/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The age map against a list of when each page changed last: random marks,
 * cuts, rollbacks, kept and dropped cuts, and questions about any cut. With few
 * stamps, so that they are renewed all the time.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dirty/age.h"
#include "seed.h"

struct model {
	uint64_t pages;
	uint64_t *changed;	/* number of the cut; 0: never */
	bool *live;
	uint64_t cut;
};

struct pair {
	struct tide_set *set;
	struct tide_age *age;
	struct model m;
};

static void setup(struct pair *p, uint64_t pages, uint32_t limit)
{
	assert_int_equal(tide_set_create(&p->set, pages, NULL), 0);
	assert_int_equal(tide_age_create(&p->age, pages, NULL), 0);
	tide__age_set_limit(p->age, limit);
	p->m = (struct model){ .pages = pages,
			       .changed = calloc(pages, 8),
			       .live = calloc(pages, 1) };
}

static void teardown(struct pair *p)
{
	tide_set_destroy(p->set);
	tide_age_destroy(p->age);
	free(p->m.changed);
	free(p->m.live);
}

static void mark(struct pair *p, uint64_t *rng)
{
	uint64_t first = seed_below(rng, p->m.pages);
	uint64_t count = 1 + seed_below(rng, seed_below(rng, 10) ? 8 : 6000);

	if (count > p->m.pages - first)
		count = p->m.pages - first;
	tide_set_mark_range(p->set, first, count);
	memset(p->m.live + first, 1, count);
}

static void cut(struct pair *p, bool rollback)
{
	struct tide_epoch *epoch;

	assert_int_equal(tide_set_cut(p->set, &epoch, NULL), 0);
	assert_int_equal(tide_age_stamp(p->age, epoch), ++p->m.cut);
	for (uint64_t i = 0; i < p->m.pages; i++)
		if (p->m.live[i])
			p->m.changed[i] = p->m.cut;
	if (rollback) {
		tide_epoch_rollback(epoch);
	} else {
		tide_epoch_commit(epoch);
		memset(p->m.live, 0, p->m.pages);
	}
}

/* The answer as bytes; ranges must ascend and not touch within a batch. */
static void ask(struct pair *p, uint64_t since, bool live, size_t batch,
		bool *got)
{
	struct tide_range r[64];
	uint64_t cursor = 0, last = 0;
	size_t n;

	memset(got, 0, p->m.pages);
	while ((n = tide_age_next(p->age, since, live ? p->set : NULL, &cursor,
				  r, batch)))
		for (size_t i = 0; i < n; i++) {
			assert_true(r[i].count > 0);
			assert_true(r[i].first >= last);
			assert_true(r[i].first + r[i].count <= p->m.pages);
			assert_true(i == 0 || r[i].first > last);
			memset(got + r[i].first, 1, r[i].count);
			last = r[i].first + r[i].count;
		}
}

static void check(struct pair *p, uint64_t since, bool exact, bool *got,
		  uint64_t *rng)
{
	bool live = seed_below(rng, 2);

	ask(p, since, live, 1 + seed_below(rng, 64), got);
	for (uint64_t i = 0; i < p->m.pages; i++) {
		bool want = p->m.changed[i] > since || (live && p->m.live[i]);

		if (want && !got[i])
			fail_msg("page %llu changed in cut %llu, and is not "
				 "among those since %llu",
				 (unsigned long long)i,
				 (unsigned long long)p->m.changed[i],
				 (unsigned long long)since);
		if (exact && got[i] && !want)
			fail_msg("page %llu did not change since %llu",
				 (unsigned long long)i,
				 (unsigned long long)since);
	}
}

static void script(uint64_t pages, uint32_t limit, int steps, uint64_t *rng)
{
	uint64_t kept[3] = { 0 };
	bool *got = malloc(pages);
	struct pair p;

	setup(&p, pages, limit);
	for (int step = 0; step < steps; step++) {
		size_t k = seed_below(rng, 3);

		mark(&p, rng);
		if (seed_below(rng, 3) == 0)
			cut(&p, seed_below(rng, 8) == 0);
		if (p.m.cut && seed_below(rng, 5) == 0) {
			if (kept[k])
				assert_int_equal(tide_age_drop(p.age, kept[k],
							       NULL), 0);
			kept[k] = p.m.cut;
			assert_int_equal(tide_age_keep(p.age, kept[k], NULL),
					 0);
		}
		check(&p, seed_below(rng, p.m.cut + 2), false, got, rng);
		check(&p, p.m.cut, true, got, rng);
		check(&p, 0, true, got, rng);
		if (kept[k])
			check(&p, kept[k], true, got, rng);
	}
	if (limit < 100)
		assert_true(tide_age_renewals(p.age) > 0);
	else
		for (uint64_t c = 0; c <= p.m.cut; c++)
			check(&p, c, true, got, rng);
	teardown(&p);
	free(got);
}

static void against_a_list(void **state)
{
	static const uint64_t sizes[] = { 1, 63, 64, 65, 4095, 4096, 4097,
					  8192, 20000 };
	uint64_t rng = seed_of("against_a_list", 31);

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		script(sizes[i], 16, 300, &rng);
		script(sizes[i], 65535, 60, &rng);
	}
}

static void wrong_calls(void **state)
{
	struct tide_error err;
	struct pair p;

	(void)state;
	assert_int_equal(tide_age_create(&p.age, 0, &err), -EINVAL);
	setup(&p, 100, 8);
	assert_int_equal(tide_age_keep(p.age, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "there was no cut 1"));
	assert_int_equal(tide_age_drop(p.age, 1, &err), -ENOENT);
	for (int i = 0; i < 20; i++)
		cut(&p, false);
	assert_int_equal(tide_age_keep(p.age, 2, &err), -ESTALE);
	assert_non_null(strstr(err.text, "cut 2 can no longer be told"));
	assert_int_equal(tide_age_keep(p.age, 20, NULL), 0);
	assert_int_equal(tide_age_keep(p.age, 20, NULL), 0);
	assert_int_equal(tide_age_drop(p.age, 20, NULL), 0);
	assert_int_equal(tide_age_drop(p.age, 20, NULL), 0);
	assert_int_equal(tide_age_drop(p.age, 20, &err), -ENOENT);
	assert_int_equal(tide_age_cut(p.age), 20);
	teardown(&p);
	tide_age_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_a_list),
		cmocka_unit_test(wrong_calls),
	};

	return cmocka_run_group_tests_name("age", tests, NULL, NULL);
}
