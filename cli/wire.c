/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/wire.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONGEST_LINE (4u << 20)

static int fault(const char *address, int code, struct tide_error *err)
{
	return tide_error_set(err, code, "socket", TIDE_NO_OFFSET, "%s: %s",
			      address, strerror(-code));
}

/* @limit_ns 0: to listen on. */
static int open_tcp_at(const struct addrinfo *ai, uint64_t limit_ns)
{
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC,
			ai->ai_protocol), one = 1, ret;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!limit_ns) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		ret = bind(fd, ai->ai_addr, ai->ai_addrlen) ||
		     listen(fd, 64) ? -errno : 0;
	} else {
		ret = control_connect_within(fd, ai->ai_addr, ai->ai_addrlen,
					     limit_ns);
	}
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static int open_tcp(const char *address, const char *where, uint64_t limit_ns,
		    struct tide_error *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	char host[256];
	const char *colon = strrchr(where, ':');
	int fd = -EINVAL, ret;

	if (!colon || (size_t)(colon - where) >= sizeof(host))
		return fault(address, -EINVAL, err);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
	if (host[0] == '[' && host[strlen(host) - 1] == ']') {
		host[strlen(host) - 1] = 0;
		memmove(host, host + 1, strlen(host));
	}
	ret = getaddrinfo(host, colon + 1, &hints, &list);
	if (ret)
		return tide_error_set(err, -EHOSTUNREACH, "socket",
				      TIDE_NO_OFFSET, "%s: %s", address,
				      gai_strerror(ret));
	for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = open_tcp_at(ai, limit_ns);
	freeaddrinfo(list);
	return fd < 0 ? fault(address, fd, err) : fd;
}

static int no_address(const char *address, struct tide_error *err)
{
	return tide_error_set(err, -EINVAL, "socket", TIDE_NO_OFFSET,
			      "'%s' is no address: write unix:PATH or "
			      "tcp:HOST:PORT", address);
}

int wire_connect(const char *address, struct tide_error *err)
{
	if (!strncmp(address, "unix:", 5))
		return control_connect(address + 5, err);
	if (!strncmp(address, "tcp:", 4))
		return open_tcp(address, address + 4, CONTROL_CONNECT_NS, err);
	return no_address(address, err);
}

int wire_listen(const char *address, struct control_listener *out,
		struct tide_error *err)
{
	int fd;

	if (!strncmp(address, "unix:", 5))
		return control_listen(address + 5, false, out, err);
	if (strncmp(address, "tcp:", 4))
		return no_address(address, err);
	fd = open_tcp(address, address + 4, 0, err);
	if (fd < 0)
		return fd;
	*out = (struct control_listener){ .fd = fd, .lock = -1 };
	return 0;
}

char *wire_bound_address(int fd, const char *address)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char port[16], *out = NULL;
	const char *colon = strrchr(address, ':');

	if (strncmp(address, "tcp:", 4) || !colon ||
	    getsockname(fd, (struct sockaddr *)&ss, &len) ||
	    getnameinfo((struct sockaddr *)&ss, len, NULL, 0, port,
			sizeof(port), NI_NUMERICSERV))
		return strdup(address);
	if (asprintf(&out, "%.*s:%s", (int)(colon - address), address,
		     port) < 0)
		return NULL;
	return out;
}

int wire_put(int fd, json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0, done = 0;
	int ret = text ? 0 : -ENOMEM;

	if (text)
		text[len++] = '\n';	/* over the end: len is what counts */
	while (!ret && done < len) {
		ssize_t n = send(fd, text + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			ret = -errno;
		else if (n > 0)
			done += (size_t)n;
	}
	free(text);
	return ret;
}

/* Take the first line out of the buffer, if there is a whole one. */
static bool take_line(struct wire_lines *l, json_t **object)
{
	char *end = l->used ? memchr(l->buffer, '\n', l->used) : NULL;
	size_t len;

	if (!end)
		return false;
	len = (size_t)(end - l->buffer) + 1;
	*object = json_loadb(l->buffer, len, 0, NULL);
	memmove(l->buffer, l->buffer + len, l->used - len);
	l->used -= len;
	return true;
}

json_t *wire_get(struct wire_lines *l, int timeout_ms)
{
	json_t *object = NULL;

	while (!take_line(l, &object)) {
		struct pollfd p = { .fd = l->fd, .events = POLLIN };
		ssize_t n;

		if (l->room - l->used < 4096) {
			size_t room = l->room * 2 + 4096;
			char *buffer = room <= LONGEST_LINE
					   ? realloc(l->buffer, room) : NULL;

			if (!buffer)
				return NULL;
			l->buffer = buffer;
			l->room = room;
		}
		n = poll(&p, 1, timeout_ms);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		n = recv(l->fd, l->buffer + l->used, l->room - l->used, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		l->used += (size_t)n;
	}
	return object;
}

void wire_lines_fini(struct wire_lines *l)
{
	free(l->buffer);
	memset(l, 0, sizeof(*l));
}

json_t *wire_error(const struct tide_error *err)
{
	return json_pack("{s:s, s:s, s:i}", "error", err->text, "origin",
			 err->origin, "code", -err->code);
}
