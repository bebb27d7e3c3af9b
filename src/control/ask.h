/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client side of a control socket: one request, one answer, each on a
 * connection of its own, or, where many follow each other, on one that is kept
 * (docs/control-socket.md).
 */
#ifndef TIDE_CONTROL_ASK_H
#define TIDE_CONTROL_ASK_H

#include <jansson.h>

#include "control/lines.h"
#include "tidemark/error.h"

/*
 * Sends @request (taken), and *answer is what came, a new reference; NULL: not
 * wanted. What the server refuses is its own error, with its words. -ENOTCONN:
 * nobody is there.
 */
int control_ask(const char *path, json_t *request, json_t **answer,
		struct tide_error *err);
/*
 * The same, but what the server refuses is an answer, too: an error says that
 * none came, and that the request may have been done.
 */
int control_hear(const char *path, json_t *request, json_t **answer,
		 struct tide_error *err);

/*
 * The same as control_ask, and the answer has two descriptors with it, which
 * are the caller's to close; -EPROTO: it has not.
 */
int control_ask_fds(const char *path, json_t *request, int fds[2],
		    struct tide_error *err);

/* A connection for several requests; one thread at a time. */
struct control_session {
	const char *path; /* borrowed */
	struct control_lines lines; /* for answers of many lines */
};

/* -ENOTCONN: nobody is there. */
int control_session_open(struct control_session *s, const char *path,
			 struct tide_error *err);
/* As control_ask. After an error the connection is good for nothing else. */
int control_session_ask(struct control_session *s, json_t *request,
			json_t **answer, struct tide_error *err);
/* Also of one that was not opened, if it is all zeroes. */
void control_session_close(struct control_session *s);

#endif
