/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The door of a receiver: who of those that connect is a source.
 *
 * One thread owns the listening socket. Whoever connects has PATIENCE to send
 * the head of a frame; it is looked at without being taken from the socket.
 * HELLO is a source: it is handed to who waits in tide__door_source, or told
 * at once that this receiver is busy. JOIN is a further channel of the source
 * that is being received. All else - connections that say nothing, health
 * checks, other protocols - are strangers: hung up on, counted, told to the
 * log, and no trouble to anybody. At most PENDING of them are looked at at a
 * time; the oldest makes place.
 *
 * Threads: source, join and done are the receiver's one thread's; stop and the
 * counters any thread's.
 */
#ifndef TIDE_PEER_DOOR_H
#define TIDE_PEER_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct tide__door;

/* One sentence, without new line; from the door's thread. */
typedef void tide__door_log(void *opaque, const char *what);

/* @listener is borrowed until close, and made non-blocking. -ENOMEM. */
int tide__door_open(struct tide__door **out, int listener, tide__door_log *log,
		    void *opaque, struct tide_error *err);
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
/* That source is done with, or failed: another may come. */
void tide__door_done(struct tide__door *door);
void tide__door_stop(struct tide__door *door);

/* How many were hung up on, and how many sources heard "busy". */
uint64_t tide__door_strangers(struct tide__door *door);
uint64_t tide__door_refused(struct tide__door *door);

#endif
