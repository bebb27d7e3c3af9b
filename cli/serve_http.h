/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page over HTTP/1.0, for a scraper: one path, GET and HEAD, one answer a
 * connection, one thread that waits in one place.
 *
 * Who is slow, sends rubbish or does not read costs a place for a few seconds,
 * and loses it before that when a newcomer needs it; nothing here touches the
 * threads that serve disks.
 */
#ifndef CLI_SERVE_HTTP_H
#define CLI_SERVE_HTTP_H

#include <stddef.h>

#include "tidemark/error.h"

struct serve_http;

struct serve_http_page {
	const char *path; /* "/metrics" */
	const char *type; /* of its content */
	/* The page, malloc'ed, and its length; NULL: no memory. */
	char *(*make)(void *opaque, size_t *length);
	void *opaque;
};

/*
 * Serve @page on @count listening sockets, owned from now on, also when it
 * fails; what @page points to outlives the thread. 0 or -errno.
 */
int serve_http_start(struct serve_http **out, const int *fds, size_t count,
		     const struct serve_http_page *page,
		     struct tide_error *err);
/* NULL is fine. */
void serve_http_stop(struct serve_http *h);

/* What is said to the @length bytes that came: 0: more is needed. */
enum { SERVE_HTTP_OK = 200, SERVE_HTTP_BAD = 400, SERVE_HTTP_UNKNOWN = 404,
       SERVE_HTTP_METHOD = 405, SERVE_HTTP_TOO_LONG = 431 };
int serve_http_judge(const char *bytes, size_t length, const char *path);

#endif
