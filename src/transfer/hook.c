/* SPDX-License-Identifier: BSD-2-Clause */
#include "transfer/hook.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static const struct timespec nap = { .tv_nsec = 5000000 };

static void become(const char *command)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* 0: it ended; its status is in *status. */
static int wait_for(pid_t child, uint64_t limit_ms, int *status)
{
	uint64_t end = tide__now_ns() + limit_ms * 1000000;
	pid_t got;

	while ((got = waitpid(child, status, WNOHANG)) <= 0) {
		if (got < 0 && errno != EINTR)
			return -errno;
		if (tide__now_ns() > end) {
			kill(-child, SIGKILL);
			kill(child, SIGKILL);
			waitpid(child, status, 0);
			return -ETIMEDOUT;
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

int hook_run(const char *command, uint64_t limit_ms,
	     struct tide_error *err)
{
	int status, ret;
	pid_t child;

	if (!command)
		return 0;
	child = fork();
	if (child < 0)
		return tide_error_set(err, -errno, "hook", TIDE_NO_OFFSET,
				      "'%.120s': %s", command,
				      strerror(errno));
	if (!child)
		become(command);
	ret = wait_for(child, limit_ms, &status);
	if (ret == -ETIMEDOUT)
		return tide_error_set(err, ret, "hook", TIDE_NO_OFFSET,
				      "'%.120s' did not end within %llu ms and "
				      "was killed", command,
				      (unsigned long long)limit_ms);
	if (ret || !WIFEXITED(status) || WEXITSTATUS(status))
		return tide_error_set(err, -ECHILD, "hook", TIDE_NO_OFFSET,
				      "'%.120s' ended with status %d", command,
				      ret || !WIFEXITED(status) ? -1 :
					      WEXITSTATUS(status));
	return 0;
}
