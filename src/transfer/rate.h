/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bandwidth that is not passed: each taker is told until when to wait, by a
 * schedule in which every byte has its time. Who was idle may catch up with at
 * most CREDIT of it, so that no burst follows a pause.
 */
#ifndef TIDE_TRANSFER_RATE_H
#define TIDE_TRANSFER_RATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct rate {
	uint64_t bytes_per_s; /* 0: no limit */
	const bool *stop; /* atomic: nobody waits any more; NULL: never */
	pthread_mutex_t lock;
	uint64_t next_ns; /* when the next byte may go */
};

void rate_init(struct rate *r, uint64_t bytes_per_s, const bool *stop);
void rate_fini(struct rate *r);
/* Wait until @bytes may go, or all is to stop. Any thread. */
void rate_take(struct rate *r, uint64_t bytes);

#endif
