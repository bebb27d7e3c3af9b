/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock-free single-producer, single-consumer ring between a writer and the
 * taker of a set, for writers that must not touch cache lines that others
 * touch: a vCPU thread, a device thread.
 *
 * The writer pushes page numbers; the taker drains every ring into the set
 * before it cuts. If the ring is full, a push marks the set directly, and is
 * counted. So a push never waits, never fails, and no page is lost.
 *
 * Caveats:
 *  - As with a mark, push AFTER the data was stored.
 *  - A pushed page is dirty in the set only once the ring has been drained:
 *    drain all rings, then cut. Pages pushed during a drain may be left for the
 *    next one.
 */
#ifndef TIDEMARK_RING_H
#define TIDEMARK_RING_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark/dirty.h"
#include "tidemark/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tide_ring;

/*
 * tide_ring_create: a ring of @entries pages (a power of two, 2 to 2^24, 8
 * bytes each) in front of @set, which must outlive it. 0, -EINVAL, -ENOMEM.
 */
int tide_ring_create(struct tide_ring **out, struct tide_set *set,
		     uint32_t entries, struct tide_error *err);
/* Drains the ring first. NULL is fine. */
void tide_ring_destroy(struct tide_ring *ring);

/*
 * tide_ring_push: page @page was written. One thread at a time (the ring's
 * writer). Cost: one store to a line of its own, rarely a load of the taker's.
 */
void tide_ring_push(struct tide_ring *ring, uint64_t page);

/*
 * tide_ring_drain: mark what was pushed; returns how many. One thread at a
 * time (the taker). A push that returned before this call is in the set when
 * it returns.
 */
uint64_t tide_ring_drain(struct tide_ring *ring);

/* tide_ring_overflows: pushes that went straight to the set. Any thread. */
uint64_t tide_ring_overflows(const struct tide_ring *ring);

#ifdef __cplusplus
}
#endif

#endif
