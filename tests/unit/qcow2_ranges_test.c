/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who waits for whom among the requests on one image.
 *
 * First the rules as a table, without waiting. Then with two threads: the
 * later one must be seen waiting, and must go on when the earlier one ends.
 * That it waits is read from the list's own count under the lock, not guessed
 * from time: a later request that runs into the earlier one is never counted
 * as waiting, and says that it began instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "qcow2/driver/ranges.h"

enum { CLUSTER = 4096 };

static const struct rule {
	bool earlier, later; /* changers? */
	uint64_t from, to;   /* of the later one; the earlier has [1, 3) */
	bool goes;
} rules[] = {
	{ false, false, 1, 3, true }, /* plain ones never wait for each other */
	{ false, true, 1, 3, false }, /* a changer waits for a plain one */
	{ true, false, 1, 3, false }, /* a plain one waits for a changer */
	{ true, true, 1, 3, false },  /* two changers */
	{ true, false, 2, 9, false }, /* one cluster shared at the end */
	{ true, false, 0, 2, false }, /* and at the start */
	{ true, false, 3, 4, true },  /* neighbours do not meet */
	{ true, true, 0, 1, true },
	{ false, true, 3, 4, true },
};

static bool begins_beside(struct qcow2_ranges *all, const struct rule *rule)
{
	struct qcow2_range earlier, later;
	bool goes;

	assert_true(qcow2_range_try(all, &earlier, CLUSTER, 3 * CLUSTER,
				    rule->earlier));
	goes = qcow2_range_try(all, &later, rule->from * CLUSTER,
			       rule->to * CLUSTER, rule->later);
	if (goes)
		qcow2_range_end(all, &later);
	qcow2_range_end(all, &earlier);
	return goes;
}

static void test_rules(void **state)
{
	struct qcow2_ranges all;

	(void)state;
	assert_int_equal(qcow2_ranges_init(&all), 0);
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		if (begins_beside(&all, &rules[i]) != rules[i].goes)
			fail_msg("rule %zu does not hold", i);
		/* Refused or ended: nothing stays behind. */
		assert_null(all.first);
		assert_null(all.last);
		assert_int_equal(all.changers, 0);
	}
	qcow2_ranges_fini(&all);
}

struct pair {
	struct qcow2_ranges all;
	pthread_mutex_t lock;
	bool later_changes;
	bool began, waited; /* of the later one, under the lock */
};

static void *later_request(void *arg)
{
	struct pair *p = arg;
	struct qcow2_range r;

	pthread_mutex_lock(&p->lock);
	p->waited = qcow2_range_begin(&p->all, &r, 0, CLUSTER,
				      p->later_changes, &p->lock);
	p->began = true;
	qcow2_range_end(&p->all, &r);
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Until the later one either waits or has begun, which is the fault. */
static void until_it_waits_or_began(struct pair *p)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	bool decided = false;

	while (!decided) {
		nanosleep(&pause, NULL);
		pthread_mutex_lock(&p->lock);
		decided = p->all.waiting || p->began;
		pthread_mutex_unlock(&p->lock);
	}
}

static void two_threads(bool earlier_changes, bool later_changes, bool waits)
{
	struct pair p = { .lock = PTHREAD_MUTEX_INITIALIZER,
			  .later_changes = later_changes };
	struct qcow2_range earlier;
	pthread_t thread;
	bool began;

	assert_int_equal(qcow2_ranges_init(&p.all), 0);
	assert_false(qcow2_range_begin(&p.all, &earlier, 0, CLUSTER,
				       earlier_changes, &p.lock));
	assert_int_equal(pthread_create(&thread, NULL, later_request, &p), 0);
	until_it_waits_or_began(&p);
	pthread_mutex_lock(&p.lock);
	began = p.began;
	qcow2_range_end(&p.all, &earlier);
	pthread_mutex_unlock(&p.lock);
	pthread_join(thread, NULL);
	assert_int_equal(began, !waits);
	assert_int_equal(p.waited, waits);
	assert_true(p.began);
	assert_null(p.all.first);
	qcow2_ranges_fini(&p.all);
}

static void test_reader_waits_for_changer(void **state)
{
	(void)state;
	two_threads(true, false, true);
}

static void test_changer_waits_for_reader(void **state)
{
	(void)state;
	two_threads(false, true, true);
}

static void test_changer_waits_for_changer(void **state)
{
	(void)state;
	two_threads(true, true, true);
}

static void test_readers_go_together(void **state)
{
	(void)state;
	two_threads(false, false, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_reader_waits_for_changer),
		cmocka_unit_test(test_changer_waits_for_reader),
		cmocka_unit_test(test_changer_waits_for_changer),
		cmocka_unit_test(test_readers_go_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
