/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/serve_sockets.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nbd/proto.h"

#define BACKLOG 128

static int fail(struct tide_error *err, int code, const char *where)
{
	return tide_error_set(err, code, "socket", TIDE_NO_OFFSET, "%s: %s",
			      where, strerror(-code));
}

static bool is_loopback(const struct addrinfo *ai)
{
	if (ai->ai_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ai->ai_addr;

		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
	if (ai->ai_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const void *)ai->ai_addr;

		return IN6_IS_ADDR_LOOPBACK(&in->sin6_addr);
	}
	return false;
}

static int listen_at(const struct addrinfo *ai)
{
	int one = 1, ret, fd = socket(ai->ai_family,
				      ai->ai_socktype | SOCK_CLOEXEC,
				      ai->ai_protocol);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	/* Else :: takes 0.0.0.0 as well, and that one then fails. */
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, BACKLOG))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* HOST:PORT, [V6]:PORT, HOST; false: too long. */
static bool split(const char *where, char host[256], const char **port)
{
	const char *end = *where == '[' ? strchr(where, ']') : NULL;
	const char *colon = strrchr(end ? end : where, ':');
	const char *from = end ? where + 1 : where;

	if (!end)
		end = colon ? colon : where + strlen(where);
	*port = colon ? colon + 1 : NBD_DEFAULT_PORT;
	if (end - from >= 256)
		return false;
	memcpy(host, from, (size_t)(end - from));
	host[end - from] = 0;
	return true;
}

static int listen_all(const struct addrinfo *list, const char *where,
		      const char *exposed, int *fds, int room,
		      struct tide_error *err)
{
	int n = 0, ret = -EADDRNOTAVAIL;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		if (exposed && !is_loopback(ai))
			return tide_error_set(err, -EPERM, "socket",
					      TIDE_NO_OFFSET,
					      "%s is not loopback: %s would "
					      "go over the network in the "
					      "clear; ask for it with --plain",
					      where, exposed);
	for (const struct addrinfo *ai = list; ai && n < room;
	     ai = ai->ai_next) {
		ret = listen_at(ai);
		if (ret >= 0)
			fds[n++] = ret;
		else if (ret != -EAFNOSUPPORT && ret != -EADDRNOTAVAIL)
			break;
	}
	if (n && ret >= 0)
		return n;
	while (n--)
		close(fds[n]);
	return fail(err, ret, where);
}

int serve_listen_tcp(const char *where, const char *exposed, int *fds,
		     int room, struct tide_error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE }, *list;
	const char *port;
	char host[256];
	int ret;

	if (!split(where, host, &port))
		return fail(err, -ENAMETOOLONG, where);
	ret = getaddrinfo(*host ? host : NULL, port, &hints, &list);
	if (ret)
		return tide_error_set(err, -EHOSTUNREACH, "socket",
				      TIDE_NO_OFFSET, "%s: %s", where,
				      gai_strerror(ret));
	ret = listen_all(list, where, exposed, fds, room, err);
	freeaddrinfo(list);
	return ret;
}

void serve_name_of(int fd, char *name, size_t room)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t length = sizeof(ss);
	char host[64], port[16];

	if (getsockname(fd, (struct sockaddr *)&ss, &length))
		snprintf(name, room, "?");
	else if (ss.ss_family == AF_UNIX)
		snprintf(name, room, "unix:%s",
			 ((struct sockaddr_un *)&ss)->sun_path);
	else if (getnameinfo((struct sockaddr *)&ss, length, host, sizeof(host),
			     port, sizeof(port),
			     NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(name, room, "?");
	else
		snprintf(name, room,
			 ss.ss_family == AF_INET6 ? "tcp:[%s]:%s" : "tcp:%s:%s",
			 host, port);
}

int serve_activated(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	int n;

	if (!pid || !count || atol(pid) != (long)getpid())
		return 0;
	n = atoi(count);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	return n > 0 ? n : 0;
}

void serve_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun;
	socklen_t length;
	int fd;

	if (!path || strlen(path) >= sizeof(sun.sun_path))
		return;
	memset(&sun, 0, sizeof(sun));
	sun.sun_family = AF_UNIX;
	strcpy(sun.sun_path, path);
	length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
			     strlen(path));
	if (sun.sun_path[0] == '@')
		sun.sun_path[0] = 0; /* the abstract name space */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, state, strlen(state), MSG_NOSIGNAL,
	       (struct sockaddr *)&sun, length);
	close(fd);
}
