/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When to stop the guest, when to slow it down, and when to give up ("will not
 * converge" is decided here). A pure function of numbers.
 *
 * The forecast after each harvest: the pages that are dirty now, and those that
 * will be written between this harvest and the pause, at the rate the wire
 * showed; one more harvest; and three answers of the other side (of the last
 * round, READY, DONE). The rate of writes is the peak of the previous rounds,
 * decaying by a quarter each: a long round counts a page once however often it
 * was written, so it underestimates the rate. Likewise an answer is expected to
 * take as long as the slowest recent one, and the wire to be as slow as in the
 * slower of the last two busy rounds: on a busy host one round says little
 * about the next, and an additional round costs less than to stop too early and
 * miss the target.
 *
 * What cannot be forecast is how long the other side takes to load the state
 * and to resume the guest.
 *
 * Below the target: stop. If a round left more than three quarters of what it
 * began with, the guest writes about as fast as the wire transfers; then its
 * vCPUs are throttled, by 20 percent and 10 more each time. After three rounds
 * without progress at the highest throttle, the migration is given up. A guest
 * is never throttled if that cannot help: if the floor, the harvest and the
 * fastest answers so far, exceeds the target.
 */
#include "rounds/policy.h"

#include "tidemark/range.h"

#define ANSWERS 3u
#define BUSY_BYTES (1u << 20)	/* smaller rounds say little about the wire */

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t rate_of(uint64_t bytes, uint64_t ns)
{
	return (uint64_t)((double)bytes * 1e9 / (double)(ns + 1)) + 1;
}

void tide__policy_learn(struct tide__policy *p, uint64_t bytes, uint64_t ns,
			uint64_t turn_ns)
{
	/*
	 * A small round is mostly waiting; without that it shows at least a
	 * bound from below, to go by until there was a busy one.
	 */
	if (bytes > BUSY_BYTES) {
		uint64_t rate = rate_of(bytes, ns);

		p->wire_bytes_per_s = p->was_busy
					  ? min(rate, p->last_bytes_per_s)
					  : rate;
		p->last_bytes_per_s = rate;
		p->was_busy = true;
	} else if (!p->was_busy) {
		p->wire_bytes_per_s = max(p->wire_bytes_per_s,
					  rate_of(bytes, ns > turn_ns
							     ? ns - turn_ns
							     : 0));
	}
	if (!p->turn_ns || turn_ns < p->turn_ns)
		p->turn_ns = turn_ns;
	p->slow_turn_ns = max(turn_ns, p->slow_turn_ns - p->slow_turn_ns / 4);
}

struct tide__forecast tide__policy_forecast(const struct tide__policy *p,
					    const struct tide__left *left)
{
	double wire = (double)max(p->wire_bytes_per_s, 1);
	double rate = (double)max(p->peak_pages_per_s, left->pages_per_s);
	/* While the harvest ran the guest did, too. */
	double pages = (double)left->pages +
		       rate * (double)left->harvest_ns / 1e9;
	uint64_t floor = left->harvest_ns + ANSWERS * p->turn_ns;

	return (struct tide__forecast){
		.floor_ns = floor,
		.downtime_ns = left->harvest_ns +
			       ANSWERS * max(p->slow_turn_ns, p->turn_ns) +
			       (uint64_t)(pages * TIDE_PAGE_BYTES * 1e9 /
					  wire),
	};
}

static bool may_throttle(const struct tide__policy *p, uint64_t floor_ns)
{
	return floor_ns < p->target_ns &&
	       p->throttle_percent < p->max_throttle_percent;
}

static void throttle(struct tide__policy *p)
{
	unsigned int percent = p->throttle_percent
				   ? p->throttle_percent + TIDE__MORE_THROTTLE
				   : TIDE__FIRST_THROTTLE;

	p->throttle_percent = percent < p->max_throttle_percent
				  ? percent : p->max_throttle_percent;
}

enum tide__verdict tide__policy_judge(struct tide__policy *p,
				      const struct tide__left *left)
{
	struct tide__forecast f = tide__policy_forecast(p, left);
	enum tide__verdict verdict = TIDE__GO_ON;

	p->peak_pages_per_s = max(left->pages_per_s, p->peak_pages_per_s -
				  p->peak_pages_per_s / 4);
	if (f.downtime_ns <= p->target_ns)
		return TIDE__STOP_GUEST;
	if (left->pages < left->pages_before - left->pages_before / 4) {
		p->rounds_without_progress = 0;
	} else if (may_throttle(p, f.floor_ns)) {
		throttle(p);
		verdict = TIDE__THROTTLE;
	} else {
		p->rounds_without_progress++;
	}
	if (left->rounds >= p->max_rounds ||
	    p->rounds_without_progress >= TIDE__PATIENCE_ROUNDS)
		return TIDE__GIVE_UP;
	return verdict;
}
