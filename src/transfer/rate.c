/* SPDX-License-Identifier: BSD-2-Clause */
#include "transfer/rate.h"

#include <time.h>

#include "base/atomic.h"
#include "base/clock.h"

#define LOOK_NS UINT64_C(50000000) /* at whether to stop */
#define CREDIT_NS UINT64_C(50000000)
#define SECOND_NS UINT64_C(1000000000)

void rate_init(struct rate *r, uint64_t bytes_per_s, const bool *stop)
{
	r->stop = stop;
	r->bytes_per_s = bytes_per_s;
	r->next_ns = 0;
	pthread_mutex_init(&r->lock, NULL);
}

void rate_fini(struct rate *r)
{
	pthread_mutex_destroy(&r->lock);
}

static void wait_until(const struct rate *r, uint64_t when)
{
	uint64_t now = tide__now_ns();

	while (when > now && !(r->stop && tide__load_acquire(r->stop))) {
		uint64_t left = when - now < LOOK_NS ? when - now : LOOK_NS;
		struct timespec some = { .tv_nsec = (long)left };

		nanosleep(&some, NULL);
		now = tide__now_ns();
	}
}

void rate_take(struct rate *r, uint64_t bytes)
{
	uint64_t now, when;

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
	wait_until(r, when);
}
