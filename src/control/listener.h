/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A listening Unix socket, and its name in the file system.
 *
 * Nothing is ever unlinked unasked. A name taken by anything but a socket is
 * an error; a socket is replaced only if nobody listens on it, which is tried
 * by connecting, and while a lock file beside it (NAME.lock) is held, so that
 * two processes that start at once do not take it from each other. At the end
 * the name is removed if it is still ours, and the lock file with it.
 *
 * Sockets are for their owner alone (0600) whatever the umask, unless the
 * caller wants others to connect; then it is for the caller to check who they
 * are.
 */
#ifndef TIDE_CONTROL_LISTENER_H
#define TIDE_CONTROL_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tidemark/error.h"

struct control_listener {
	int fd;
	int lock;
	char *path; /* owned */
	dev_t dev;
	ino_t ino;
};

/*
 * control_listen: 0 and a listening, close-on-exec socket in *out; -EADDRINUSE:
 * somebody listens there, or is about to; -EEXIST: something that is no socket
 * has the name; -ENAMETOOLONG; what the system says. Each error names the path.
 */
int control_listen(const char *path, bool for_others,
		   struct control_listener *out, struct tide_error *err);
/* Closes, and removes what is still ours. */
void control_listener_close(struct control_listener *l);

/* Who listens but does not accept is waited for so long. */
#define CONTROL_CONNECT_NS 10000000000ull

/* A socket, or a negative errno, with the path in @err. */
int control_connect(const char *path, struct tide_error *err);
/* connect(2), which else knows no limit. -ETIMEDOUT; the socket is to close. */
int control_connect_within(int fd, const void *address, unsigned int length,
			   uint64_t limit_ns);

#endif
