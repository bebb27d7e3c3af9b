/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A list of page numbers as they come, with repeats, in an array of 64-bit
 * numbers: what became KVM's dirty ring. To be read as ranges it has to be
 * sorted first, by radix, eleven bits at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "pages.h"

#define RADIX_BITS 11
#define BUCKETS (1u << RADIX_BITS)

struct list {
	uint64_t *page, *other;
	uint64_t n, room, max;
};

static void *create(uint64_t pages)
{
	struct list *l = calloc(1, sizeof(*l));

	if (l)
		l->max = pages;
	return l;
}

static void destroy(void *r)
{
	struct list *l = r;

	free(l->page);
	free(l->other);
	free(l);
}

static void clear(void *r)
{
	((struct list *)r)->n = 0;
}

static void mark(void *r, const uint32_t *page, uint64_t n)
{
	struct list *l = r;

	if (l->n + n > l->room) {
		l->room = l->n + n;
		l->page = realloc(l->page, l->room * 8);
		l->other = realloc(l->other, l->room * 8);
		if (!l->page || !l->other)
			abort();
	}
	for (uint64_t i = 0; i < n; i++)
		l->page[l->n++] = page[i];
}

static void sort_by(const uint64_t *from, uint64_t *to, uint64_t n,
		    unsigned int shift)
{
	uint64_t at[BUCKETS] = { 0 }, sum = 0;

	for (uint64_t i = 0; i < n; i++)
		at[(from[i] >> shift) % BUCKETS]++;
	for (unsigned int b = 0; b < BUCKETS; b++) {
		uint64_t count = at[b];

		at[b] = sum;
		sum += count;
	}
	for (uint64_t i = 0; i < n; i++)
		to[at[(from[i] >> shift) % BUCKETS]++] = from[i];
}

static struct bench_found compact(void *r)
{
	struct list *l = r;
	struct pages_run run = { .count = 0 };

	for (unsigned int shift = 0; l->max >> shift; shift += RADIX_BITS) {
		uint64_t *swap = l->page;

		sort_by(l->page, l->other, l->n, shift);
		l->page = l->other;
		l->other = swap;
	}
	for (uint64_t i = 0; i < l->n; i++)
		if (!i || l->page[i] != l->page[i - 1])
			pages_run_add(&run, l->page[i]);
	return pages_run_end(&run);
}

static size_t bytes(const void *r)
{
	return ((const struct list *)r)->n * 16;
}

const struct pages_rival pages_list = { "list, sorted", create, destroy, clear,
					mark, compact, bytes };
