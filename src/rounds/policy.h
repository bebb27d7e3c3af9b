/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When to stop the guest, slow it down, or give up: numbers in, a verdict out.
 */
#ifndef TIDE_ROUNDS_POLICY_H
#define TIDE_ROUNDS_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#define TIDE__PATIENCE_ROUNDS 3u	/* without progress */
#define TIDE__FIRST_THROTTLE 20u	/* percent */
#define TIDE__MORE_THROTTLE 10u

struct tide__policy {
	/* Asked for. */
	uint64_t target_ns;
	unsigned int max_rounds;
	unsigned int max_throttle_percent; /* 0: the guest cannot, or may not */
	/* Learned from the rounds before. */
	uint64_t wire_bytes_per_s; /* the slower of the last two busy rounds */
	uint64_t last_bytes_per_s;	/* of the last one alone */
	bool was_busy;			/* there was one */
	uint64_t turn_ns;		/* the quickest answer of the sink */
	uint64_t slow_turn_ns;		/* the slowest of late, fading */
	uint64_t peak_pages_per_s;	/* of writes, fading */
	/* The state. */
	unsigned int throttle_percent;
	unsigned int rounds_without_progress;	/* and no more to throttle */
};

/* What a round left, known after the harvest that follows it. */
struct tide__left {
	unsigned int rounds;		/* so far */
	uint64_t pages_before;		/* in the round */
	uint64_t pages;			/* dirty now */
	uint64_t pages_per_s;		/* written meanwhile */
	uint64_t harvest_ns;		/* what this harvest and cut took */
};

struct tide__forecast {
	uint64_t floor_ns;	/* what no slowing down of the guest can save */
	uint64_t downtime_ns;	/* all of it */
};

enum tide__verdict {
	TIDE__STOP_GUEST,	/* the rest fits into the target */
	TIDE__GO_ON,
	TIDE__THROTTLE,		/* throttle_percent has changed; then go on */
	TIDE__GIVE_UP,		/* it will not converge */
};

/* A round moved @bytes in @ns, and was answered @turn_ns after its end. */
void tide__policy_learn(struct tide__policy *p, uint64_t bytes, uint64_t ns,
			uint64_t turn_ns);
/* Downtime if the guest stopped now. */
struct tide__forecast tide__policy_forecast(const struct tide__policy *p,
					    const struct tide__left *left);
enum tide__verdict tide__policy_judge(struct tide__policy *p,
				      const struct tide__left *left);

#endif
