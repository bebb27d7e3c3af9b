/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock-free single-producer, single-consumer ring: the protocol.
 *
 *   producer                            consumer
 *   if tail - head == entries:          t = tail		(C1)
 *       look at head again	(P0)   read slots [head, t)
 *   slot[tail] = page                   mark them in the set
 *   tail = tail + 1		(P1)   head = t			(C2)
 *
 * P1 is a release and C1 an acquire: seeing the new tail implies seeing the
 * slot, and the caller's data stored before the push. C2 is a release and P0 an
 * acquire: a slot is overwritten only after it was read. Each side writes one
 * cache line and caches the other's index, so that a push touches the
 * consumer's line only when the cached value says "full". model/ring.pml checks
 * this; without one of the releases or the test for "full" it finds a lost
 * page.
 */
#include "tidemark/ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

#define MAX_ENTRIES (1u << 24)

struct tide_ring {
	struct tide_set *set;
	uint64_t *slot;
	uint64_t mask;
	/* The producer's line. */
	uint64_t tail __attribute__((aligned(64)));
	uint64_t head_seen;
	uint64_t overflows;
	/* The consumer's line. */
	uint64_t head __attribute__((aligned(64)));
};

int tide_ring_create(struct tide_ring **out, struct tide_set *set,
		     uint32_t entries, struct tide_error *err)
{
	struct tide_ring *ring;
	void *memory;

	if (entries < 2 || entries > MAX_ENTRIES || entries & (entries - 1))
		return tide_error_set(err, -EINVAL, "ring", TIDE_NO_OFFSET,
				      "a ring has a power of two of entries "
				      "from 2 to 2^24, not %" PRIu32, entries);
	if (posix_memalign(&memory, 64, sizeof(*ring)))
		goto no_memory;
	ring = memset(memory, 0, sizeof(*ring));
	if (posix_memalign(&memory, 64, entries * sizeof(*ring->slot))) {
		free(ring);
		goto no_memory;
	}
	ring->slot = memory;
	ring->set = set;
	ring->mask = entries - 1;
	*out = ring;
	return 0;

no_memory:
	return tide_error_set(err, -ENOMEM, "ring", TIDE_NO_OFFSET,
			      "no memory for a ring of %" PRIu32 " entries",
			      entries);
}

void tide_ring_destroy(struct tide_ring *ring)
{
	if (!ring)
		return;
	tide_ring_drain(ring);
	free(ring->slot);
	free(ring);
}

void tide_ring_push(struct tide_ring *ring, uint64_t page)
{
	uint64_t tail = tide__load_relaxed(&ring->tail);	/* our own */

	if (__builtin_expect(tail - ring->head_seen > ring->mask, 0)) {
		/* P0. Pairs with C2. */
		ring->head_seen = tide__load_acquire(&ring->head);
		if (tail - ring->head_seen > ring->mask) {
			tide_set_mark(ring->set, page);
			tide__store_relaxed(&ring->overflows,
					    ring->overflows + 1);
			return;
		}
	}
	ring->slot[tail & ring->mask] = page;
	/* P1. Pairs with C1. */
	tide__store_release(&ring->tail, tail + 1);
}

uint64_t tide_ring_drain(struct tide_ring *ring)
{
	uint64_t head = tide__load_relaxed(&ring->head);	/* our own */
	/* C1. Pairs with P1. */
	uint64_t tail = tide__load_acquire(&ring->tail);

	for (uint64_t at = head; at != tail; at++)
		tide_set_mark(ring->set, ring->slot[at & ring->mask]);
	/* C2. Pairs with P0. */
	tide__store_release(&ring->head, tail);
	return tail - head;
}

uint64_t tide_ring_overflows(const struct tide_ring *ring)
{
	return tide__load_relaxed(&ring->overflows);
}
