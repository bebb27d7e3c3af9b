/* SPDX-License-Identifier: BSD-2-Clause */
#include "radix8.h"

#include <string.h>

void radix8_init(struct radix8 *t, uint64_t pages)
{
	uint64_t bits = pages;

	memset(t, 0, sizeof(*t));
	do {
		bits = (bits + 7) / 8;
		t->bytes[t->levels++] = bits;
		t->total += bits;
	} while (bits > 1);
	t->level[0] = bench_memory(t->total, false);
	for (unsigned int i = 1; i < t->levels; i++)
		t->level[i] = t->level[i - 1] + t->bytes[i - 1];
}

void radix8_fini(struct radix8 *t)
{
	bench_free(t->level[0], t->total);
}

void radix8_clear(struct radix8 *t)
{
	memset(t->level[0], 0, t->total);
}

void radix8_mark(struct radix8 *t, uint64_t page)
{
	for (unsigned int i = 0; i < t->levels; i++, page /= 8)
		t->level[i][page / 8] |= (unsigned char)(1u << (page % 8));
}

struct open_run {
	struct bench_found found;
	uint64_t first, count;
};

static void visit(const struct radix8 *t, unsigned int level, uint64_t at,
		  struct open_run *run)
{
	unsigned int bits = t->level[level][at];

	for (; bits; bits &= bits - 1) {
		uint64_t child = at * 8 + (unsigned int)__builtin_ctz(bits);

		if (level) {
			visit(t, level - 1, child, run);
		} else if (run->count && child == run->first + run->count) {
			run->count++;
		} else {
			if (run->count)
				bench_add(&run->found, run->first, run->count);
			run->first = child;
			run->count = 1;
		}
	}
}

struct bench_found radix8_compact(const struct radix8 *t)
{
	struct open_run run = { .count = 0 };

	visit(t, t->levels - 1, 0, &run);
	if (run.count)
		bench_add(&run.found, run.first, run.count);
	return run.found;
}
