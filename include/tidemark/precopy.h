/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pre-copy live migration: moving a guest's memory while it runs.
 *
 * The engine runs the rounds (bulk, dirty, stop) over channels that are already
 * connected; everything it needs from the VMM comes through callbacks.
 * docs/format-migration.md specifies the wire format and the hand-over.
 *
 * The guarantee of the hand-over: once the source has sent GO, the guest stays
 * paused there until DONE (it runs at the receiver) or REFUSED (it resumes at
 * the source). If the connection breaks in between, the outcome is
 * TIDE_PRECOPY_UNKNOWN: the guest stays paused at the source, and only the
 * operator, who can look at the other side, may resume it.
 *
 * Caveats:
 *  - The receiver's memory is undefined until tide_receive_run has returned 0.
 *  - Callbacks run on the calling thread, except rearm, hold and release, which
 *    run on channel threads; rearm one call at a time.
 *  - Any result of a callback other than 0 is an error, whether or not it has
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

/* Statistics of one round, for the progress callback. */
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
	 * Set by tide_precopy_defaults. The smaller struct of an older version
	 * is accepted (missing fields have their defaults), and the larger one
	 * of a newer version if all unknown fields are zero.
	 */
	size_t struct_size;
	uint64_t page_bytes;		/* must be TIDE_PAGE_BYTES */
	uint64_t bandwidth_bytes_per_s;	/* over all channels; 0: no limit */
	uint64_t downtime_target_ns;	/* 300 ms */
	uint64_t stall_timeout_ns; /* without a byte moved: failed; 10 s */
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
	/* Mark in the set everything that the guest's sources report. */
	int (*harvest)(void *opaque, struct tide_set *set,
		       struct tide_error *err);
	/* Called before [first, +count) is read. NULL: nothing to do. */
	int (*rearm)(void *opaque, uint64_t first, uint64_t count,
		     struct tide_error *err);
	/*
	 * Stop all vCPUs, and wait for everything else that writes to memory:
	 * devices, and threads that fill newly plugged memory. Afterwards
	 * nothing writes, and all writes are marked or known to a source. One
	 * more harvest follows. A page marked after that is -ESTALE, and the
	 * guest stays; a write not marked by then is lost. Undone by resume.
	 */
	int (*pause)(void *opaque, struct tide_error *err);
	int (*resume)(void *opaque, struct tide_error *err);
	/* Make vCPUs sleep @percent of the time; 0 ends it. NULL: cannot. */
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
	 * A read-side critical section, in which memory of the slots in the
	 * map is read; entered by channel threads, several at a time, for as
	 * long as it takes to copy 256 KiB. To remove a slot, take it out of
	 * the map, wait until all current holders have released, and only then
	 * unmap its memory. NULL: no slot is ever removed during the move.
	 */
	void (*hold)(void *opaque);
	void (*release)(void *opaque);
};

enum tide_precopy_outcome {
	TIDE_PRECOPY_MOVED,		/* the guest runs at the receiver */
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
 * (borrowed; blocking or not; the first is the control channel). @set is the
 * guest's live set, in which sources and the VMM mark, and which survives the
 * call: after any outcome but MOVED, every page that the receiver lacks is
 * dirty. Returns 0 exactly when result->outcome is MOVED, else a negative
 * errno with the reason; *@result is always filled. A second call on new
 * sockets starts over with a bulk round. Blocks until the end.
 *
 * @slots may change until pause is called: the receiver is told between two
 * rounds, and a slot that is new to it counts as dirty throughout. -EINVAL: a
 * slot ends past the last page of the set.
 */
int tide_precopy_run(const int *channels, unsigned int count,
		     const struct tide_slots *slots, struct tide_set *set,
		     const struct tide_precopy_ops *ops, void *opaque,
		     const struct tide_precopy_options *options,
		     struct tide_precopy_result *result,
		     struct tide_error *err);

struct tide_receive_ops {
	/*
	 * The source's slots, already validated (their host is NULL): allocate
	 * memory for them and insert it into @slots with the same ids and
	 * addresses. All memory must read as zero.
	 */
	int (*prepare)(void *opaque, const struct tide_slot *wanted,
		       size_t count, struct tide_slots *slots,
		       struct tide_error *err);
	/* All memory has arrived and was checked; load the state. */
	int (*load_state)(void *opaque, const void *state, size_t len,
			  struct tide_error *err);
	/* The source has sent GO: run. An error is sent as REFUSED. */
	int (*resume)(void *opaque, struct tide_error *err);
	void (*progress)(void *opaque, const struct tide_round *round);
	/*
	 * The source's slots are now @wanted: remove those that are missing,
	 * and allocate memory that reads as zero for new ones. NULL: a change
	 * of slots is refused.
	 */
	int (*change)(void *opaque, const struct tide_slot *wanted,
		      size_t count, struct tide_slots *slots,
		      struct tide_error *err);
};

/*
 * tide_receive_run: the other end. @accept returns the next connected socket of
 * this migration (the first call: the control channel), or a negative errno;
 * the engine closes these sockets. @slots must be empty and is filled by
 * prepare. Returns 0 when the guest was resumed here; otherwise it was not, and
 * must not be. Blocks; gives up after stall_timeout_ns without a byte.
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
