/* SPDX-License-Identifier: BSD-2-Clause */
/* Monotonic time in nanoseconds, for rates, deadlines and measurements. */
#ifndef TIDE_BASE_CLOCK_H
#define TIDE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t tide__now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * The same, counting also while this host is suspended: for promises to
 * another host, whose clock goes on.
 */
static inline uint64_t tide__boot_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
