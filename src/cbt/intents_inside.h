/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intents from the inside: writers (intents.c), the log's thread
 * (intents_thread.c) and the saver's (intents_save.c).
 */
#ifndef TIDE_CBT_INTENTS_INSIDE_H
#define TIDE_CBT_INTENTS_INSIDE_H

#include "cbt/image.h"
#include "cbt/intents.h"

enum { IDLE, ACTIVE, RETIRING, STATE = 3, USED = 4 };

/* Who writes on from one region into the next finds the following named. */
#define CBT_AHEAD_BYTES (UINT64_C(32) << 20)

struct cbt_waiter {
	uint64_t first, last; /* regions */
	bool done;
	struct cbt_waiter *next;
};

/* How many regions are named ahead. */
uint32_t cbt_intents_ahead(const struct cbt_intents *in);
/* The blocks [start, end) of a region. */
struct cbt_run cbt_intents_blocks(const struct cbt_intents *in,
				  uint64_t region);

void *cbt_intents_run(void *intents); /* the thread of the log */
void *cbt_intents_saver(void *intents);

/*
 * Under the lock: the saver is to retire @max, the oldest; it needs no lock.
 */
void cbt_intents_ask_saver(struct cbt_intents *in, uint32_t max);
/* Under the tracker's lock. From here on nobody waits for the log. */
void cbt_intents_say_lost(struct cbt *c, const char *why);

#endif
