/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pre-copy engine: copy what has been written, again and again, until
 * little enough is left. It knows neither slots nor sockets, only two tables:
 *
 *   space   what is read: memory of a guest's slots (slot_space.c)
 *   sink    where it goes: another host (src/peer/send.c), a plain file in
 *           tests/unit/sink_test.c
 *
 * Its user calls, in this order: init, rounds, stop, check_still, whatever
 * completes the transfer for this sink, and fini; undo after any failure.
 */
#ifndef TIDE_ROUNDS_ENGINE_H
#define TIDE_ROUNDS_ENGINE_H

#include <pthread.h>

#include "rounds/policy.h"
#include "tidemark/precopy.h"

/*
 * Most pages that are read and given to the sink at once: they stay in cache.
 */
#define TIDE__PIECE_PAGES 64u
#define TIDE__PIECE_BYTES (TIDE__PIECE_PAGES * TIDE_PAGE_BYTES)

/* Slots in order of guest addresses, as they were at @generation. */
struct tide__layout {
	struct tide_slot *slot;		/* malloc'ed */
	uint32_t count;
	uint64_t generation;
};

/* A piece of the epoch that lies in one readable stretch of the space. */
struct tide__piece {
	uint64_t first, count;		/* pages; at most TIDE__PIECE_PAGES */
	const unsigned char *host;	/* space's own business */
};

struct tide__space {
	const struct tide__space_ops *ops;
	struct tide__layout layout;	/* as the sink was told */
};

struct tide__space_ops {
	/* Fill in the layout. */
	int (*open)(struct tide__space *space, struct tide_error *err);
	void (*close)(struct tide__space *space);
	void (*mark_all)(struct tide__space *space, struct tide_set *set);
	/* Mark what was written since the last time. */
	int (*harvest)(struct tide__space *space, struct tide_set *set,
		       struct tide_error *err);
	/* Is the layout an old one? */
	bool (*is_stale)(const struct tide__space *space);
	/*
	 * Between two rounds: renew the layout, and mark what the sink cannot
	 * have. *@changed: the sink has to be told.
	 */
	int (*renew)(struct tide__space *space, struct tide_set *set,
		     bool *changed, struct tide_error *err);
	/*
	 * Under the engine's lock: take from the beginning of @left, either a
	 * piece (true), or what cannot be read (false: look again).
	 */
	bool (*next)(struct tide__space *space, struct tide_range *left,
		     struct tide__piece *piece);
	/* Under the lock: from now on writes to it count for the next round. */
	int (*rearm)(struct tide__space *space, const struct tide__piece *piece,
		     struct tide_error *err);
	/* Any thread: around next, rearm and read of one piece. */
	void (*hold)(struct tide__space *space);
	void (*release)(struct tide__space *space);
	int (*read)(struct tide__space *space, const struct tide__piece *piece,
		    void *to, struct tide_error *err);
};

struct tide__sink {
	const struct tide__sink_ops *ops;
	unsigned int lanes;		/* threads that write to it at once */
};

/*
 * Within a round a page comes once, on any lane; between begin and commit all
 * lanes end. What came in a round that was not committed counts as not sent.
 */
struct tide__sink_ops {
	int (*open)(struct tide__sink *sink, const struct tide__layout *layout,
		    struct tide_error *err);
	int (*change)(struct tide__sink *sink,
		      const struct tide__layout *layout,
		      struct tide_error *err);
	int (*begin)(struct tide__sink *sink, unsigned int round,
		     enum tide_round_kind kind, struct tide_error *err);
	int (*data)(struct tide__sink *sink, unsigned int lane, uint64_t first,
		    uint32_t pages, const void *data, struct tide_error *err);
	int (*zeros)(struct tide__sink *sink, unsigned int lane, uint64_t first,
		     uint32_t pages, struct tide_error *err);
	int (*end)(struct tide__sink *sink, unsigned int lane,
		   unsigned int round, struct tide_error *err);
	/* 0: all of this round is safe there. */
	int (*commit)(struct tide__sink *sink, unsigned int round,
		      struct tide_error *err);
	/* Inside a round, often: has it ended this by itself? NULL: never. */
	bool (*has_ended)(struct tide__sink *sink);
	uint64_t (*bytes)(const struct tide__sink *sink);	/* written */
	/* A lane waits for its turn to write; by the lane, often. NULL ok. */
	void (*idle)(struct tide__sink *sink, unsigned int lane);
	/* Around calls of the guest's that may take long. NULL ok. */
	void (*wait_begin)(struct tide__sink *sink);
	void (*wait_end)(struct tide__sink *sink);
};

struct tide__engine {
	struct tide__space *space;
	struct tide__sink *sink;
	struct tide_set *set;
	const struct tide_precopy_ops *ops;	/* the guest: pause, throttle */
	void *opaque;
	struct tide_precopy_options options;
	struct tide__policy policy;

	uint64_t out_of_range;		/* marks that missed the set before */
	struct tide_epoch *epoch;	/* NULL between rounds */
	struct tide_round round;
	struct tide_round done;		/* the last one that was sent */
	uint64_t round_start_ns;
	uint64_t last_harvest_ns;	/* when, for the dirty rate */
	uint64_t predicted_ns;		/* when it was decided to stop */
	bool paused;
	uint64_t paused_ns;		/* when */
	uint64_t pages_sent;

	/*
	 * The lock covers what the lanes share in a round: the work still to be
	 * given out, the counters of the round, the pace, the first error.
	 */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t cursor;
	struct tide_range left;		/* of the range being given out */
	uint64_t next_send_ns;		/* bandwidth limit */
	unsigned int sending;		/* lanes still busy */
	bool draining;			/* all work was given out */
	bool stop;		/* a lane failed; read without the lock */
	int ret;
	struct tide_error err;
};

/* engine.c */
void tide__engine_init(struct tide__engine *e, struct tide__space *space,
		       struct tide__sink *sink, struct tide_set *set,
		       const struct tide_precopy_ops *ops, void *opaque,
		       const struct tide_precopy_options *options);
void tide__engine_fini(struct tide__engine *e);
/*
 * Open both ends, then bulk and dirty rounds until the guest may be stopped.
 * -ELOOP with the numbers: it will not converge.
 */
int tide__engine_rounds(struct tide__engine *e, struct tide_error *err);
/* Pause, last harvest and cut, last round. */
int tide__engine_stop(struct tide__engine *e, struct tide_error *err);
/*
 * Right before the copy counts: -ESTALE if somebody wrote since the last cut.
 */
int tide__engine_check_still(struct tide__engine *e, struct tide_error *err);
/* Nothing that was sent counts: all is dirty again. */
void tide__engine_undo(struct tide__engine *e);
/* The guest runs on here, if it was paused. */
void tide__engine_resume(struct tide__engine *e);
/* Tell the caller that the round before has ended. */
void tide__engine_report(struct tide__engine *e);
/* What a callback @name of the caller returned, with an error in any case. */
int tide__called(int ret, const char *name, struct tide_error *err);

/* round.c: the open epoch into the sink, and its commit. */
int tide__round_send(struct tide__engine *e, struct tide_error *err);
/*
 * Sinks call it before @bytes go out on @lane: sleep until the bandwidth lets
 * them.
 */
void tide__round_pace(struct tide__engine *e, unsigned int lane,
		      uint64_t bytes);

#endif
