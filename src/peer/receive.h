/* SPDX-License-Identifier: BSD-2-Clause */
/* The receiving side's internals. */
#ifndef TIDE_PEER_RECEIVE_H
#define TIDE_PEER_RECEIVE_H

#include "peer/channel.h"
#include "peer/hello.h"
#include "peer/order.h"
#include "peer/pulse.h"
#include "tidemark/precopy.h"

struct receiver {
	struct tide_slots *slots;
	const struct tide_receive_ops *ops;
	void *opaque;
	struct tide_precopy_options options;
	struct tide__order order;	/* what may come when; stops all */
	struct tide__hello hello;
	bool keeps_alive;		/* agreed at the greeting, and */
	uint64_t stall_ns;		/* for how long silence is borne */
	struct tide__channel channel[TIDE_PRECOPY_MAX_CHANNELS];
	unsigned int channels;		/* connected so far */
	struct tide__liveness alive;
	struct tide__pulse *pulse;	/* NULL: the source wants none */
	struct tide_round round;	/* the receiver's own view */
	uint64_t round_start_ns, round_start_bytes;
	uint64_t pages;			/* atomic: all channels count */

	char *state;
	size_t state_bytes, state_room;
};

/*
 * The next frame of @channel, if it is in order: its payload is still to be
 * received. -ECANCELED with the source's words if it called the move off.
 */
int tide__next_head(struct receiver *r, struct tide__channel *channel,
		    struct tide__frame *frame, struct tide_error *err);
/* The same with its payload in channel->payload. */
int tide__next_frame(struct receiver *r, struct tide__channel *channel,
		     struct tide__frame *frame, struct tide_error *err);

/* greet.c: from the first connection to all channels. */
int tide__greet(struct receiver *r,
		int (*accept)(void *, struct tide_error *),
		struct tide_error *err);
/* receive_rounds.c: rounds, and then the end. */
int tide__receive_rounds(struct receiver *r, bool *running,
			 struct tide_error *err);
/* take_over.c: from the state's first piece, *@frame, to the running guest. */
int tide__take_over(struct receiver *r, struct tide__frame *frame,
		    bool *running, struct tide_error *err);
/*
 * apply.c: a PAGES or ZERO frame whose head was received. @fresh: this channel
 * is in its first round, so memory that no frame named yet reads as zero.
 */
int tide__apply(struct receiver *r, struct tide__channel *c,
		const struct tide__frame *f, bool fresh,
		struct tide_error *err);

#endif
