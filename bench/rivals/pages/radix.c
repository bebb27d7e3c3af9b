/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packed radix trees of bits for one thread: fan-out 8 as published in 2016, 64
 * as QEMU's HBitmap has it, and 512, where a node is a cache line. Each level
 * has one bit a node of the level below; all levels go down to one node.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/rivals/radix8.h"
#include "pages.h"

/* --- fan-out 8 --- */

static void *create8(uint64_t pages)
{
	struct radix8 *t = malloc(sizeof(*t));

	if (t)
		radix8_init(t, pages);
	return t;
}

static void destroy8(void *r)
{
	radix8_fini(r);
	free(r);
}

static void clear8(void *r)
{
	radix8_clear(r);
}

static void mark8(void *r, const uint32_t *page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		radix8_mark(r, page[i]);
}

static struct bench_found compact8(void *r)
{
	return radix8_compact(r);
}

static size_t bytes8(const void *r)
{
	return ((const struct radix8 *)r)->total;
}

const struct pages_rival pages_radix8 = { "radix-8 tree", create8, destroy8,
					  clear8, mark8, compact8, bytes8 };

/*
 * The search as it was posted in 2016, its bounds put right: each bit of a byte
 * is tested in turn, from the root down.
 */
static void visit_posted(const struct radix8 *t, unsigned int level,
			 uint64_t at, struct pages_run *run)
{
	for (unsigned int bit = 0; bit < 8; bit++) {
		uint64_t child = at * 8 + bit;

		if (!(t->level[level][at] & 1u << bit))
			continue;
		if (level)
			visit_posted(t, level - 1, child, run);
		else
			pages_run_add(run, child);
	}
}

static struct bench_found compact_posted(void *r)
{
	const struct radix8 *t = r;
	struct pages_run run = { .count = 0 };

	visit_posted(t, t->levels - 1, 0, &run);
	return pages_run_end(&run);
}

const struct pages_rival pages_radix8_posted = {
	"radix-8, as posted", create8, destroy8, clear8, mark8, compact_posted,
	bytes8
};

/* --- fan-out 64 * words of a node --- */

struct tree {
	unsigned int levels, node_words;
	uint64_t *level[8];
	uint64_t words[8], total;
};

static void *create(uint64_t pages, unsigned int node_words)
{
	struct tree *t = calloc(1, sizeof(*t));
	uint64_t fan = 64 * node_words, nodes = pages;

	if (!t)
		return NULL;
	t->node_words = node_words;
	do {
		nodes = (nodes + fan - 1) / fan;
		t->words[t->levels] = nodes * node_words;
		t->total += t->words[t->levels++];
	} while (nodes > 1);
	t->level[0] = bench_memory(t->total * 8, false);
	for (unsigned int i = 1; i < t->levels; i++)
		t->level[i] = t->level[i - 1] + t->words[i - 1];
	return t;
}

static void destroy(void *r)
{
	struct tree *t = r;

	bench_free(t->level[0], t->total * 8);
	free(t);
}

static void clear(void *r)
{
	memset(((struct tree *)r)->level[0], 0, ((struct tree *)r)->total * 8);
}

static inline void mark(struct tree *t, const uint32_t *page, uint64_t n,
			uint64_t fan)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = page[i];

		for (unsigned int l = 0; l < t->levels; l++, at /= fan) {
			uint64_t bit = UINT64_C(1) << (at % 64);

			if (t->level[l][at / 64] & bit)
				break;
			t->level[l][at / 64] |= bit;
		}
	}
}

static inline __attribute__((always_inline)) void
visit(const struct tree *t, unsigned int level, uint64_t node,
      unsigned int words, struct pages_run *run,
      void (*below)(const struct tree *, unsigned int, uint64_t,
		    struct pages_run *))
{
	const uint64_t *at = t->level[level] + node * words;

	for (unsigned int w = 0; w < words; w++)
		for (uint64_t bits = at[w]; bits; bits &= bits - 1) {
			uint64_t child = (node * words + w) * 64 +
					 (uint64_t)__builtin_ctzll(bits);

			if (level)
				below(t, level - 1, child, run);
			else
				pages_run_add(run, child);
		}
}

static void visit64(const struct tree *t, unsigned int level, uint64_t node,
		    struct pages_run *run)
{
	visit(t, level, node, 1, run, visit64);
}

static void visit512(const struct tree *t, unsigned int level, uint64_t node,
		     struct pages_run *run)
{
	visit(t, level, node, 8, run, visit512);
}

static void *create64(uint64_t pages)
{
	return create(pages, 1);
}

static void *create512(uint64_t pages)
{
	return create(pages, 8);
}

static void mark64(void *r, const uint32_t *page, uint64_t n)
{
	mark(r, page, n, 64);
}

static void mark512(void *r, const uint32_t *page, uint64_t n)
{
	mark(r, page, n, 512);
}

static struct bench_found compact64(void *r)
{
	struct pages_run run = { .count = 0 };

	visit64(r, ((struct tree *)r)->levels - 1, 0, &run);
	return pages_run_end(&run);
}

static struct bench_found compact512(void *r)
{
	struct pages_run run = { .count = 0 };

	visit512(r, ((struct tree *)r)->levels - 1, 0, &run);
	return pages_run_end(&run);
}

static size_t bytes(const void *r)
{
	return ((const struct tree *)r)->total * 8;
}

const struct pages_rival pages_radix64 = { "radix-64 tree", create64, destroy,
					   clear, mark64, compact64, bytes };
const struct pages_rival pages_radix512 = { "radix-512 tree", create512,
					    destroy, clear, mark512,
					    compact512, bytes };
