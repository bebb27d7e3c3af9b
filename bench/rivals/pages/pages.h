/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One interface for everything that might remember dirty pages: mark pages,
 * then read all of them as ranges in order, without clearing. Each rival is
 * for one thread only, except the dirty set itself.
 */
#ifndef BENCH_RIVALS_PAGES_H
#define BENCH_RIVALS_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "bench/measure.h"

struct pages_rival {
	const char *name; /* NULL: its library is not here */
	void *(*create)(uint64_t pages);
	void (*destroy)(void *r);
	void (*clear)(void *r);
	void (*mark)(void *r, const uint32_t *page, uint64_t n);
	/* Not a part of reading: what must be done once after marking. */
	struct bench_found (*compact)(void *r);
	size_t (*bytes)(const void *r); /* as it is now */
};

extern const struct pages_rival pages_tidemark, pages_list, pages_crude,
	pages_flat, pages_radix8, pages_radix8_posted, pages_radix64,
	pages_radix512, pages_roaring,
	pages_judy;

/* Page numbers in order, into ranges. */
struct pages_run {
	struct bench_found found;
	uint64_t first, count;
};

static inline void pages_run_add(struct pages_run *run, uint64_t page)
{
	if (run->count && page == run->first + run->count) {
		run->count++;
		return;
	}
	if (run->count)
		bench_add(&run->found, run->first, run->count);
	run->first = page;
	run->count = 1;
}

static inline struct bench_found pages_run_end(struct pages_run *run)
{
	if (run->count)
		bench_add(&run->found, run->first, run->count);
	return run->found;
}

#endif
