/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stub makes the userfaultfd and waits a while to be told that it was
 * fetched; then it closes it, told or not, and takes the way out.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "attach/borrow_parts.h"
#include "base/clock.h"
#include "base/pidfd.h"

#define PATIENCE_MS 2000	/* a busy machine, or it was stopped */

static int write_code(struct tide__borrow *b)
{
	size_t bytes = (size_t)(tide__stub_end - tide__stub_start);
	ssize_t put = pwrite(b->mem, tide__stub_start, bytes,
			     (off_t)b->code);

	tide__borrow_at(b, 9);
	return put == (ssize_t)bytes ? 0 : -EIO;
}

/* Nobody holds the thread any more, or, under a filter, we still do. */
int tide__borrow_start_stub(struct tide__borrow *b)
{
	int ret = write_code(b);

	if (!ret)
		ret = tide__arch_run_stub(b->tid, b->saved, b->code, b->data,
					  b->data);
	tide__borrow_at(b, 10);
	if (ret)
		return ret;
	if (b->target->seccomp)
		return tide__borrow_continue(b, PTRACE_CONT, 0);
	if (ptrace(PTRACE_DETACH, b->tid, 0, 0) < 0)
		return -errno;
	b->attached = b->stopped = false;
	tide__borrow_at(b, 11);
	return 0;
}

/*
 * Until the stub says @state. -EAGAIN: it does not in @ms, or its thread went
 * on long ago, and what is read is no more what the stub wrote.
 */
static int await(struct tide__borrow *b, uint32_t state, unsigned int ms,
		 struct tide__stub_data *d)
{
	uint64_t end = tide__now_ns() + ms * TIDE__MS;
	unsigned int turn = 0;

	for (;;) {
		int ret = tide__borrow_peek(b, b->data, d, sizeof(*d));

		if (ret)
			return ret;
		if (d->cookie != b->cookie)
			return -EAGAIN;
		if (d->state >= state)
			return 0;
		if (tide__now_ns() > end)
			return -EAGAIN;
		tide__borrow_pass_signals(b);
		tide__borrow_nap(&turn);
	}
}

/* One that is not: the number was another file's by then. */
static bool is_userfaultfd(int fd)
{
	static const char want[] = "anon_inode:[userfaultfd]";
	char path[40], name[sizeof(want)];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, name, sizeof(name));
	return n == (ssize_t)sizeof(want) - 1 &&
	       !memcmp(name, want, sizeof(want) - 1);
}

static bool still_waits(const struct tide__borrow *b, int32_t fd)
{
	struct tide__stub_data d;

	return !tide__borrow_peek(b, b->data, &d, sizeof(d)) &&
	       d.cookie == b->cookie && d.state == 1 && d.fd == fd;
}

/*
 * If the stub still waits afterwards, the number was still that file's. Else
 * it may be any other's by now, one that somebody else borrowed it for, too.
 */
static int take(struct tide__borrow *b, int32_t number, int *fd)
{
	int ret = 0;

	*fd = (int)syscall(SYS_pidfd_getfd, b->pidfd, number, 0);
	if (*fd < 0)
		ret = -errno;
	tide__borrow_at(b, 13);
	if (still_waits(b, number) && (*fd < 0 || is_userfaultfd(*fd)))
		return ret;
	if (*fd >= 0)
		close(*fd);
	return -EAGAIN;
}

int tide__borrow_fetch(struct tide__borrow *b)
{
	const uint32_t done = 1;
	struct tide__stub_data d;
	int fd, ret = await(b, 1, PATIENCE_MS, &d);

	if (ret)
		return ret;
	tide__borrow_at(b, 12);
	if (d.fd == -EPERM && b->kernel_faults)
		return tide_error_set(b->err, -EACCES, "attach",
				      TIDE_NO_OFFSET, "process %d may not have "
				      "its page faults served: it takes "
				      "CAP_SYS_PTRACE for that process, or "
				      "vm.unprivileged_userfaultfd=1",
				      b->target->pid);
	if (d.fd < 0 && d.fd > -4096)
		return tide__borrow_fail(b, d.fd, "userfaultfd");
	/* Or it waited long enough, and has closed it: once more. */
	ret = d.state == 1 ? take(b, d.fd, &fd) : -EAGAIN;
	if (ret == -EAGAIN)
		return ret;
	tide__borrow_poke(b, b->data + offsetof(struct tide__stub_data, done),
			  &done, sizeof(done));
	tide__borrow_at(b, 14);
	/* Late or not, it goes its way: that is no failure of ours. */
	await(b, 3, PATIENCE_MS, &d);
	tide__borrow_at(b, 15);
	if (ret)
		return tide__borrow_fail(b, ret, "pidfd_getfd");
	b->out->uffd = fd;
	return 0;
}
