/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded: the process is killed at its KILL_AT-th call of those that make
 * something durable, name or remove it, or speak to somebody; before the call,
 * or, with KILL_AFTER set, after it. So every step of a protocol is met. With
 * KILL_WRITES a pwrite is such a call, too: a store that survives processes and
 * not power has no other.
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

/* The build has large files: this is pwrite64, and so is what is called. */
ssize_t pwrite(int fd, const void *buf, size_t bytes, off_t at)
{
	ssize_t (*real)(int, const void *, size_t, off_t) =
		(ssize_t(*)(int, const void *, size_t, off_t))
			dlsym(RTLD_NEXT, "pwrite64");
	bool now = getenv("KILL_WRITES") && is_now();
	ssize_t ret;

	before(now);
	ret = real(fd, buf, bytes, at);
	after(now);
	return ret;
}

WRAP(fsync, (int fd), (fd))
WRAP(fdatasync, (int fd), (fd))
WRAP(unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(renameat, (int fd, const char *path, int to_fd, const char *to),
     (fd, path, to_fd, to))
WRAP(rename, (const char *path, const char *to), (path, to))
WRAP(link, (const char *path, const char *to), (path, to))
WRAP(connect, (int fd, const struct sockaddr *to, socklen_t length),
     (fd, to, length))
