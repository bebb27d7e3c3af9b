/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread of another process, held by ptrace. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "attach/borrow_parts.h"
#include "base/clock.h"

#define SUSPEND_SECCOMP (1 << 21)
#define SYSCALL_STOP (SIGTRAP | 0x80)

int tide__borrow_continue(struct tide__borrow *b, long how, int signal)
{
	b->stopped = false;
	return ptrace((enum __ptrace_request)how, b->tid, 0,
		      (long)signal) < 0 ? -errno : 0;
}

/*
 * Awake at first, for the other side needs microseconds; but on its processor
 * as on ours it goes first. (A higher priority for us made it ten times slower;
 * sleeping at once, with exact timers, two to five times on a busy machine.)
 */
void tide__borrow_nap(unsigned int *turn)
{
	struct timespec nap = { 0, 30000 };

	if ((*turn)++ < 200)
		sched_yield();
	else
		nanosleep(&nap, NULL);
}

/*
 * The next stop of the thread within 100 ms. Signals that arrive are passed on;
 * a stop of the whole process is not ours to lift.
 */
int tide__borrow_next_stop(struct tide__borrow *b, long how)
{
	int status;
	uint64_t end = tide__now_ns() + 100 * TIDE__MS;
	unsigned int turn = 0;
	int ret;

	for (;;) {
		pid_t got = waitpid(b->tid, &status, __WALL | WNOHANG);

		if (got < 0 && errno != EINTR)
			return errno == ECHILD ? -ESRCH : -errno;
		if (got <= 0) {
			if (tide__now_ns() > end)
				return -EAGAIN;
			tide__borrow_nap(&turn);
			continue;
		}
		if (!WIFSTOPPED(status)) {
			b->attached = false;
			return -ESRCH;
		}
		b->stopped = true;
		if (status >> 16 == PTRACE_EVENT_STOP)
			return WSTOPSIG(status) == SIGTRAP ? 0 : -EAGAIN;
		if (WSTOPSIG(status) == SYSCALL_STOP)
			return 0;
		ret = tide__borrow_continue(b, how, WSTOPSIG(status));
		if (ret)
			return ret;
	}
}

/* One that waits for a processor, or a device, is left to the end of ours. */
void tide__borrow_let_go(struct tide__borrow *b)
{
	if (b->attached && !b->stopped &&
	    !ptrace(PTRACE_INTERRUPT, b->tid, 0, 0))
		tide__borrow_next_stop(b, PTRACE_CONT);
	if (b->attached && b->stopped)
		ptrace(PTRACE_DETACH, b->tid, 0, 0);
	else if (b->attached)
		b->stuck = true;
	b->attached = b->stopped = false;
}

/* Under a filter it is switched off for the thread while it is ours. */
int tide__borrow_seize(struct tide__borrow *b)
{
	long options = PTRACE_O_TRACESYSGOOD;
	int ret;

	if (b->target->seccomp)
		options |= SUSPEND_SECCOMP;
	if (ptrace(PTRACE_SEIZE, b->tid, 0, options) < 0)
		return -errno;
	b->attached = true;
	tide__borrow_at(b, 1);
	b->since_ns = tide__now_ns();
	if (ptrace(PTRACE_INTERRUPT, b->tid, 0, 0) < 0)
		return -errno;
	ret = tide__borrow_next_stop(b, PTRACE_CONT);
	tide__borrow_at(b, 2);
	return ret;
}

/* Signals of a thread that we still hold are passed on. */
void tide__borrow_pass_signals(struct tide__borrow *b)
{
	int status;

	if (!b->attached || waitpid(b->tid, &status, __WALL | WNOHANG) <= 0)
		return;
	if (!WIFSTOPPED(status))
		b->attached = false;
	else if (status >> 16 == PTRACE_EVENT_STOP)
		tide__borrow_continue(b, PTRACE_CONT, 0);
	else
		tide__borrow_continue(b, PTRACE_CONT, WSTOPSIG(status));
}
