/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A gate that every change of a disk passes, in and out, so that there can be
 * an instant at which no change is under way. Passing costs two atomic adds,
 * each on a cache line that other threads seldom touch.
 *
 * Whoever enters first adds itself to a counter and then looks whether the
 * gate is held; whoever holds it first says so and then counts: one of the two
 * sees the other (both are sequentially consistent). A shard's counter may
 * have any value; only the sum of all means something.
 *
 * Requests of a queue are parked while the gate is held; other callers wait.
 */
#ifndef TIDE_CBT_GATE_H
#define TIDE_CBT_GATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct tide_io;

#define CBT_GATE_SHARDS 16u

struct cbt_gate {
	struct {
		int64_t inside;
		uint8_t padding[56];
	} shards[CBT_GATE_SHARDS];
	uint32_t held; /* atomic: by so many */
	pthread_mutex_t lock; /* parked; and held goes to 0 */
	pthread_cond_t open;
	struct tide_io *parked; /* linked by scratch[0] */
};

void cbt_gate_init(struct cbt_gate *g);
void cbt_gate_fini(struct cbt_gate *g);

/* False: it is held, and nothing was done. */
bool cbt_gate_enter(struct cbt_gate *g);
void cbt_gate_leave(struct cbt_gate *g);
/* In an op that may block: until somebody let go. */
void cbt_gate_wait(struct cbt_gate *g);
/* In a start: @io is begun again then. False: it is open. */
bool cbt_gate_park(struct cbt_gate *g, struct tide_io *io);

/*
 * From here on nobody comes in, and when it returns 0 nobody is inside; or
 * -ETIMEDOUT, and this hold is over. Several may hold it at once: it is open
 * when the last has released it.
 */
int cbt_gate_hold(struct cbt_gate *g, uint64_t limit_ns);
void cbt_gate_release(struct cbt_gate *g);

#endif
