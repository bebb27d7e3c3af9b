/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the sending side: one migration attempt. */
#ifndef TIDE_ROUNDS_SOURCE_H
#define TIDE_ROUNDS_SOURCE_H

#include <pthread.h>

#include "peer/hello.h"
#include "tidemark/precopy.h"
#include "peer/channel.h"
#include "peer/pulse.h"

/* Slots in order of guest addresses, as they were at @generation. */
struct tide__slot_list {
	struct tide_slot *slot;		/* malloc'ed */
	uint32_t count;
	uint64_t generation;
};

struct attempt {
	const struct tide_slots *slots;
	struct tide_set *set;
	const struct tide_precopy_ops *ops;
	void *opaque;
	struct tide_precopy_options options;
	struct tide__slot_list known;	/* to the receiver */
	struct tide_range skipped;	/* hull of what this round did not send */

	struct tide__channel channel[TIDE_PRECOPY_MAX_CHANNELS];
	unsigned int channels;
	struct tide__liveness alive;
	struct tide__pulse *pulse;	/* of the control channel */

	struct tide_epoch *epoch;	/* NULL between rounds */
	struct tide_round round;
	struct tide_round done;		/* the last one that was sent */
	uint64_t round_start_ns;
	uint64_t last_harvest_ns;	/* when, for the dirty rate */
	uint64_t wire_bytes_per_s;	/* what the last busy round reached */
	unsigned int throttle_percent;
	unsigned int rounds_without_progress;	/* at the highest throttle */
	bool paused;
	uint64_t paused_ns;		/* when */
	uint64_t go_limit_ms;		/* READY's; 0: the receiver has none */
	uint64_t pages_sent;

	/*
	 * The lock covers what the senders share in a round: the work still to
	 * be given out, the counters of the round, the pace, the first error.
	 */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t cursor;
	struct tide_range left;		/* of the range being given out */
	uint64_t next_send_ns;		/* bandwidth limit */
	unsigned int sending;		/* senders still busy */
	bool draining;			/* all work was given out */
	bool stop;			/* a sender failed */
	int rc;
	struct tide_error err;
};

/* round.c: send the open epoch over all channels and wait for its ack. */
int tide__round_send(struct attempt *a, struct tide_error *err);
/* Tell the caller that a->done has ended. */
void tide__round_report(struct attempt *a);
/* slots.c */
int tide__slots_collect(const struct tide_slots *slots,
			struct tide__slot_list *list, struct tide_error *err);
/* Is @slot, from the map, one that the receiver has? */
bool tide__slots_sendable(const struct attempt *a,
			  const struct tide_slot *slot);
/* Under the lock: these pages of the epoch were in no such slot. */
void tide__slots_skipped(struct attempt *a, uint64_t first, uint64_t count);
/* Between rounds, before the cut: make the receiver's slots ours. */
int tide__slots_sync(struct attempt *a, struct tide_error *err);
/* policy.c */
/* Downtime if the guest stopped with what is in the open epoch. */
uint64_t tide__policy_downtime_ns(const struct attempt *a);
bool tide__policy_may_stop(const struct attempt *a);
/* 0: go on; -ELOOP with the numbers: it will not converge. */
int tide__policy_after_round(struct attempt *a, uint64_t pages_before,
			     struct tide_error *err);
/* handover.c: everything from the pause on. */
int tide__handover(struct attempt *a, enum tide_precopy_outcome *outcome,
		   struct tide_error *err);
/* source.c */
int tide__harvest_and_cut(struct attempt *a, struct tide_error *err);
int tide__expect(struct attempt *a, unsigned int type, struct tide__frame *f,
		 struct tide_error *err);

#endif
