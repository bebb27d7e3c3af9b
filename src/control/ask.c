/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/ask.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "control/lines.h"
#include "control/listener.h"

/* A begin waits for writes under way and for hooks of the server's. */
#define PATIENCE_MS 120000

static int fail(const char *path, int code, const char *what,
		struct tide_error *err)
{
	return tide_error_set(err, -code, "control", TIDE_NO_OFFSET,
			      "the control socket %s: %s: %s", path, what,
			      strerror(code));
}

/* Nobody there is another code than what a server refuses with. */
static int dial(const char *path, struct tide_error *err)
{
	int fd = control_connect(path, err);

	if (fd < 0 && err)
		err->code = -ENOTCONN;
	return fd < 0 ? -ENOTCONN : fd;
}

/* {"error": words, "code": errno} */
static int refused(const json_t *answer, struct tide_error *err)
{
	const json_t *code = json_object_get(answer, "code");
	const char *why = json_string_value(json_object_get(answer, "error"));
	int number = (int)json_integer_value(code);

	if (!why)
		return 0;
	if (number < 0)
		number = -number;
	return tide_error_set(err, number > 0 && number < 4096 ? -number : -EIO,
			      "control", TIDE_NO_OFFSET, "%s", why);
}

static int converse(struct control_lines *l, const char *path,
		    const json_t *request, json_t **answer,
		    struct tide_error *err)
{
	json_t *got = NULL;
	int ret = control_put(l, request);

	if (ret)
		return fail(path, -ret, "asking", err);
	switch (control_get(l, PATIENCE_MS, &got)) {
	case CONTROL_GOT:
		break;
	case CONTROL_TIMEOUT:
		return fail(path, ETIMEDOUT, "waiting for the answer", err);
	default:
		return fail(path, ECONNRESET, "waiting for the answer", err);
	}
	*answer = got;
	return 0;
}

/* One request, one answer; *lines is the caller's to end, and to close. */
static int ask(struct control_lines *lines, const char *path, json_t *request,
	       json_t **answer, struct tide_error *err)
{
	int fd, ret;

	if (!request)
		return fail(path, ENOMEM, "asking", err);
	fd = ret = dial(path, err);
	if (fd >= 0) {
		lines->fd = fd;
		ret = converse(lines, path, request, answer, err);
	}
	json_decref(request);
	return ret;
}

static void hang_up(struct control_lines *lines)
{
	int fd = lines->fd;

	control_lines_fini(lines);
	if (fd >= 0)
		close(fd);
}

int control_hear(const char *path, json_t *request, json_t **answer,
		 struct tide_error *err)
{
	struct control_lines lines;
	int ret;

	control_lines_init(&lines, -1);
	ret = ask(&lines, path, request, answer, err);
	hang_up(&lines);
	return ret;
}

int control_ask(const char *path, json_t *request, json_t **answer,
		struct tide_error *err)
{
	json_t *got = NULL;
	int ret = control_hear(path, request, &got, err);

	if (!ret)
		ret = refused(got, err);
	if (ret || !answer)
		json_decref(got);
	else
		*answer = got;
	return ret;
}

int control_ask_fds(const char *path, json_t *request, int fds[2],
		    struct tide_error *err)
{
	struct control_lines lines;
	json_t *got = NULL;
	int ret;

	control_lines_init(&lines, -1);
	lines.wants_fds = true;
	ret = ask(&lines, path, request, &got, err);
	if (!ret)
		ret = refused(got, err);
	if (!ret && lines.fd_count != 2)
		ret = tide_error_set(err, -EPROTO, "control", TIDE_NO_OFFSET,
				     "the control socket %s: the answer has no "
				     "descriptors", path);
	if (!ret) {
		memcpy(fds, lines.fds, sizeof(lines.fds));
		lines.fd_count = 0;
	}
	json_decref(got);
	hang_up(&lines);
	return ret;
}

int control_session_open(struct control_session *s, const char *path,
			 struct tide_error *err)
{
	int fd = dial(path, err);

	s->path = path;
	control_lines_init(&s->lines, fd < 0 ? -1 : fd);
	return fd < 0 ? fd : 0;
}

int control_session_ask(struct control_session *s, json_t *request,
			json_t **answer, struct tide_error *err)
{
	json_t *got = NULL;
	int ret = request ? converse(&s->lines, s->path, request, &got, err) :
			    fail(s->path, ENOMEM, "asking", err);

	json_decref(request);
	if (!ret)
		ret = refused(got, err);
	if (ret || !answer)
		json_decref(got);
	else
		*answer = got;
	return ret;
}

void control_session_close(struct control_session *s)
{
	if (s->path)
		hang_up(&s->lines);
	s->path = NULL;
}
