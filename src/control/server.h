/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A control socket's server: connections, each with a thread, and a table of
 * verbs that the owner supplies; it knows nothing of what they do.
 *
 * A connection may send any number of requests, one after the other. It is
 * closed if it is silent for IDLE_SECONDS, or does not read its answer. A line
 * that is no request gets an answer that says so. The number of connections is
 * bounded; without descriptors new ones are closed at once, and nothing spins.
 *
 * Threads: verbs run on their connection's thread, several at a time.
 */
#ifndef TIDE_CONTROL_SERVER_H
#define TIDE_CONTROL_SERVER_H

#include <jansson.h>
#include <stdbool.h>

#include "control/lines.h"
#include "tidemark/error.h"

#define CONTROL_MAX_CONNECTIONS 64u

/* Borrowed for the call. */
struct control_request {
	struct control_lines *lines; /* for reports before the answer */
	const json_t *object;
	void *opaque; /* the owner's */
};

struct control_verb {
	const char *name; /* NULL ends the table */
	/* The answer, a new reference; NULL: no memory, the client is told. */
	json_t *(*run)(const struct control_request *request);
};

struct control_options {
	const char *path;
	const struct control_verb *verbs;
	void *opaque;
	/* The socket can be connected to; NULL: nobody wants to know. */
	void (*ready)(void *opaque);
	/* Asked every 50 ms, and after each request: is it over? */
	bool (*over)(void *opaque);
	unsigned int end_ms; /* for requests at the end; 0: 30 s */
};

/*
 * control_serve: until `over`, or SIGINT or SIGTERM. 0; or why the socket could
 * not be made. At the end the socket's name goes, every connection is hung up
 * on (which a long request is to notice: control_client_gone), and their
 * threads are waited for: nobody uses @opaque afterwards. -ETIMEDOUT: some did
 * not end in time and still use it; all that can be done is to end the process.
 */
int control_serve(const struct control_options *options,
		  struct tide_error *err);

/* {"error": ..., "origin": ..., "code": errno} */
json_t *control_error(const struct tide_error *err);
/* The same, of words. */
json_t *control_refuse(int code, const char *text);

/*
 * Is the client of a long request still there? It may half-close to call the
 * work off. Any thread.
 */
bool control_client_gone(const struct control_lines *lines);

#endif
