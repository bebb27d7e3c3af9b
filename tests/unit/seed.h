/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random scripts that can be played again: the seed is printed, and SEED=... in
 * the environment replays it. Never taken from the clock.
 */
#ifndef TESTS_SEED_H
#define TESTS_SEED_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static inline uint64_t seed_of(const char *what, uint64_t usual)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : usual;

	printf("# %s: SEED=%" PRIu64 "\n", what, seed);
	fflush(stdout);
	return seed;
}

/* splitmix64: every state gives a good stream, zero included. */
static inline uint64_t seed_next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 to below - 1 */
static inline uint64_t seed_below(uint64_t *state, uint64_t below)
{
	return seed_next(state) % below;
}

#endif
