/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A clock that is cheap enough for single lookups: the processor's counter
 * where there is one, else the system's clock.
 */
#ifndef BENCH_TICKS_H
#define BENCH_TICKS_H

#include <stdint.h>

#include "base/clock.h"

#if defined(__x86_64__)
#include <x86intrin.h>
static inline uint64_t bench_ticks(void)
{
	return __rdtsc();
}
/* Not before what stands before it is done. */
static inline uint64_t bench_ticks_ordered(void)
{
	unsigned int cpu;
	uint64_t t = __rdtscp(&cpu);

	_mm_lfence();
	return t;
}
#else
static inline uint64_t bench_ticks(void)
{
	return tide__now_ns();
}
static inline uint64_t bench_ticks_ordered(void)
{
	return tide__now_ns();
}
#endif

/* Calibrated against the system's clock at first use. */
double bench_ticks_ns(uint64_t ticks);
/* What a pair of bench_ticks_ordered shows with nothing between. */
uint64_t bench_ticks_cost(void);

#endif
