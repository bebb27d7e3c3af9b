/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define PIPE_FD 3
#define DEED_FD 4

/* What is ours must not live on in the guard: a lock, a socket, a terminal. */
static void keep_only(int pipe_fd, int fd)
{
	int p = fcntl(pipe_fd, F_DUPFD, 64);
	int f = fd >= 0 ? fcntl(fd, F_DUPFD, 64) : -1;

	dup2(p, PIPE_FD);
	if (f >= 0)
		dup2(f, DEED_FD);
	syscall(SYS_close_range, f >= 0 ? DEED_FD + 1 : DEED_FD, ~0u, 0);
	for (int i = 0; i < 3; i++)
		close(i);
}

static void watch(void (*deed)(int fd, const void *what), int fd,
		  const void *what)
{
	sigset_t all;
	ssize_t n;
	char c;

	setsid();
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	do
		n = read(PIPE_FD, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		deed(fd >= 0 ? DEED_FD : -1, what);
	_exit(0);
}

int guard_start(struct guard *g, void (*deed)(int fd, const void *what),
		int fd, const void *what, struct tide_error *err)
{
	int ends[2];

	guard_dismiss(g);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return tide_error_set(err, -errno, "vmm", TIDE_NO_OFFSET,
				      "no pipe: %s", strerror(errno));
	g->pid = fork();
	if (g->pid < 0) {
		int ret = -errno;

		close(ends[0]);
		close(ends[1]);
		return tide_error_set(err, ret, "vmm", TIDE_NO_OFFSET,
				      "no process: %s", strerror(-ret));
	}
	if (!g->pid) {
		keep_only(ends[0], fd);
		watch(deed, fd, what);
	}
	close(ends[0]);
	g->pipe = ends[1];
	return 0;
}

/* It is a child of ours until we end; its parent may be a run that goes on. */
void guard_let_act(struct guard *g)
{
	if (g->pid <= 0)
		return;
	close(g->pipe);
	*g = (struct guard)GUARD_NONE;
}

void guard_dismiss(struct guard *g)
{
	if (g->pid <= 0)
		return;
	if (write(g->pipe, "", 1) < 0)
		kill(g->pid, SIGKILL);
	close(g->pipe);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*g = (struct guard)GUARD_NONE;
}
