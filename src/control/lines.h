/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines of JSON over a socket: one object a line (docs/control-socket.md).
 *
 * Answers wait for a client that takes no byte for at most LINE_SECONDS; then
 * the client is given up. Reports (an observer's progress) never wait: one
 * that does not fit into the socket is dropped and counted, and a line that
 * was sent in part is finished before the next. So an observer never holds up
 * the work.
 */
#ifndef TIDE_CONTROL_LINES_H
#define TIDE_CONTROL_LINES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_LONGEST_LINE (4u << 20)
#define CONTROL_MAX_FDS 2u

struct control_lines {
	int fd;
	char *buffer; /* owned; what was received and is no whole line yet */
	size_t used, room;
	bool too_long; /* what follows up to a new line is not kept */
	/* The rest of a report, owned. */
	char *rest;
	size_t rest_bytes;
	uint64_t dropped; /* reports */
	/* To go with the next answer, or came with the last; owned. */
	int fds[CONTROL_MAX_FDS];
	uint32_t fd_count;
	bool wants_fds; /* else those that come are closed unseen */
};

enum control_got {
	CONTROL_GOT, /* *object is a new reference */
	CONTROL_BAD, /* a line that is no JSON object, or too long */
	CONTROL_END, /* of the stream, or an error of the socket */
	CONTROL_TIMEOUT,
};

void control_lines_init(struct control_lines *l, int fd);
void control_lines_fini(struct control_lines *l);

/* The next object; @timeout_ms negative: for ever. */
enum control_got control_get(struct control_lines *l, int timeout_ms,
			     json_t **object);
/* An answer. 0; -ETIMEDOUT, -EPIPE, ...: the client is gone, or might be. */
int control_put(struct control_lines *l, const json_t *object);
/*
 * @fd (taken) goes with the next answer, as far as both sides are on one host;
 * if there is none, control_lines_fini closes it. At most CONTROL_MAX_FDS.
 */
void control_attach(struct control_lines *l, int fd);
/* Those that are attached, or came, are closed. */
void control_drop_fds(struct control_lines *l);
/* A report. Never waits. */
void control_report(struct control_lines *l, const json_t *object);

#endif
