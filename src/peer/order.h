/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol's state machine: which frame may come when, over all channels of
 * a migration. Enforced here, since the source is not trusted.
 *
 *	GREETING --HELLO--> JOINING --all joined--> BETWEEN
 *	BETWEEN --SLOTS--> CHANGING --changed--> BETWEEN
 *	BETWEEN --ROUND--> ROUND --all ended--> BETWEEN, after the stop round
 *	STOPPED --STATE--> STATE --STATE_END--> LOADING --loaded--> READY
 *	READY --GO--> OVER
 *
 * Channels overtake each other: one may deliver pages of a round whose ROUND is
 * still in transit, so it may do so BETWEEN rounds as well. It is held back by
 * counting. Each channel has ended some rounds; it may deliver
 * pages only if these are as many as the receiver has acknowledged, and is then
 * inside the round until its ROUND_END. SLOTS is taken only while nobody is
 * inside one or has ended the next, and nobody gets inside before the change is
 * done. So memory never changes under a page that arrives, and no older page
 * overtakes a newer one.
 *
 * Internally locked: readers of all channels ask it for each head of a frame,
 * before they touch memory or allocate for it. It also keeps the first failure
 * of any of them, which ends all waiting.
 */
#ifndef TIDE_PEER_ORDER_H
#define TIDE_PEER_ORDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "peer/frame.h"
#include "tidemark/precopy.h"

enum tide__phase {
	TIDE__GREETING = 1,
	TIDE__JOINING = 2,
	TIDE__BETWEEN = 4,
	TIDE__CHANGING = 8,
	TIDE__ROUND = 16,
	TIDE__STOPPED = 32,
	TIDE__STATE = 64,
	TIDE__LOADING = 128,
	TIDE__READY = 256,
	TIDE__OVER = 512,
};

struct tide__order {
	pthread_mutex_t lock;		/* of all that follows */
	pthread_cond_t changed;
	enum tide__phase phase;
	unsigned int channels;		/* of this migration */
	uint64_t rounds;		/* acknowledged */
	bool last;			/* the open round is the stop round */
	uint64_t ended[TIDE_PRECOPY_MAX_CHANNELS];	/* rounds */
	bool inside[TIDE_PRECOPY_MAX_CHANNELS];
	bool stop;			/* also read without the lock */
	int ret;				/* the first failure */
	struct tide_error err;
};

void tide__order_init(struct tide__order *order);
void tide__order_fini(struct tide__order *order);

/*
 * The head of a frame came on @channel (0: control): 0 and the phase is what
 * it makes of it, or -EPROTO with what is out of order, and nothing changed.
 * CANCEL is always in order.
 */
int tide__order_take(struct tide__order *order, unsigned int channel,
		     const struct tide__frame *frame, struct tide_error *err);

/* By the control channel's thread, when it has done what a phase is for. */
void tide__order_joined(struct tide__order *order, unsigned int channels);
void tide__order_changed(struct tide__order *order);
void tide__order_loaded(struct tide__order *order);
/*
 * In ROUND: wait until each channel has ended it, then go on to BETWEEN or
 * STOPPED. 0, the first failure of a reader, or -ETIMEDOUT after the clock
 * passed what @deadline_ns says, which is asked again every second.
 */
int tide__order_await_round(struct tide__order *order,
			    uint64_t (*deadline_ns)(void *), void *opaque,
			    struct tide_error *err);

/* A channel failed: all end. The first reason is kept. */
void tide__order_fail(struct tide__order *order, int ret,
		      const struct tide_error *err);
/* Readers shall end. *@ret and *@err become the first failure, if they only
 * say that another part failed. */
void tide__order_stop(struct tide__order *order, int *ret,
		      struct tide_error *err);
/* Has the stop round been acknowledged? Then a source may close channels. */
bool tide__order_is_whole(struct tide__order *order);

#endif
