/* SPDX-License-Identifier: BSD-2-Clause */
#include "ticks.h"

double bench_ticks_ns(uint64_t ticks)
{
	static double ns_per_tick;

	if (ns_per_tick == 0) {
		uint64_t t0 = bench_ticks(), n0 = tide__now_ns(), n1;

		do
			n1 = tide__now_ns();
		while (n1 - n0 < 20000000);
		ns_per_tick = (double)(n1 - n0) / (double)(bench_ticks() - t0);
	}
	return (double)ticks * ns_per_tick;
}

uint64_t bench_ticks_cost(void)
{
	uint64_t min = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t start = bench_ticks_ordered();
		uint64_t took = bench_ticks_ordered() - start;

		min = took < min ? took : min;
	}
	return min;
}
