/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sockets of the command: addresses as operators write them, and the control
 * socket's lines of JSON (docs/control-socket.md).
 */
#ifndef CLI_WIRE_H
#define CLI_WIRE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "control/listener.h"
#include "tidemark/error.h"

/*
 * "unix:PATH" or "tcp:HOST:PORT": a socket, or -errno with the reason; a peer
 * that does not accept is waited for ten seconds at an address.
 */
int wire_connect(const char *address, struct tide_error *err);
/* Close with control_listener_close. */
int wire_listen(const char *address, struct control_listener *out,
		struct tide_error *err);
/* For "tcp:HOST:0": the address that was really given; malloc'ed. */
char *wire_bound_address(int fd, const char *address);

struct wire_lines {
	int fd;
	char *buffer;
	size_t used, room;
};

/* One JSON object as one line. 0 or -errno. */
int wire_put(int fd, json_t *object);
/*
 * The next object, a new reference; NULL at the end of the stream, at a bad
 * line, or after @timeout_ms (negative: none).
 */
json_t *wire_get(struct wire_lines *lines, int timeout_ms);
void wire_lines_fini(struct wire_lines *lines);

/* An error as {"error": text, "origin": ..., "code": errno}. */
json_t *wire_error(const struct tide_error *err);

#endif
