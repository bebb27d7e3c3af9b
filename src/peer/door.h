/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The door of a receiver: who of those that connect is a source.
 *
 * One thread owns the listening socket. Whoever connects has half a minute for
 * three steps, of which the first two are there only if they are asked
 * for (struct tide__door_options):
 *
 *	SHAKING --handshake--> a stream (TLS, say)
 *	TOKEN --the right one--> admitted
 *	HEAD --HELLO, JOIN--> handed out
 *
 * The head of the first frame is looked at without being taken. HELLO is a
 * source: it is handed to who waits in tide__door_source, or told at once that
 * this receiver is busy. JOIN is a further channel of the source that is being
 * received. A source that can be told why it does not come in is told: without
 * a token, with another one, in the clear where a stream is asked for. All else
 * - connections that say nothing, health checks, other protocols - are
 * strangers: hung up on, counted, told to the log, and no trouble to anybody.
 * At most PENDING of them are looked at at a time; the oldest makes place, and
 * of those with the right token none before the others.
 *
 * Threads: source, join, done and shut are the receiver's one thread's; stop
 * and the counters any thread's. Streams' calls come from the door's thread.
 */
#ifndef TIDE_PEER_DOOR_H
#define TIDE_PEER_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "peer/token.h"
#include "tidemark/error.h"
#include "tidemark/stream.h"

struct tide__door;

/* One sentence, without new line; from the door's thread. */
typedef void tide__door_log(void *opaque, const char *what);

/* How a socket that was accepted becomes a stream; all by its descriptor. */
struct tide__door_streams {
	const struct tide_stream_ops *ops;
	/* Make one, without a byte of traffic. */
	int (*open)(void *opaque, int fd, struct tide_error *err);
	/* A step of its handshake: 0, -EAGAIN, or why it is over. */
	int (*shake)(void *opaque, int fd, bool *wants_write,
		     struct tide_error *err);
	/* What recv will give: as recv, but it stays. */
	ssize_t (*peek)(void *opaque, int fd, void *to, size_t len);
	/* It is hung up on: before the descriptor is closed. */
	void (*forget)(void *opaque, int fd);
	void *opaque;	/* of ops->of as well */
};

struct tide__door_options {
	tide__door_log *log;	/* NULL: nothing is said */
	void *opaque;		/* of log */
	const struct tide__door_streams *streams;	/* NULL: bare sockets */
	const struct tide__token *token; /* NULL or empty: none is asked */
};

/* @listener and what @options point to are borrowed until close; the former is
 * made non-blocking. -ENOMEM. */
int tide__door_open(struct tide__door **out, int listener,
		    const struct tide__door_options *options,
		    struct tide_error *err);
/* Hangs up on all that were not handed out. NULL is fine. */
void tide__door_close(struct tide__door *door);

/*
 * Wait for a source: a connected socket, the caller's, with HELLO unread. From
 * here on others hear that the receiver is busy. -ECANCELED after stop.
 */
int tide__door_source(struct tide__door *door, struct tide_error *err);
/* Its next channel; -ETIMEDOUT after @timeout_ns. */
int tide__door_join(struct tide__door *door, uint64_t timeout_ns,
		    struct tide_error *err);
/* That source failed: another may come. */
void tide__door_done(struct tide__door *door);
/* Its guest is here: from now on sources are told that one runs here. */
void tide__door_shut(struct tide__door *door);
void tide__door_stop(struct tide__door *door);

/* How many were hung up on, and how many sources heard "busy". */
uint64_t tide__door_strangers(struct tide__door *door);
uint64_t tide__door_refused(struct tide__door *door);

#endif
