/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any process: it is stopped by SIGSTOP, and has no devices. Its parent is told
 * so (SIGCHLD, and whoever waits for stopped children), and a shell with job
 * control may say it. One that somebody else has stopped stays so. Signals go
 * through its pidfd: never to another process that got its number.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attach/target.h"
#include "base/clock.h"
#include "base/pidfd.h"
#include "vmm/vmm.h"

#define PATIENCE_NS UINT64_C(2000000000)

static int tell(int pidfd, int signal)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0
		   ? -errno : 0;
}

static void go_on(int pidfd, const void *what)
{
	(void)what;
	tell(pidfd, SIGCONT);
}

static int open_it(struct vmm *vmm, const char *path, struct tide_error *err)
{
	(void)path;
	vmm->fd = (int)syscall(SYS_pidfd_open, vmm->pid, 0);
	if (vmm->fd >= 0)
		return 0;
	return tide_error_set(err, -errno, "vmm", TIDE_NO_OFFSET,
			      "process %d: %s", vmm->pid, strerror(errno));
}

static void close_it(struct vmm *vmm)
{
	if (vmm->fd >= 0)
		close(vmm->fd);
	vmm->fd = -1;
}

static int prepare(struct vmm *vmm, struct tide_error *err)
{
	struct tide__target now;
	int ret = tide__target_look(&now, vmm->pid, vmm->pid, err);

	vmm->was_running = !ret && now.state != 'T';
	if (ret || !vmm->was_running)
		return ret;
	return guard_start(&vmm->guard, go_on, vmm->fd, NULL, err);
}

/* Does no thread of it run any more? */
static bool stands_still(int pid)
{
	char path[32];
	bool still = true;
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return true;
	while (still && (e = readdir(d))) {
		struct tide__target t;
		int tid;

		if (sscanf(e->d_name, "%d", &tid) != 1 ||
		    tide__target_look(&t, pid, tid, NULL))
			continue;
		still = t.state == 'T' || t.state == 't' || t.state == 'Z' ||
			t.state == 'X';
	}
	closedir(d);
	return still;
}

static int stop(struct vmm *vmm, struct tide_error *err)
{
	int ret = vmm->was_running ? tell(vmm->fd, SIGSTOP) : 0;

	if (!ret)
		return 0;
	return tide_error_set(err, ret, "vmm", TIDE_NO_OFFSET,
			      "process %d cannot be stopped: %s", vmm->pid,
			      strerror(-ret));
}

static int pause_it(struct vmm *vmm, struct tide_error *err)
{
	struct timespec nap = { 0, 50000 };
	uint64_t end = tide__now_ns() + PATIENCE_NS;
	int ret = stop(vmm, err);

	if (ret)
		return ret;
	while (!stands_still(vmm->pid)) {
		/* Whoever had stopped it lets it go on just now. */
		if (!vmm->was_running) {
			ret = prepare(vmm, err);
			if (!ret)
				ret = stop(vmm, err);
			if (ret)
				return ret;
		}
		if (tide__now_ns() > end)
			return tide_error_set(err, -ETIMEDOUT, "vmm",
					      TIDE_NO_OFFSET, "process %d does "
					      "not stop: a thread of it waits "
					      "for a device", vmm->pid);
		nanosleep(&nap, NULL);
	}
	return 0;
}

static int resume(struct vmm *vmm, struct tide_error *err)
{
	int ret = vmm->was_running ? tell(vmm->fd, SIGCONT) : 0;

	if (!ret)
		return 0;
	return tide_error_set(err, ret, "vmm", TIDE_NO_OFFSET,
			      "process %d cannot go on: %s", vmm->pid,
			      strerror(-ret));
}

const struct vmm_ops vmm_process = {
	.name = "process",
	.open = open_it,
	.close = close_it,
	.prepare = prepare,
	.pause = pause_it,
	.resume = resume,
};
