/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Live migration in one call on each side: the common case of precopy.h, which
 * is there for all others (memory hotplug during the move, memory that is not
 * mapped here, progress reports).
 *
 * Caveats:
 *  - Slots must stay as they are until the call returns.
 *  - After TIDE_PRECOPY_UNKNOWN the guest stays paused: see precopy.h.
 */
#ifndef TIDEMARK_MOVE_H
#define TIDEMARK_MOVE_H

#include "tidemark/precopy.h"
#include "tidemark/source.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A guest that runs here; everything is borrowed for the call. */
struct tide_move_guest {
	const struct tide_slots *slots;
	/* Sees the guest's writes; not started. NULL: only marks in @set. */
	struct tide_source *source;
	/* Where the VMM marks its own writes; NULL if @source sees all. */
	struct tide_set *set;
	/* As in tide_precopy_ops; throttle may be NULL. */
	int (*pause)(void *opaque, struct tide_error *err);
	int (*resume)(void *opaque, struct tide_error *err);
	int (*save_state)(void *opaque, void **state, size_t *len,
			  struct tide_error *err);
	void (*throttle)(void *opaque, unsigned int percent);
	void *opaque;
};

/*
 * tide_move_send: move @guest over @count connected stream sockets (borrowed).
 * @options NULL: the defaults. @result may be NULL. Starts the source, and
 * stops it at the end. Returns and outcomes as of tide_precopy_run; -EINVAL
 * also if there is neither a source nor a set, or a callback is missing.
 * Blocks.
 */
int tide_move_send(const struct tide_move_guest *guest, const int *sockets,
		   unsigned int count,
		   const struct tide_precopy_options *options,
		   struct tide_precopy_result *result, struct tide_error *err);

/* What to do with the guest at the other end. */
struct tide_move_target {
	/* All memory has arrived; load the state, do not run yet. */
	int (*load_state)(void *opaque, const struct tide_slots *slots,
			  const void *state, size_t len,
			  struct tide_error *err);
	/* Run. An error here leaves the guest with the source. */
	int (*resume)(void *opaque, struct tide_error *err);
	void *opaque;
};

/*
 * tide_move_receive: the other end, over @count sockets in the source's order,
 * which it closes in any case. @slots must be empty; it is filled with the
 * guest's slots, each in new anonymous memory, which then belongs to the caller
 * (tide_move_unmap). Returns 0 when the guest was resumed here; else @slots is
 * empty again and no memory is left. @options, @result as above. Blocks.
 */
int tide_move_receive(const struct tide_move_target *target,
		      const int *sockets, unsigned int count,
		      struct tide_slots *slots,
		      const struct tide_precopy_options *options,
		      struct tide_precopy_result *result,
		      struct tide_error *err);

/* tide_move_unmap: unmap the memory of all slots, and remove them. */
void tide_move_unmap(struct tide_slots *slots);

#ifdef __cplusplus
}
#endif

#endif
