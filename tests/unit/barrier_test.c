/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A set where membarrier(2) is refused: from the start, when it takes fences
 * and nothing else is to be seen; and by a filter of system calls that comes
 * later, when two cuts answer with everything, since no mark may be lost, and
 * those after them are exact again.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tidemark/dirty.h"

#define PAGES 100000

static bool refuse_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { 4, code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Pages that a cut finds when @page was marked. */
static uint64_t cut_of(struct tide_set *set, uint64_t page)
{
	struct tide_epoch *epoch;
	uint64_t pages;

	tide_set_mark(set, page);
	if (tide_set_cut(set, &epoch, NULL))
		return 0;
	pages = tide_epoch_count(epoch);
	tide_epoch_commit(epoch);
	return pages;
}

/* In a child: a filter is for good. Exit status 77: none can be had. */
static int child(void (*what)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		what();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void refused_first(void)
{
	struct tide_set *set;

	if (!refuse_membarrier())
		_exit(77);
	if (tide_set_create(&set, PAGES, NULL))
		_exit(1);
	for (uint64_t i = 0; i < 5; i++)
		if (cut_of(set, i * 999) != 1)
			_exit(2);
	tide_set_destroy(set);
}

static void refused_later(void)
{
	uint64_t found[4];
	struct tide_set *set;

	if (tide_set_create(&set, PAGES, NULL) || cut_of(set, 1) != 1)
		_exit(1);
	if (!refuse_membarrier())
		_exit(77);
	for (uint64_t i = 0; i < 4; i++)
		found[i] = cut_of(set, i * 999);
#ifdef __SANITIZE_THREAD__	/* fences, always */
	if (found[0] != 1 || found[1] != 1)
		_exit(2);
#else
	if (found[0] != PAGES || found[1] != PAGES)
		_exit(2);
#endif
	if (found[2] != 1 || found[3] != 1)
		_exit(3);
	tide_set_destroy(set);
}

/* Nothing is asked of the kernel. */
static void not_wanted(void)
{
	struct tide_set *set;

	if (tide_set_create(&set, PAGES, NULL))
		_exit(1);
	tide_set_use_fences(set);
	if (!refuse_membarrier())
		_exit(77);
	for (uint64_t i = 0; i < 5; i++)
		if (cut_of(set, i * 999) != 1)
			_exit(2);
	tide_set_destroy(set);
}

static void with(void (*what)(void))
{
	int status = child(what);

	if (status == 77) {
		print_message("skipped: no filter of system calls here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void refused_from_the_start(void **state)
{
	(void)state;
	with(refused_first);
}

static void refused_in_the_middle(void **state)
{
	(void)state;
	with(refused_later);
}

static void fences_are_asked_for(void **state)
{
	(void)state;
	with(not_wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_from_the_start),
		cmocka_unit_test(refused_in_the_middle),
		cmocka_unit_test(fences_are_asked_for),
	};

	return cmocka_run_group_tests_name("barrier", tests, NULL, NULL);
}
