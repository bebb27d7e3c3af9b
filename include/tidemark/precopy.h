/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pre-copy: moving a guest's memory while it runs.
 *
 * The engine runs the rounds (bulk, dirty, stop) over channels that are
 * connected already; everything it needs from the VMM comes through callbacks.
 * docs/format-migration.md states the wire and the hand-over protocol.
 *
 * The guarantee of the hand-over: after the source has sent GO it stays
 * paused until it hears DONE (the guest lives there now) or REFUSED (it runs
 * on here). If the wire is cut between the two, the outcome is
 * TIDE_PRECOPY_UNKNOWN: the guest stays paused here, and only the operator,
 * who can look at the other side, may resume it.
 *
 * Caveats:
 *  - The receiver's memory is rubbish until tide_receive_run returned 0.
 *  - Callbacks run on the calling thread, except rearm, hold and release, which
 *    run on channel threads; rearm one call at a time.
 *  - What a callback returns is an error unless it is 0, whether or not it has
 *    filled in the struct tide_error.
 */
#ifndef TIDEMARK_PRECOPY_H
#define TIDEMARK_PRECOPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/dirty.h"
#include "tidemark/error.h"
#include "tidemark/slots.h"
#include "tidemark/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TIDE_PRECOPY_MAX_CHANNELS 64
#define TIDE_PRECOPY_MAX_STATE_BYTES (64u << 20)

enum tide_round_kind {
	TIDE_ROUND_BULK,
	TIDE_ROUND_DIRTY,
	TIDE_ROUND_STOP,
};

/* What one round did; given to the progress callback and kept by callers. */
struct tide_round {
	unsigned int number;		/* 0 is the bulk round */
	enum tide_round_kind kind;
	bool finished;			/* false: progress inside the round */
	uint64_t pages;		/* in the epoch (done so far if not finished) */
	uint64_t pages_total;		/* in the epoch, known from the start */
	uint64_t zero_pages;
	uint64_t ranges;
	uint64_t bytes;			/* on the wire, with frames */
	uint64_t elapsed_ns;
	uint64_t harvest_ns;		/* harvest and cut at its beginning */
	uint64_t dirty_pages_per_s;	/* measured by this round's harvest */
	uint64_t bytes_per_s;
	uint64_t predicted_downtime_ns;	/* if we stopped after this round */
	unsigned int throttle_percent;
};

struct tide_precopy_options {
	/*
	 * Set by tide_precopy_defaults. A smaller struct of an older version is
	 * accepted (what it lacks is the default), a larger one of a newer if
	 * all that is not known here is zero.
	 */
	size_t struct_size;
	uint64_t page_bytes;		/* TIDE_PAGE_BYTES, no other */
	uint64_t bandwidth_bytes_per_s;	/* over all channels; 0: no limit */
	uint64_t downtime_target_ns;	/* 300 ms */
	uint64_t stall_timeout_ns; /* no byte moves for so long: failed; 10 s */
	unsigned int max_rounds;	/* 30; then the verdict */
	unsigned int max_throttle_percent;	/* 99; 0: never throttle */
	int zstd_level;			/* 0: no compression */
	bool checksum;		/* XXH3 of every payload; default true */
	bool auto_stop_over_target;	/* stop anyway instead of giving up */
	const bool *cancel;		/* set by a signal handler; NULL ok */
	/* What carries the bytes of all channels; NULL: the bare sockets. */
	const struct tide_stream_ops *stream_ops;
	void *stream_opaque;		/* for stream_ops->of */
};

struct tide_precopy_ops {
	/* Mark in the set all that the guest's sources know. */
	int (*harvest)(void *opaque, struct tide_set *set,
		       struct tide_error *err);
	/* Right before [first, +count) is read. NULL: nothing to do. */
	int (*rearm)(void *opaque, uint64_t first, uint64_t count,
		     struct tide_error *err);
	/*
	 * Stop all vCPUs, and wait for whoever else writes to memory: devices,
	 * and threads that fill memory which was just plugged. After it nothing
	 * writes, and what was written is marked or in a source. Then one more
	 * harvest is asked for. A page that is marked later is -ESTALE, and the
	 * guest stays; a write that is not marked by then is lost. resume
	 * undoes it.
	 */
	int (*pause)(void *opaque, struct tide_error *err);
	int (*resume)(void *opaque, struct tide_error *err);
	/* Sleep vCPUs for @percent of their time. 0 ends it. NULL: cannot. */
	void (*throttle)(void *opaque, unsigned int percent);
	/*
	 * Device and vCPU state of the paused guest: *@state is malloc'ed here
	 * and freed by the engine. At most TIDE_PRECOPY_MAX_STATE_BYTES.
	 */
	int (*save_state)(void *opaque, void **state, size_t *len,
			  struct tide_error *err);
	/* Often in a round, once at its end. NULL ok. */
	void (*progress)(void *opaque, const struct tide_round *round);
	/*
	 * Between the two, memory of the slots in the map is read; called by
	 * channel threads, several at a time, for as long as 256 KiB take to
	 * copy. Who removes a slot takes it out of the map first, and unmaps
	 * its memory when all who held then have released. NULL: no slot is
	 * ever removed while the guest moves.
	 */
	void (*hold)(void *opaque);
	void (*release)(void *opaque);
};

