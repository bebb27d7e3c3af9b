/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slot map's inside, shared by its three parts: changes (slots.c), lookups
 * by any thread (slots_find.c) and a thread's own reader (slots_reader.c).
 */
#ifndef TIDE_MAPS_SLOTS_H
#define TIDE_MAPS_SLOTS_H

#include <pthread.h>

#include "maps/slots_gate.h"
#include "maps/slots_radix.h"

/*
 * One state of the map, never changed again: what readers see. Its trees share
 * with those of other views what is the same.
 */
struct tide__slot_view {
	struct tide__old old;	/* made: its generation */
	uint32_t count;
	uint64_t bytes;		/* of all that it reaches */
	struct tide__radix guest, host, id;
};

struct tide_slots {
	struct tide__gate gate;
	uint64_t generation __attribute__((aligned(64)));
	struct tide__slot_view *current;
	pthread_mutex_t lock __attribute__((aligned(64)));	/* of changes */
	struct tide__old *dropped;	/* under the lock */
	struct tide__pool pool[TIDE__POOLS];	/* likewise */
};

/* Memory on lines of its own, all zeroes; NULL: none. */
void *tide__slots_zeroed(size_t bytes);

#endif
