/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When to stop the guest, when to slow it down, and when to give up.
 *
 * After each harvest the pages that are dirty now, at the rate the wire showed,
 * give the downtime if the guest stopped here. Below the target: stop. If a
 * round left more than three quarters of what the round before left, the guest
 * writes about as fast as the wire carries; then its vCPUs are throttled, by 20
 * percent and 10 more each time. At the highest throttle, three rounds without
 * progress are the verdict: it will not converge.
 */
#include <errno.h>
#include <inttypes.h>

#include "rounds/precopy.h"

#define FIRST_THROTTLE 20u
#define MORE_THROTTLE 10u
#define PATIENCE_ROUNDS 3u

/* What the hand-over costs besides pages: state, and three turns of words. */
#define FIXED_NS 1000000u

static uint64_t downtime_for(const struct attempt *a, uint64_t pages)
{
	uint64_t rate = a->wire_bytes_per_s ? a->wire_bytes_per_s : 1;

	return (uint64_t)((double)pages * 4096.0 * 1e9 / (double)rate) +
	       a->round.harvest_ns + FIXED_NS;
}

uint64_t tide__policy_downtime_ns(const struct attempt *a)
{
	return downtime_for(a, tide_epoch_count(a->epoch));
}

bool tide__policy_may_stop(const struct attempt *a)
{
	return tide__policy_downtime_ns(a) <= a->options.downtime_target_ns;
}

static void throttle(struct attempt *a)
{
	unsigned int most = a->options.max_throttle_percent;
	unsigned int percent = a->throttle_percent ? a->throttle_percent +
			       MORE_THROTTLE : FIRST_THROTTLE;

	if (!a->ops->throttle || !most)
		return;
	a->throttle_percent = percent < most ? percent : most;
	a->ops->throttle(a->opaque, a->throttle_percent);
}

int tide__policy_after_round(struct attempt *a, uint64_t pages_before,
			     struct tide_error *err)
{
	uint64_t pages = tide_epoch_count(a->epoch);
	bool can_throttle = a->ops->throttle &&
			    a->throttle_percent <
				a->options.max_throttle_percent;

	if (pages < pages_before - pages_before / 4)
		a->rounds_without_progress = 0;
	else if (can_throttle)
		throttle(a);
	else
		a->rounds_without_progress++;
	if (a->round.number < a->options.max_rounds &&
	    a->rounds_without_progress < PATIENCE_ROUNDS)
		return 0;
	return tide_error_set(
	    err, -ELOOP, "precopy", TIDE_NO_OFFSET,
	    "will not converge: after %u rounds %" PRIu64 " pages are dirty, "
	    "written at %" PRIu64 " pages/s against %" PRIu64 " MB/s of wire, "
	    "throttled by %u %%; the downtime would be %" PRIu64 " ms, the "
	    "target is %" PRIu64 " ms", a->round.number, pages,
	    a->round.dirty_pages_per_s, a->wire_bytes_per_s / 1000000,
	    a->throttle_percent, downtime_for(a, pages) / 1000000,
	    a->options.downtime_target_ns / 1000000);
}
