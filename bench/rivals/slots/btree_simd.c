/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A static B-tree, eight keys to a cache line, searched with AVX2: two
 * compares of four keys each level. Keys are kept with their sign bit turned,
 * because AVX2 compares signed. Each level above holds the first key of every
 * line below but the first of its parent.
 */
#include <stdlib.h>

#include "slotmap.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LINE 8
#define SIGN (UINT64_C(1) << 63)

struct btree {
	struct slot_array a;
	uint32_t levels;
	uint64_t *level[12]; /* 0 is the root; the last has all keys */
	uint64_t *keys;
	size_t key_bytes;
};

/* Lines in the level above one of @lines lines: fan-out 9. */
static uint32_t lines_above(uint32_t lines)
{
	return (lines + LINE) / (LINE + 1);
}

static void rebuild(struct btree *b)
{
	uint32_t count[12], lines = (b->a.n + LINE - 1) / LINE, total = 0;
	uint64_t *at;

	if (!lines)
		lines = 1;
	for (b->levels = 0;; lines = lines_above(lines)) {
		count[b->levels++] = lines;
		total += lines;
		if (lines == 1)
			break;
	}
	free(b->keys);
	b->key_bytes = (size_t)total * 64;
	if (posix_memalign((void **)&b->keys, 64, b->key_bytes))
		abort();
	at = b->keys;
	/* Root first; every unused key is above all. */
	for (uint32_t l = 0; l < b->levels; l++) {
		uint32_t below = count[b->levels - 1 - l];

		b->level[l] = at;
		for (uint32_t i = 0; i < below * LINE; i++)
			at[i] = INT64_MAX;
		at += (size_t)below * LINE;
	}
	for (uint32_t i = 0; i < b->a.n; i++)
		b->level[b->levels - 1][i] = b->a.slots[i].gpa_bytes ^ SIGN;
	for (uint32_t l = b->levels - 1; l-- > 0;) {
		uint32_t below = count[b->levels - 2 - l];

		for (uint32_t line = 0; line < below; line++) {
			uint32_t parent = line / (LINE + 1);
			uint32_t child = line % (LINE + 1);
			uint64_t first;
			uint32_t leaf = line;

			/* The first leaf below this line. */
			for (uint32_t d = l + 1; d + 1 < b->levels; d++)
				leaf *= LINE + 1;
			first = b->level[b->levels - 1][(size_t)leaf * LINE];
			if (child)
				b->level[l][parent * LINE + child - 1] = first;
		}
	}
}

__attribute__((target("avx2,popcnt"))) static inline uint32_t
rank(const uint64_t *line, __m256i x)
{
	__m256i a = _mm256_load_si256((const __m256i *)line);
	__m256i b = _mm256_load_si256((const __m256i *)(line + 4));
	__m256i above = _mm256_packs_epi32(_mm256_cmpgt_epi64(a, x),
					   _mm256_cmpgt_epi64(b, x));

	return LINE - (uint32_t)__builtin_popcount(
			      (unsigned int)_mm256_movemask_epi8(above)) /
			      4;
}

__attribute__((target("avx2,popcnt"))) static inline struct slot_span
span(void *map, uint64_t gpa)
{
	const struct btree *b = map;
	/*
	 * No slot starts in the last page's last byte; unused keys are there.
	 */
	uint64_t key = (gpa - (gpa == UINT64_MAX)) ^ SIGN;
	__m256i x = _mm256_set1_epi64x((long long)key);
	uint32_t line = 0;

	for (uint32_t l = 0; l + 1 < b->levels; l++)
		line = line * (LINE + 1) +
		       rank(b->level[l] + (size_t)line * LINE, x);
	line = line * LINE +
	       rank(b->level[b->levels - 1] + (size_t)line * LINE, x);
	if (line > b->a.n)
		line = b->a.n;
	return slot_span_of(b->a.slots, b->a.n, line, gpa);
}

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))), \
			     apply_to = function)
SLOTMAP_LOOKUPS(span)
#pragma clang attribute pop
#else
#pragma GCC push_options
#pragma GCC target("avx2,popcnt")
SLOTMAP_LOOKUPS(span)
#pragma GCC pop_options
#endif

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct btree *b = calloc(1, sizeof(*b));

	if (!b || slot_array_init(&b->a, slots, n)) {
		free(b);
		return NULL;
	}
	rebuild(b);
	return b;
}

static void destroy(void *map)
{
	struct btree *b = map;

	free(b->a.slots);
	free(b->keys);
	free(b);
}

static void insert(void *map, const struct tide_slot *slot)
{
	slot_array_insert(&((struct btree *)map)->a, slot);
	rebuild(map);
}

static void remove_slot(void *map, uint64_t gpa)
{
	slot_array_remove(&((struct btree *)map)->a, gpa);
	rebuild(map);
}

static size_t bytes(const void *map)
{
	const struct btree *b = map;

	return b->a.n * sizeof(struct tide_slot) + b->key_bytes;
}

const struct slotmap slotmap_btree_simd = { "B-tree, AVX2", create, destroy,
					    find, find_cached, insert,
					    remove_slot, bytes, 0 };
#else
const struct slotmap slotmap_btree_simd; /* no name: not here */
#endif
