/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the door: somebody who has connected, and what becomes of him. */
#ifndef TIDE_PEER_DOOR_GUEST_H
#define TIDE_PEER_DOOR_GUEST_H

#include <pthread.h>

#include "peer/door.h"

#define TIDE__DOOR_PENDING 160u /* twice the channels of one source */
#define TIDE__DOOR_JOINS 64u

struct tide__guest {
	int fd; /* -1: a free place */
	uint64_t since_ns;
	/*
	 * What came is not enough to say what it is, and stays in the socket,
	 * which is ready therefore: it is not asked, but looked at now and
	 * then.
	 */
	bool partial;
	uint64_t looked_ns;
	bool shaking;	/* not a stream yet */
	bool wants_write;	/* its handshake does */
	bool admitted;	/* had the right token */
	bool told;	/* was refused, and has a moment to read why */
};

struct tide__door {
	int listener;
	struct tide__door_options o;
	pthread_t thread;
	struct tide__guest guest[TIDE__DOOR_PENDING]; /* the thread's */

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t came;
	bool stop, busy;
	bool shut; /* busy for good: a guest runs here */
	int source; /* -1: none waits to be taken */
	int join[TIDE__DOOR_JOINS];
	unsigned int joins;
	uint64_t strangers, refused;
};

/* The descriptor, with what the door's streams know of it. */
void tide__door_hang_up(struct tide__door *d, int fd);
/* Also says why. */
void tide__door_turn_away(struct tide__door *d, struct tide__guest *g,
			  const char *why);
/* Its socket had @events (0: none), or time has passed. */
void tide__door_attend(struct tide__door *d, struct tide__guest *g,
		       short events);

#endif
