/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any process: it is stopped by SIGSTOP, and has no devices. Its parent is told
 * so (SIGCHLD, and whoever waits for stopped children), and a shell with job
 * control may say it.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "attach/target.h"
#include "base/clock.h"
#include "vmm/vmm.h"

#define PATIENCE_NS UINT64_C(2000000000)

static void go_on(int fd, int pid)
{
	(void)fd;
	kill(pid, SIGCONT);
}

static int prepare(struct vmm *vmm, struct tide_error *err)
{
	return guard_start(&vmm->guard, go_on, -1, vmm->pid, err);
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

static int pause_it(struct vmm *vmm, struct tide_error *err)
{
	struct timespec nap = { 0, 50000 };
	uint64_t end = tide__now_ns() + PATIENCE_NS;

	if (kill(vmm->pid, SIGSTOP) < 0)
		return tide_error_set(err, -errno, "vmm", TIDE_NO_OFFSET,
				      "process %d cannot be stopped: %s",
				      vmm->pid, strerror(errno));
	while (!stands_still(vmm->pid)) {
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
	if (!kill(vmm->pid, SIGCONT))
		return 0;
	return tide_error_set(err, -errno, "vmm", TIDE_NO_OFFSET,
			      "process %d cannot go on: %s", vmm->pid,
			      strerror(errno));
}

const struct vmm_ops vmm_process = {
	.name = "process",
	.prepare = prepare,
	.pause = pause_it,
	.resume = resume,
};
