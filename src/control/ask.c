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

/* Takes @request; what the server refuses is an answer, too. */
static int hear(struct control_session *s, json_t *request, json_t **answer,
		struct tide_error *err)
{
	int ret = request ? converse(&s->lines, s->path, request, answer, err) :
			    fail(s->path, ENOMEM, "asking", err);

	json_decref(request);
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
	int ret = hear(s, request, &got, err);

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
	int fd = s->lines.fd;

	if (!s->path)
		return;
	control_lines_fini(&s->lines);
	if (fd >= 0)
		close(fd);
	s->path = NULL;
}

/* A connection for one request; @request is given up if there is none. */
static int open_for(struct control_session *s, const char *path,
		    json_t *request, struct tide_error *err)
{
	int ret = request ? control_session_open(s, path, err) :
			    fail(path, ENOMEM, "asking", err);

	if (ret)
		json_decref(request);
	return ret;
}

int control_hear(const char *path, json_t *request, json_t **answer,
		 struct tide_error *err)
{
	struct control_session s = { 0 };
	int ret = open_for(&s, path, request, err);

	if (!ret)
		ret = hear(&s, request, answer, err);
	control_session_close(&s);
	return ret;
}

int control_ask(const char *path, json_t *request, json_t **answer,
		struct tide_error *err)
{
	struct control_session s = { 0 };
	int ret = open_for(&s, path, request, err);

	if (!ret)
		ret = control_session_ask(&s, request, answer, err);
	control_session_close(&s);
	return ret;
}

int control_ask_fds(const char *path, json_t *request, int fds[2],
		    struct tide_error *err)
{
	struct control_session s = { 0 };
	int ret = open_for(&s, path, request, err);

	s.lines.wants_fds = true;
	if (!ret)
		ret = control_session_ask(&s, request, NULL, err);
	if (!ret && s.lines.fd_count != 2)
		ret = tide_error_set(err, -EPROTO, "control", TIDE_NO_OFFSET,
				     "the control socket %s: the answer has no "
				     "descriptors", path);
	if (!ret) {
		memcpy(fds, s.lines.fds, sizeof(s.lines.fds));
		s.lines.fd_count = 0;
	}
	control_session_close(&s);
	return ret;
}
