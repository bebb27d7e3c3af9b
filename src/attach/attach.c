/* SPDX-License-Identifier: BSD-2-Clause */
#include "attach/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attach/arch.h"
#include "base/pidfd.h"
#include "sources/uffd_map.h"

#define PATIENCE_MS 5000

static int fail(const struct tide__attach *a, int ret, const char *what,
		struct tide_error *err)
{
	return tide_error_set(err, ret, "attach", TIDE_NO_OFFSET,
			      "process %d: %s: %s%s", a->target.pid, what,
			      strerror(-ret), ret == -EACCES || ret == -EPERM ?
			      "; it takes the same user or CAP_SYS_PTRACE" :
			      "");
}

static int open_files(struct tide__attach *a, struct tide_error *err)
{
	char path[40];

	a->pidfd = (int)syscall(SYS_pidfd_open, a->target.pid, 0);
	if (a->pidfd < 0)
		return fail(a, -errno, "pidfd_open", err);
	snprintf(path, sizeof(path), "/proc/%d/pagemap", a->target.pid);
	a->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (a->pagemap < 0)
		return fail(a, -errno, path, err);
	return 0;
}

/* Who attaches as we do is through in a moment; a debugger stays. */
static int look(struct tide__target *target, int pid, struct tide_error *err)
{
	struct timespec nap = { 0, 2000000 };
	int ret;

	for (int i = 0;; i++) {
		tide_error_clear(err);
		ret = tide__target_look(target, pid, pid, err);
		if (!ret)
			ret = tide__target_judge(target, err);
		if (ret != -EBUSY || i == 50)
			return ret;
		nanosleep(&nap, NULL);
	}
}

static int open_any(struct tide__attach *a, int pid, bool serve,
		    const struct tide__borrow_step *step,
		    struct tide_error *err)
{
	struct tide__borrowed got;
	int ret;

	*a = (struct tide__attach){ .pidfd = -1, .uffd = -1, .pagemap = -1 };
	if (!tide__arch_supported)
		return tide_error_set(err, -EOPNOTSUPP, "attach",
				      TIDE_NO_OFFSET, "attaching is written "
				      "for x86-64 and arm64 only");
	ret = look(&a->target, pid, err);
	if (!ret)
		ret = open_files(a, err);
	if (!ret) {
		ret = tide__borrow_uffd(&got, &a->target, a->pidfd,
					PATIENCE_MS, serve, step, err);
		a->uffd = got.uffd;
		a->stopped_ns = got.stopped_ns;
	}
	if (!ret && !serve)
		ret = tide__uffd_enable(a->uffd, err);
	if (ret)
		tide__attach_close(a);
	return ret;
}

int tide__attach_open(struct tide__attach *a, int pid,
		      const struct tide__borrow_step *step,
		      struct tide_error *err)
{
	return open_any(a, pid, false, step, err);
}

int tide__attach_serve(struct tide__attach *a, int pid,
		       struct tide_error *err)
{
	return open_any(a, pid, true, NULL, err);
}

void tide__attach_close(struct tide__attach *a)
{
	int *fds[] = { &a->uffd, &a->pagemap, &a->pidfd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

bool tide__attach_alive(const struct tide__attach *a)
{
	struct pollfd p = { a->pidfd, POLLIN, 0 };

	return poll(&p, 1, 0) == 0;
}
