/* SPDX-License-Identifier: BSD-2-Clause */
/* The policy as a table: numbers in, a verdict out, both sides of each edge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "rounds/policy.h"
#include "tidemark/range.h"

#define MS 1000000ull
#define PAGE_WIRE (TIDE_PAGE_BYTES * 1000ull)	/* a page a millisecond */

static const struct {
	const char *what;
	struct tide__policy p;
	struct tide__left left;
	enum tide__verdict verdict;
	unsigned int throttle, without_progress;	/* afterwards */
} table[] = {
	{ "one page fits into one ms",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 8, 1, 0, 0 }, TIDE__STOP_GUEST, 0, 0 },
	{ "two do not",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 8, 2, 0, 0 }, TIDE__GO_ON, 0, 0 },
	{ "nothing is dirty: a target of 1 ms is met",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .turn_ns = 100000 },
	  { 1, 8, 0, 0, 100000 }, TIDE__STOP_GUEST, 0, 0 },
	{ "the harvest counts",
	  { .target_ns = 2 * MS, .max_rounds = 9,
	    .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 8, 1, 0, MS + 1 }, TIDE__GO_ON, 0, 0 },
	{ "three answers count",
	  { .target_ns = 4 * MS, .max_rounds = 9, .turn_ns = MS,
	    .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 8, 1, 0, 0 }, TIDE__STOP_GUEST, 0, 0 },
	{ "and not one ns less",
	  { .target_ns = 4 * MS - 1, .max_rounds = 9, .turn_ns = MS,
	    .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 8, 1, 0, 0 }, TIDE__GO_ON, 0, 0 },
	{ "what is written during the harvest counts",
	  { .target_ns = 3 * MS, .max_rounds = 9,
	    .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 8, 1, 2000, MS }, TIDE__GO_ON, 0, 0 },
	{ "at the highest rate of the rounds before",
	  { .target_ns = 3 * MS, .max_rounds = 9, .peak_pages_per_s = 2000,
	    .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 8, 1, 0, MS }, TIDE__GO_ON, 0, 0 },
	{ "three quarters are no progress",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99 },
	  { 1, 100, 75, 0, 0 }, TIDE__THROTTLE, 20, 0 },
	{ "a page less is",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99, .rounds_without_progress = 2 },
	  { 1, 100, 74, 0, 0 }, TIDE__GO_ON, 0, 0 },
	{ "ten percent more",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99, .throttle_percent = 20 },
	  { 1, 100, 100, 0, 0 }, TIDE__THROTTLE, 30, 0 },
	{ "up to the highest",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99, .throttle_percent = 90 },
	  { 1, 100, 100, 0, 0 }, TIDE__THROTTLE, 99, 0 },
	{ "also the first time",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 7 },
	  { 1, 100, 100, 0, 0 }, TIDE__THROTTLE, 7, 0 },
	{ "there patience begins",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99, .throttle_percent = 99 },
	  { 1, 100, 100, 0, 0 }, TIDE__GO_ON, 99, 1 },
	{ "and ends after three rounds",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99, .throttle_percent = 99,
	    .rounds_without_progress = 2 },
	  { 1, 100, 100, 0, 0 }, TIDE__GIVE_UP, 99, 3 },
	{ "a guest that cannot be throttled",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE },
	  { 1, 100, 100, 0, 0 }, TIDE__GO_ON, 0, 1 },
	{ "no throttle where the floor is the target: it cannot help",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99 },
	  { 1, 3, 3, 0, MS }, TIDE__GO_ON, 0, 1 },
	{ "where it is just below",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE,
	    .max_throttle_percent = 99 },
	  { 1, 3, 3, 0, MS - 1 }, TIDE__THROTTLE, 20, 0 },
	{ "too many rounds",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE },
	  { 9, 100, 10, 0, 0 }, TIDE__GIVE_UP, 0, 0 },
	{ "not yet",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE },
	  { 8, 100, 10, 0, 0 }, TIDE__GO_ON, 0, 0 },
	{ "the last one fits",
	  { .target_ns = MS, .max_rounds = 9, .wire_bytes_per_s = PAGE_WIRE },
	  { 9, 100, 1, 0, 0 }, TIDE__STOP_GUEST, 0, 0 },
	{ "nothing is known of the wire: nothing fits",
	  { .target_ns = MS, .max_rounds = 9 },
	  { 1, 100, 1, 0, 0 }, TIDE__GO_ON, 0, 0 },
};

