/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of JSON over a socket. See lines.h. */
#include "control/lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_SECONDS 10
#define PIECE_BYTES 4096u

void control_lines_init(struct control_lines *l, int fd)
{
	memset(l, 0, sizeof(*l));
	l->fd = fd;
}

void control_drop_fds(struct control_lines *l)
{
	while (l->fd_count)
		close(l->fds[--l->fd_count]);
}

void control_attach(struct control_lines *l, int fd)
{
	if (l->fd_count < CONTROL_MAX_FDS)
		l->fds[l->fd_count++] = fd;
	else
		close(fd);
}

void control_lines_fini(struct control_lines *l)
{
	control_drop_fds(l);
	free(l->buffer);
	free(l->rest);
	control_lines_init(l, -1);
}

/* --- sending --- */

static char *line_of(const json_t *object, size_t *length)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	if (!text)
		return NULL;
	*length = strlen(text);
	text[(*length)++] = '\n'; /* over the end: the length is what counts */
	return text;
}

/* As much as goes without a wait: how much, or -errno. */
static ssize_t send_some(int fd, const char *from, size_t bytes)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t n = send(fd, from + done, bytes - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			done += (size_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			break;
		else if (errno != EINTR)
			return -errno;
	}
	return (ssize_t)done;
}

static int send_all(int fd, const char *from, size_t bytes)
{
	while (bytes) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		ssize_t n = send_some(fd, from, bytes);

		if (n < 0)
			return (int)n;
		from += n;
		bytes -= (size_t)n;
		if (bytes && poll(&p, 1, LINE_SECONDS * 1000) == 0)
			return -ETIMEDOUT;
	}
	return 0;
}

/* Descriptors go with a line's first byte. 0: it is sent; or -errno. */
static int send_fds(struct control_lines *l, const char *line)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(l->fds))];
	} u = { .room = { 0 } };
	size_t bytes = l->fd_count * sizeof(*l->fds);
	struct iovec one = { .iov_base = (char *)line, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1,
			    .msg_control = u.room,
			    .msg_controllen = CMSG_SPACE(bytes) };
	struct pollfd p = { .fd = l->fd, .events = POLLOUT };
	ssize_t n;

	u.head.cmsg_level = SOL_SOCKET;
	u.head.cmsg_type = SCM_RIGHTS;
	u.head.cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(&u.head), l->fds, bytes);
	if (poll(&p, 1, LINE_SECONDS * 1000) == 0)
		return -ETIMEDOUT;
	do
		n = sendmsg(l->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -errno;
}

static void keep_rest(struct control_lines *l, char *line, size_t length,
		      size_t sent)
{
	if (sent == length) {
		free(line);
		return;
	}
	memmove(line, line + sent, length - sent);
	l->rest = line;
	l->rest_bytes = length - sent;
}

/* What is left of a report, as far as it goes; true: nothing is left. */
static bool finish_rest(struct control_lines *l)
{
	ssize_t n;

	if (!l->rest)
		return true;
	n = send_some(l->fd, l->rest, l->rest_bytes);
	if (n > 0) {
		l->rest_bytes -= (size_t)n;
		memmove(l->rest, l->rest + n, l->rest_bytes);
	}
	if (l->rest_bytes)
		return false;
	free(l->rest);
	l->rest = NULL;
	return true;
}

void control_report(struct control_lines *l, const json_t *object)
{
	size_t length;
	char *line;
	ssize_t n;

	if (!finish_rest(l) || !(line = line_of(object, &length))) {
		l->dropped++;
		return;
	}
	n = send_some(l->fd, line, length);
	if (n <= 0) {
		l->dropped++;
		free(line);
		return;
	}
	keep_rest(l, line, length, (size_t)n);
}

int control_put(struct control_lines *l, const json_t *object)
{
	size_t length;
	char *line = line_of(object, &length);
	int ret = line ? 0 : -ENOMEM;

	if (!ret && l->rest) {
		ret = send_all(l->fd, l->rest, l->rest_bytes);
		free(l->rest);
		l->rest = NULL;
		l->rest_bytes = 0;
	}
	if (!ret && l->fd_count)
		ret = send_fds(l, line);
	if (!ret)
		ret = send_all(l->fd, line + !!l->fd_count,
			       length - !!l->fd_count);
	control_drop_fds(l);
	free(line);
	return ret;
}

/* --- receiving --- */

/* The first line of the buffer, if there is a whole one. */
static bool take_line(struct control_lines *l, enum control_got *got,
		      json_t **object)
{
	char *end = l->used ? memchr(l->buffer, '\n', l->used) : NULL;
	size_t length;

	if (!end)
		return false;
	length = (size_t)(end - l->buffer) + 1;
	*object = l->too_long ? NULL :
				json_loadb(l->buffer, length,
					   JSON_REJECT_DUPLICATES, NULL);
	if (*object && !json_is_object(*object)) {
		json_decref(*object);
		*object = NULL;
	}
	*got = *object ? CONTROL_GOT : CONTROL_BAD;
	l->too_long = false;
	memmove(l->buffer, l->buffer + length, l->used - length);
	l->used -= length;
	return true;
}

/* A line past the limit is read to its end and thrown away. */
static int make_room(struct control_lines *l)
{
	size_t room = l->room * 2 + PIECE_BYTES;
	char *more;

	if (l->room - l->used >= PIECE_BYTES)
		return 0;
	if (room > 2 * CONTROL_LONGEST_LINE || l->used > CONTROL_LONGEST_LINE) {
		l->too_long = true;
		l->used = 0;
		return 0;
	}
	more = realloc(l->buffer, room);
	if (!more)
		return -ENOMEM;
	l->buffer = more;
	l->room = room;
	return 0;
}

static void take_fds(struct control_lines *l, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			control_attach(l, fd);
		}
	}
}

static ssize_t receive(struct control_lines *l)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(l->fds))];
	} u;
	struct iovec one = { .iov_base = l->buffer + l->used,
			     .iov_len = l->room - l->used };
	struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1 };
	ssize_t n;

	if (l->wants_fds) {
		m.msg_control = u.room;
		m.msg_controllen = sizeof(u.room);
	}
	n = recvmsg(l->fd, &m, MSG_CMSG_CLOEXEC);
	if (n > 0 && l->wants_fds)
		take_fds(l, &m);
	return n;
}

enum control_got control_get(struct control_lines *l, int timeout_ms,
			     json_t **object)
{
	enum control_got got;

	while (!take_line(l, &got, object)) {
		struct pollfd p = { .fd = l->fd, .events = POLLIN };
		ssize_t n;
		int ready;

		if (make_room(l))
			return CONTROL_END;
		ready = poll(&p, 1, timeout_ms);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return ready ? CONTROL_END : CONTROL_TIMEOUT;
		n = receive(l);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return CONTROL_END;
		l->used += (size_t)n;
	}
	return got;
}
