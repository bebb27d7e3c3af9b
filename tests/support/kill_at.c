/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded: the process is killed at its KILL_AT-th call of those that make
 * something durable, name or remove it, or speak to somebody; before the call,
 * or, with KILL_AFTER set, after it. So every step of a protocol is met.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int calls;

static bool is_now(void)
{
	const char *at = getenv("KILL_AT");

	return at && __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) ==
			     atoi(at);
}

static void before(bool now)
{
	if (now && !getenv("KILL_AFTER"))
		raise(SIGKILL);
}

static void after(bool now)
{
	if (now && getenv("KILL_AFTER"))
		raise(SIGKILL);
}

#define WRAP(name, parameters, arguments)                               \
	int name parameters                                             \
	{                                                               \
		int(*real) parameters =                                 \
			(int(*) parameters)dlsym(RTLD_NEXT, #name);     \
		bool now = is_now();                                    \
		int ret;                                                \
									\
		before(now);                                            \
		ret = real arguments;                                   \
		after(now);                                             \
		return ret;                                             \
	}

int fsync(int fd);
int fdatasync(int fd);
int unlinkat(int fd, const char *path, int flags);
int renameat(int fd, const char *path, int to_fd, const char *to);
int rename(const char *path, const char *to);
int link(const char *path, const char *to);
int connect(int fd, const struct sockaddr *to, socklen_t length);

WRAP(fsync, (int fd), (fd))
WRAP(fdatasync, (int fd), (fd))
WRAP(unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(renameat, (int fd, const char *path, int to_fd, const char *to),
     (fd, path, to_fd, to))
WRAP(rename, (const char *path, const char *to), (path, to))
WRAP(link, (const char *path, const char *to), (path, to))
WRAP(connect, (int fd, const struct sockaddr *to, socklen_t length),
     (fd, to, length))
