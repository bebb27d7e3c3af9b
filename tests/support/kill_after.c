/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kill_after N COMMAND...: the command is killed when it is about to make its
 * N-th system call, counted from its first of its own; 0: never. So each step
 * of a protocol is met, whatever library it goes through. Children that it
 * makes are not counted, and live on.
 *
 * Exit status: the command's, or 137 if it was killed so; how many calls it had
 * made goes to file descriptor 3, if that is open.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 125;
}

static int over(int status, long calls)
{
	dprintf(3, "%ld\n", calls);
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : 128 + WTERMSIG(status);
}

/* Entries are counted; what comes between is the command's own signals. */
static int follow(pid_t pid, long last)
{
	int status, signal = 0;
	bool inside = false;
	long calls = 0;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, 0, signal) < 0 &&
		    errno != ESRCH)
			return fail("ptrace");
		if (waitpid(pid, &status, 0) < 0)
			return fail("waitpid");
		if (!WIFSTOPPED(status))
			return over(status, calls);
		signal = WSTOPSIG(status);
		if (signal != (SIGTRAP | 0x80)) {
			signal = signal == SIGTRAP ? 0 : signal;
			continue;
		}
		signal = 0;
		inside = !inside;
		if (inside && ++calls == last)
			kill(pid, SIGKILL);
	}
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	if (argc < 3)
		return 125;
	pid = fork();
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
		return fail(argv[2]);
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
	return follow(pid, atol(argv[1]));
}
