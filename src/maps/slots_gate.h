/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epoch-based reclamation (as in RCU): when may an old view be freed? The
 * protocol between readers and a writer.
 *
 *   reader                              writer, one at a time
 *   s = epoch                           current = new view
 *   seen = s + 1                        epoch = n
 *   barrier                             barrier
 *   v = current; use v                  for each reader: seen is 0 or above n?
 *   seen = 0                            if all: free what n replaced
 *
 * Neither side ever waits or tries again. Why nothing in use is freed: if the
 * writer does not see the reader's `seen`, then by the two barriers the reader
 * sees the new view. If it sees a `seen` above n, the reader read an epoch of n
 * or later before it read `current`, so it has the new view too. Otherwise the
 * old view stays, and is looked at again at the next change.
 *
 * Inside, a registered reader may pin the view it got, and then use it
 * outside, until it pins another: that view, and what is in it, is kept. The
 * writer looks at `seen` before it looks at `pinned`: a reader that it finds
 * outside has pinned already. So an idle reader holds one old state of the map,
 * not more. model/slots-gate.pml plays this part, with store buffers.
 *
 * A registered reader has a line of its own, and its barrier costs nothing
 * where the kernel offers membarrier(2): the writer then makes every thread of
 * the process pass a barrier. A thread without a registered reader takes one
 * of the lines that are shared, by compare-and-swap (a barrier in itself); if
 * all are taken it counts itself as a stranger, and nothing is freed while
 * there is a stranger.
 */
#ifndef TIDE_MAPS_SLOTS_GATE_H
#define TIDE_MAPS_SLOTS_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

#define TIDE__GATE_LINES 32

struct tide__gate_line {
	uint64_t seen;			/* 0: outside; else epoch + 1 */
	uint64_t pinned;		/* 0, or generation + 1 of a view */
	struct tide__gate_line *next;	/* registered ones; under the lock */
} __attribute__((aligned(64)));

struct tide__gate {
	uint64_t epoch __attribute__((aligned(64)));
	bool asymmetric;		/* set at create only */
	uint64_t strangers __attribute__((aligned(64)));
	struct tide__gate_line *registered;
	struct tide__gate_line shared[TIDE__GATE_LINES];
};

void tide__gate_init(struct tide__gate *gate);

/*
 * A registered reader around its use of `current`; the fast way is only for a
 * gate that is asymmetric.
 */
static inline void tide__gate_enter_fast(const struct tide__gate *gate,
					 struct tide__gate_line *line)
{
	/* pairs with the release in tide__gate_advance */
	uint64_t seen = tide__load_acquire(&gate->epoch) + 1;

	/*
	 * Release, for the acquire in check_line: whoever sees this `seen` also
	 * knows the section before it is over. The fence before the caller's
	 * load of `current` pairs with the one in tide__gate_oldest.
	 */
	tide__store_release(&line->seen, seen);
	tide__fence_compiler();
}

static inline void tide__gate_enter(const struct tide__gate *gate,
				    struct tide__gate_line *line)
{
	tide__gate_enter_fast(gate, line);
	if (!gate->asymmetric)
		tide__fence_seqcst();
}

static inline void tide__gate_leave(struct tide__gate_line *line)
{
	/* pairs with the acquire in check_line */
	tide__store_release(&line->seen, 0);
}

/* Inside: keep the view of @generation, and no other, from here on. */
static inline void tide__gate_pin(struct tide__gate_line *line,
				  uint64_t generation)
{
	/* pairs with the acquire in tide__gate_pinned */
	tide__store_release(&line->pinned, generation + 1);
}

/* Any thread; hands the result of enter to leave. */
struct tide__gate_line *tide__gate_enter_any(struct tide__gate *gate);
void tide__gate_leave_any(struct tide__gate *gate,
			  struct tide__gate_line *line);

/* Under the writer's lock. */
void tide__gate_register(struct tide__gate *gate, struct tide__gate_line *line);
void tide__gate_forget(struct tide__gate *gate, struct tide__gate_line *line);
/* After `current` was stored: the epoch after which the old view is unused. */
uint64_t tide__gate_advance(struct tide__gate *gate);
/*
 * The oldest epoch that a reader may still be in: what was dropped later than
 * that is in use. Then tide__gate_pinned tells of the rest: has a reader pinned
 * a view from @made on and before @dropped?
 */
uint64_t tide__gate_oldest(struct tide__gate *gate);
bool tide__gate_pinned(const struct tide__gate *gate, uint64_t made,
		       uint64_t dropped);

#endif
