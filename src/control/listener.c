/* SPDX-License-Identifier: BSD-2-Clause */
/* Unix sockets and their names. See listener.h. */
#include "control/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 128
#define LOCK_TRIES 100

static int fail(struct tide_error *err, int code, const char *path)
{
	return tide_error_set(err, code, "socket", TIDE_NO_OFFSET, "%s: %s",
			      path, strerror(-code));
}

static int address_of(const char *path, struct sockaddr_un *sun)
{
	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	if (!*path || strlen(path) >= sizeof(sun->sun_path))
		return -ENAMETOOLONG;
	strcpy(sun->sun_path, path);
	return 0;
}

int control_connect_within(int fd, const void *address, unsigned int length,
			   uint64_t limit_ns)
{
	struct timeval limit = { (time_t)(limit_ns / 1000000000),
				 (suseconds_t)(limit_ns / 1000 % 1000000) };
	int ret = 0;

	/* It counts for connect(), too; all zeroes would be no limit. */
	if (!limit.tv_sec && !limit.tv_usec)
		limit.tv_usec = 1;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, address, length))
		ret = errno == EINPROGRESS || errno == EAGAIN ? -ETIMEDOUT
							       : -errno;
	limit = (struct timeval){ 0, 0 };
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return ret;
}

static int try_connect(const char *path)
{
	struct sockaddr_un sun;
	int ret = address_of(path, &sun), fd;

	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	ret = control_connect_within(fd, &sun, sizeof(sun), CONTROL_CONNECT_NS);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

int control_connect(const char *path, struct tide_error *err)
{
	int fd = try_connect(path);

	return fd < 0 ? fail(err, fd, path) : fd;
}

/* Is the open file still the one of that name? */
static bool same_file(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(path, &b) && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/*
 * Whoever ends removes the lock's file while holding it: one who waited for it
 * then holds a lock on a file without a name, and tries again.
 */
static int take_lock(const char *name)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC |
			      O_NONBLOCK, 0600);

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int ret = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;

			close(fd);
			return ret;
		}
		if (same_file(fd, name))
			return fd;
		close(fd);
	}
	return -EADDRINUSE;
}

static char *lock_name(const char *path)
{
	char *name;

	return asprintf(&name, "%s.lock", path) < 0 ? NULL : name;
}

/* The lock is held: may the name be taken? What is dead there is removed. */
static int clear_name(const char *path, struct tide_error *err)
{
	struct stat st;
	int fd;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : fail(err, -errno, path);
	if (!S_ISSOCK(st.st_mode))
		return tide_error_set(err, -EEXIST, "socket", TIDE_NO_OFFSET,
				      "%s exists and is no socket; it was left "
				      "as it is", path);
	fd = try_connect(path);
	if (fd >= 0)
		close(fd);
	if (fd != -ECONNREFUSED)
		return tide_error_set(err, -EADDRINUSE, "socket",
				      TIDE_NO_OFFSET, "%s: another process "
				      "listens there", path);
	return unlink(path) ? fail(err, -errno, path) : 0;
}

static int bind_name(struct control_listener *l, bool for_others,
		     struct tide_error *err)
{
	struct sockaddr_un sun;
	struct stat st;

	address_of(l->path, &sun);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The mode of the name is the socket's own, less the umask. */
	if (l->fd < 0 || fchmod(l->fd, 0600) ||
	    bind(l->fd, (struct sockaddr *)&sun, sizeof(sun)) ||
	    lstat(l->path, &st))
		return fail(err, -errno, l->path);
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	if (chmod(l->path, for_others ? 0666 : 0600) ||
	    listen(l->fd, BACKLOG))
		return fail(err, -errno, l->path);
	return 0;
}

int control_listen(const char *path, bool for_others,
		   struct control_listener *out, struct tide_error *err)
{
	struct control_listener l = { .fd = -1, .lock = -1 };
	struct sockaddr_un sun;
	char *name;
	int ret = address_of(path, &sun);

	if (ret)
		return fail(err, ret, path);
	l.path = strdup(path);
	name = lock_name(path);
	if (!l.path || !name)
		ret = fail(err, -ENOMEM, path);
	if (!ret) {
		l.lock = take_lock(name);
		if (l.lock == -EADDRINUSE)
			ret = tide_error_set(err, l.lock, "socket",
					     TIDE_NO_OFFSET, "%s: another "
					     "process listens there (it holds "
					     "%s)", path, name);
		else if (l.lock < 0)
			ret = fail(err, l.lock, name);
	}
	if (!ret)
		ret = clear_name(path, err);
	if (!ret)
		ret = bind_name(&l, for_others, err);
	free(name);
	if (ret < 0)
		control_listener_close(&l);
	else
		*out = l;
	return ret;
}

void control_listener_close(struct control_listener *l)
{
	char *name = l->path ? lock_name(l->path) : NULL;
	struct stat st;

	if (l->ino && !lstat(l->path, &st) && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlink(l->path);
	if (l->fd >= 0)
		close(l->fd);
	if (name && l->lock >= 0 && same_file(l->lock, name))
		unlink(name);
	if (l->lock >= 0)
		close(l->lock);
	free(name);
	free(l->path);
	*l = (struct control_listener){ .fd = -1, .lock = -1 };
}