static void verdicts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct tide__policy p = table[i].p;
		enum tide__verdict v = tide__policy_judge(&p, &table[i].left);

		if (v != table[i].verdict ||
		    p.throttle_percent != table[i].throttle ||
		    p.rounds_without_progress != table[i].without_progress)
			fail_msg("%s: verdict %d, throttle %u, %u rounds",
				 table[i].what, (int)v, p.throttle_percent,
				 p.rounds_without_progress);
	}
}

static void forecasts(void **state)
{
	const struct tide__policy p = { .wire_bytes_per_s = PAGE_WIRE,
					.turn_ns = 2 * MS };
	const struct tide__left left = { .pages = 10, .pages_per_s = 1000,
					 .harvest_ns = 4 * MS };
	struct tide__forecast f = tide__policy_forecast(&p, &left);
	struct tide__policy late = p;

	(void)state;
	assert_int_equal(f.floor_ns, 10 * MS);
	/* Ten pages, and four that are written while it is harvested. */
	assert_int_equal(f.downtime_ns, 24 * MS);
	/* Answers took longer of late: that is expected, but no floor. */
	late.slow_turn_ns = 5 * MS;
	f = tide__policy_forecast(&late, &left);
	assert_int_equal(f.floor_ns, 10 * MS);
	assert_int_equal(f.downtime_ns, 33 * MS);
}

static void learns(void **state)
{
	struct tide__policy p = { 0 };
	struct tide__left left = { .pages_per_s = 1000 };

	(void)state;
	/* Small rounds: the best of them, without the waiting. */
	tide__policy_learn(&p, 1000, 2 * MS, MS + 1);
	assert_int_equal(p.wire_bytes_per_s, 1000001);
	assert_int_equal(p.turn_ns, MS + 1);
	tide__policy_learn(&p, 10, 2 * MS, MS + 2);
	assert_int_equal(p.wire_bytes_per_s, 1000001);
	assert_int_equal(p.turn_ns, MS + 1);
	tide__policy_learn(&p, 1 << 20, 4, 5);
	assert_int_equal(p.wire_bytes_per_s, 1048576000000001);
	assert_int_equal(p.turn_ns, 5);
	/* A busy round is worth more than all of them. */
	tide__policy_learn(&p, (1 << 20) + 1, MS - 1, 9);
	assert_int_equal(p.wire_bytes_per_s, 1048577001);
	assert_int_equal(p.turn_ns, 5);
	tide__policy_learn(&p, 1 << 20, 4, 5);
	assert_int_equal(p.wire_bytes_per_s, 1048577001);
	/* The slower of two busy rounds counts, whichever was first. */
	tide__policy_learn(&p, 2 << 20, MS - 1, 9);
	assert_int_equal(p.wire_bytes_per_s, 1048577001);
	tide__policy_learn(&p, 3 << 20, MS - 1, 9);
	assert_int_equal(p.wire_bytes_per_s, 2097152001);
	tide__policy_learn(&p, 2 << 20, MS - 1, 9);
	tide__policy_learn(&p, (1 << 20) + 4, MS - 1, 9);
	assert_int_equal(p.wire_bytes_per_s, 1048580001);
	/* The slowest answer fades by a quarter a round. */
	p.slow_turn_ns = 0;
	tide__policy_learn(&p, 1, 1, 400);
	assert_int_equal(p.slow_turn_ns, 400);
	tide__policy_learn(&p, 1, 1, 7);
	assert_int_equal(p.slow_turn_ns, 300);
	tide__policy_learn(&p, 1, 1, 301);
	assert_int_equal(p.slow_turn_ns, 301);
	/* The peak of writes fades by a quarter a round. */
	tide__policy_judge(&p, &left);
	assert_int_equal(p.peak_pages_per_s, 1000);
	left.pages_per_s = 10;
	tide__policy_judge(&p, &left);
	assert_int_equal(p.peak_pages_per_s, 750);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(forecasts),
		cmocka_unit_test(learns),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
