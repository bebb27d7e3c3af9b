/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the receiving side. */
#ifndef TIDE_PEER_RECEIVE_H
#define TIDE_PEER_RECEIVE_H

#include <pthread.h>

#include "peer/hello.h"
#include "tidemark/precopy.h"
#include "peer/channel.h"

struct arrival {
	struct tide_slots *slots;
	const struct tide_receive_ops *ops;
	void *opaque;
	struct tide_precopy_options options;
	struct tide__hello hello;
	struct tide__channel channel[TIDE_PRECOPY_MAX_CHANNELS];
	unsigned int channels;		/* connected so far */
	struct tide__liveness alive;
	struct tide_round round;	/* the receiver's own view */
	uint64_t round_start_ns, round_start_bytes;
	uint64_t pages;

	/* The order of frames, under the lock: receive.c, enter_round. */
	uint64_t rounds_ended[TIDE_PRECOPY_MAX_CHANNELS];
	bool inside[TIDE_PRECOPY_MAX_CHANNELS];
	bool changing;			/* slots */
	bool stopped;			/* the last round is over */

	char *state;
	size_t state_bytes, state_room;

	pthread_mutex_t lock;		/* of what follows */
	pthread_cond_t changed;
	unsigned int ended;		/* channels at the end of this round */
	uint64_t generation;		/* rounds begun */
	bool stop;
	int rc;
	struct tide_error err;
};

/*
 * apply.c: a PAGES or ZERO frame whose head was received. @fresh: this channel
 * is in its first round, so memory that no frame named yet reads as zero.
 */
int tide__apply(struct arrival *r, struct tide__channel *c,
		const struct tide__frame *f, bool fresh,
		struct tide_error *err);

#endif
