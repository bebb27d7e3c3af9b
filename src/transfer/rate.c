/* SPDX-License-Identifier: BSD-2-Clause */
#include "transfer/rate.h"

#include <time.h>

#include "base/clock.h"

#define CREDIT_NS UINT64_C(50000000)
#define SECOND_NS UINT64_C(1000000000)

void rate_init(struct rate *r, uint64_t bytes_per_s)
{
	r->bytes_per_s = bytes_per_s;
	r->next_ns = 0;
	pthread_mutex_init(&r->lock, NULL);
}

void rate_fini(struct rate *r)
{
	pthread_mutex_destroy(&r->lock);
}

void rate_take(struct rate *r, uint64_t bytes)
{
	uint64_t now, when;
	struct timespec until;

	if (!r->bytes_per_s)
		return;
	pthread_mutex_lock(&r->lock);
	now = tide__now_ns();
	if (r->next_ns + CREDIT_NS < now)
		r->next_ns = now - (r->next_ns ? CREDIT_NS : 0);
	r->next_ns += (uint64_t)((double)bytes / (double)r->bytes_per_s *
				 (double)SECOND_NS);
	when = r->next_ns;
	pthread_mutex_unlock(&r->lock);
	until.tv_sec = (time_t)(when / SECOND_NS);
	until.tv_nsec = (long)(when % SECOND_NS);
	while (when > now && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME,
					     &until, NULL))
		;
}
