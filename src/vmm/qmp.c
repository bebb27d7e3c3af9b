/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 10000

static const char origin[] = "qmp";

static int fail(int ret, const char *what, struct tide_error *err)
{
	return tide_error_set(err, ret, origin, TIDE_NO_OFFSET, "QMP: %s: %s",
			      what, strerror(-ret));
}

/* One line, as an object; what does not fit into the buffer is an error. */
static int read_line(struct qmp *q, int ms, json_t **out,
		     struct tide_error *err)
{
	for (;;) {
		char *end = memchr(q->buffer, '\n', q->used);
		struct pollfd p = { q->fd, POLLIN, 0 };
		ssize_t n;

		if (end) {
			size_t length = (size_t)(end - q->buffer) + 1;

			*out = json_loadb(q->buffer, length, 0, NULL);
			q->used -= length;
			memmove(q->buffer, q->buffer + length, q->used);
			if (json_is_object(*out))
				return 0;
			json_decref(*out);
			return fail(-EPROTO, "it does not speak JSON", err);
		}
		if (q->used == sizeof(q->buffer))
			return fail(-EMSGSIZE, "its line is too long", err);
		if (poll(&p, 1, ms) == 0)
			return tide_error_set(err, -ETIMEDOUT, origin,
					      TIDE_NO_OFFSET, "QMP: no answer "
					      "in %d ms (a monitor serves one "
					      "client: is another connected?)",
					      ms);
		n = recv(q->fd, q->buffer + q->used,
			 sizeof(q->buffer) - q->used, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail(n ? -errno : -ECONNRESET, "read", err);
		q->used += (size_t)n;
	}
}

static int send_text(struct qmp *q, const char *text, int fd,
		     struct tide_error *err)
{
	size_t left = strlen(text);
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };

	while (left) {
		struct iovec iov = { (void *)text, left };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n;

		if (fd >= 0) {
			struct cmsghdr *c = &control.align;

			msg.msg_control = control.bytes;
			msg.msg_controllen = sizeof(control.bytes);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(c), &fd, sizeof(fd));
		}
		n = sendmsg(q->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(-errno, "write", err);
		fd = -1;
		text += n;
		left -= (size_t)n;
	}
	return 0;
}

/* True: it was one. */
static bool take_event(const struct qmp *q, const json_t *line)
{
	const char *name = json_string_value(json_object_get(line, "event"));

	if (name && q->event)
		q->event(q->opaque, name, line);
	return name != NULL;
}

int qmp_await(struct qmp *q, unsigned int id, json_t **answer,
	      struct tide_error *err)
{
	for (;;) {
		json_t *line, *value;
		int ret = read_line(q, PATIENCE_MS, &line, err);

		if (ret)
			return ret;
		if (take_event(q, line) ||
		    json_integer_value(json_object_get(line, "id")) !=
		    (json_int_t)id) {
			json_decref(line);
			continue;
		}
		value = json_object_get(line, "error");
		if (value) {
			const char *why = json_string_value(
			    json_object_get(value, "desc"));

			ret = tide_error_set(err, -EREMOTEIO, origin,
					     TIDE_NO_OFFSET, "QEMU: %s",
					     why ? why : "an error");
		} else if (answer) {
			*answer = json_incref(json_object_get(line, "return"));
		}
		json_decref(line);
		return ret;
	}
}

int qmp_await_event(struct qmp *q, int ms, struct tide_error *err)
{
	json_t *line;
	int ret;

	do {
		ret = read_line(q, ms, &line, err);
		if (ret)
			return ret;
		ret = take_event(q, line);
		json_decref(line);
	} while (!ret);
	return 0;
}

int qmp_send(struct qmp *q, const char *command, json_t *arguments, int fd,
	     unsigned int *id, struct tide_error *err)
{
	json_t *request = json_pack("{s:s, s:i}", "execute", command, "id",
				    (int)++q->id);
	char *text;
	int ret;

	if (request && arguments)
		json_object_set_new(request, "arguments", arguments);
	else
		json_decref(arguments);
	text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!text)
		return fail(-ENOMEM, "no memory", err);
	*id = q->id;
	ret = send_text(q, text, fd, err);
	free(text);
	return ret;
}

int qmp_ask(struct qmp *q, const char *command, json_t *arguments, int fd,
	    json_t **answer, struct tide_error *err)
{
	unsigned int id = 0;
	int ret = qmp_send(q, command, arguments, fd, &id, err);

	return ret ? ret : qmp_await(q, id, answer, err);
}

/* A connected socket, or -errno. */
static int dial(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t length = strlen(path);
	int fd, ret;

	if (length >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, length);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

int qmp_open(struct qmp **out, const char *path, struct tide_error *err)
{
	struct qmp *q = calloc(1, sizeof(*q));
	json_t *greeting = NULL;
	int ret;

	if (!q)
		return fail(-ENOMEM, "no memory", err);
	q->fd = dial(path);
	ret = q->fd < 0 ? fail(q->fd, path, err) :
			  read_line(q, PATIENCE_MS, &greeting, err);
	if (!ret && !json_object_get(greeting, "QMP"))
		ret = fail(-EPROTO, "its greeting is not a QEMU's", err);
	json_decref(greeting);
	if (!ret)
		ret = qmp_ask(q, "qmp_capabilities", NULL, -1, NULL, err);
	if (ret)
		qmp_close(q);
	else
		*out = q;
	return ret;
}

void qmp_close(struct qmp *q)
{
	if (!q)
		return;
	if (q->fd >= 0)
		close(q->fd);
	free(q);
}
