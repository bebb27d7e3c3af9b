/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * We die, or the target does, at each point of attaching: the target goes on
 * as if nothing had been and keeps nothing of ours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "attach/attach.h"
#include "attach_child.h"
#include "seed.h"
#include "sources/uffd_map.h"
#include "tidemark/source.h"

#define POINTS 16

static struct tide_error err;

struct death {
	int point;
	pid_t who;
};

static void die_at(void *opaque, int point)
{
	const struct death *d = opaque;

	if (point == d->point)
		kill(d->who, SIGKILL);
	/* Those who are killed do not come further than this. */
	if (point == d->point && d->who == getpid())
		for (;;)
			pause();
}

/* A process that attaches and dies at @point (0: does not). */
static pid_t attacher(const struct child *c, int point, bool forever)
{
	pid_t pid = fork();

	if (!pid) {
		struct death d = { point, getpid() };
		struct tide__borrow_step step = { die_at, &d };
		struct tide__attach a;

		do {
			if (!tide__attach_open(&a, c->pid, &step, &err)) {
				tide__uffd_arm(a.uffd, a.pagemap, c->memory,
					       CHILD_BYTES, &err);
				if (point == POINTS + 1)
					raise(SIGKILL);
				tide__attach_close(&a);
			}
		} while (forever);
		fprintf(stderr, "%s\n", err.text);
		_exit(9);
	}
	return pid;
}

struct before {
	int maps, files;
};

static void unharmed(const struct child *c, const struct before *b,
		     const char *what, int n)
{
	int maps = 0, files = 0;

	if (child_ask(c, 'p', 0) || child_ask(c, 'w', 9) ||
	    child_ask(c, 'f', 0))
		fail_msg("%s %d: the target suffered", what, n);
	/* A thread that was let go takes a moment to tidy up. */
	for (int i = 0; i < 30000; i++) {
		maps = child_lines(c->pid, "maps", NULL);
		files = child_files(c->pid);
		if (maps == b->maps && files == b->files)
			break;
		usleep(1000);
	}
	if (maps != b->maps || files != b->files)
		fail_msg("%s %d: %d mappings and %d files, not %d and %d",
			 what, n, maps, files, b->maps, b->files);
	if (child_lines(c->pid, "status", "TracerPid:\t0") != 1)
		fail_msg("%s %d: it is still traced", what, n);
}

static void prepare(struct child *c, struct before *b, int kind)
{
	assert_true(child_make(c, kind, NULL, NULL));
	assert_int_equal(child_ask(c, 'p', 0), 0);
	/* All pages are there: no mapping changes from now on. */
	for (uint32_t i = 0; i < CHILD_PAGES; i++)
		child_ask(c, 'w', i);
	b->maps = child_lines(c->pid, "maps", NULL);
	b->files = child_files(c->pid);
}

static void killed_at_every_point(void **state)
{
	const int kinds[] = { CHILD_CALLS, CHILD_ALARMS, CHILD_QUIET };
	struct before b;
	struct child c = { 0 };
	int status;

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		prepare(&c, &b, kinds[k]);
		for (int n = 0; n < 5 * (POINTS + 1); n++) {
			int point = n % (POINTS + 1) + 1;
			pid_t pid = attacher(&c, point, false);

			waitpid(pid, &status, 0);
			/* Point 11 is passed without a filter only. */
			if (!WIFSIGNALED(status))
				fail_msg("point %d was not reached", point);
			unharmed(&c, &b, "killed at point", point);
		}
		child_end(&c);
	}
}

static void killed_at_any_time(void **state)
{
	uint64_t seed = seed_of("killed_at_any_time", 41);
	struct before b;
	struct child c = { 0 };
	int status;

	(void)state;
	prepare(&c, &b, CHILD_CALLS | CHILD_ALARMS);
	for (int n = 0; n < 400; n++) {
		pid_t pid = attacher(&c, 0, true);

		usleep((useconds_t)(500 + seed_below(&seed, 4000)));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		assert_true(WIFSIGNALED(status));
		unharmed(&c, &b, "killed at time", n);
	}
	child_end(&c);
}

/* The target ends while it is attached to: an error, and no waiting. */
static void target_dies(void **state)
{
	(void)state;
	for (int point = 1; point <= POINTS; point++) {
		struct death d = { .point = point };
		struct tide__borrow_step step = { die_at, &d };
		struct tide__attach a;
		struct child c = { 0 };
		int ret;

		assert_true(child_make(&c, CHILD_CALLS, NULL, NULL));
		assert_int_equal(child_ask(&c, 'p', 0), 0);
		usleep(5000);
		d.who = c.pid;
		ret = tide__attach_open(&a, c.pid, &step, &err);
		if (!ret)
			assert_true(point >= 11); /* the stub may be through */
		for (int i = 0; !ret && i < 30000 &&
		     tide__attach_alive(&a); i++)
			usleep(1000);
		if (!ret)
			assert_false(tide__attach_alive(&a));
		tide__attach_close(&a);
		child_end(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_every_point),
		cmocka_unit_test(killed_at_any_time),
		cmocka_unit_test(target_dies),
	};

	if (tide_source_probe(TIDE_SOURCE_FOREIGN, &err) &&
	    err.code != -EILSEQ) {
		printf("1..0 # SKIP %s\n", err.text);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