enum tide_precopy_outcome {
	TIDE_PRECOPY_MOVED,		/* the guest runs over there */
	TIDE_PRECOPY_ROLLED_BACK,	/* failed or refused; runs on here */
	TIDE_PRECOPY_NOT_CONVERGING, /* rolled back, with the numbers in err */
	TIDE_PRECOPY_UNKNOWN,		/* GO sent, no answer: paused here */
};

struct tide_precopy_result {
	enum tide_precopy_outcome outcome;
	unsigned int rounds;
	uint64_t pages;
	uint64_t bytes_sent;
	uint64_t downtime_ns;		/* pause to the receiver's DONE */
	uint64_t total_ns;
	uint64_t predicted_downtime_ns;	/* when it was decided to stop */
	bool target_missed;		/* moved, but down for longer */
};

void tide_precopy_defaults(struct tide_precopy_options *options);

/*
 * tide_precopy_run: move the guest over @channels connected stream sockets
 * (borrowed; blocking or not; the first is the control channel). The set is
 * the guest's live set, in which sources and the VMM mark, and which survives
 * the call: after any outcome but MOVED nothing that the receiver lacks is
 * clean. Returns 0 exactly when result->outcome is MOVED, else a negative
 * errno with the reason; *@result is always filled. A second call on new
 * sockets starts anew with a bulk round. Blocks until the end.
 *
 * @slots may change meanwhile, until pause was called: the receiver follows
 * between two rounds, and a slot it did not have counts as dirty throughout.
 * -EINVAL: a slot ends behind the last page of the set.
 */
int tide_precopy_run(const int *channels, unsigned int count,
		     const struct tide_slots *slots, struct tide_set *set,
		     const struct tide_precopy_ops *ops, void *opaque,
		     const struct tide_precopy_options *options,
		     struct tide_precopy_result *result,
		     struct tide_error *err);

struct tide_receive_ops {
	/*
	 * The source's slots, checked for sanity (host is NULL in them): make
	 * memory for them and register it in @slots with the same ids and
	 * addresses. All memory must read as zero.
	 */
	int (*prepare)(void *opaque, const struct tide_slot *wanted,
		       size_t count, struct tide_slots *slots,
		       struct tide_error *err);
	/* All memory is here, checked; load the state, do not run yet. */
	int (*load_state)(void *opaque, const void *state, size_t len,
			  struct tide_error *err);
	/* The source has given GO: run. An error here is sent as REFUSED. */
	int (*resume)(void *opaque, struct tide_error *err);
	void (*progress)(void *opaque, const struct tide_round *round);
	/*
	 * The source's slots are @wanted from here on: forget those that are
	 * gone, and make memory that reads as zero for those that are new.
	 * NULL: a change of slots is refused.
	 */
	int (*change)(void *opaque, const struct tide_slot *wanted,
		      size_t count, struct tide_slots *slots,
		      struct tide_error *err);
};

/*
 * tide_receive_run: the other end. @accept gives the next connected socket of
 * this migration (the first call: the control channel), or a negative errno;
 * the engine closes the ones it took. @slots is empty at the start and filled
 * by prepare. Returns 0 when the guest was resumed here; otherwise it was not,
 * and must not be. Blocks; gives up after stall_timeout_ns without a byte.
 */
int tide_receive_run(int (*accept)(void *opaque, struct tide_error *err),
		     struct tide_slots *slots,
		     const struct tide_receive_ops *ops, void *opaque,
		     const struct tide_precopy_options *options,
		     struct tide_precopy_result *result,
		     struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
