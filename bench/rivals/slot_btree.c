/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A static B-tree of starts with nodes of 16 keys, each searched at once with
 * AVX2: four comparisons, no branches. The leaves are the sorted array; each
 * node above has the first keys of all its children but the leftmost. Rebuilt
 * at every change. Keys have their top bit turned, since AVX2 compares signed.
 */
#include "slot_sorted.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define KEYS 16u
#define TURN (UINT64_C(1) << 63)

/* Nodes of each level, lowest first; returns their number. */
static unsigned int levels(uint32_t count, uint32_t *nodes)
{
	unsigned int n = 0;

	nodes[n++] = count ? (count + KEYS - 1) / KEYS : 1;
	for (; nodes[n - 1] > 1; n++)
		nodes[n] = (nodes[n - 1] + KEYS) / (KEYS + 1);
	return n;
}

static void rebuild(struct sorted *s)
{
	uint32_t nodes[SORTED_LEVELS];
	uint32_t leaves_of = 1;		/* leaves below a child */
	unsigned int n = levels(s->count, nodes);
	uint64_t *at = s->key;

	s->levels = n;
	s->level[0] = s->key;
	for (uint32_t i = 0; i < nodes[0] * KEYS; i++)
		*at++ = (i < s->count ? s->slot[i].gpa_bytes : UINT64_MAX) ^
			TURN;
	for (unsigned int l = 1; l < n; l++, leaves_of *= KEYS + 1) {
		s->level[l] = at;
		for (uint32_t i = 0; i < nodes[l]; i++)
			for (uint32_t k = 1; k <= KEYS; k++) {
				uint64_t slot = (uint64_t)KEYS * leaves_of *
						(i * (KEYS + 1) + k);

				*at++ = (slot < s->count
					     ? s->slot[slot].gpa_bytes
					     : UINT64_MAX) ^ TURN;
			}
	}
	s->key_bytes = (size_t)(at - s->key) * sizeof(*at);
}

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx2,popcnt")))
static inline TARGET uint32_t node_le(const uint64_t *key, uint64_t x)
{
	__m256i v = _mm256_set1_epi64x((long long)(x ^ TURN));
	const __m256i *k = (const __m256i *)key;
	__m256i a = _mm256_cmpgt_epi64(_mm256_load_si256(k), v);
	__m256i b = _mm256_cmpgt_epi64(_mm256_load_si256(k + 1), v);
	__m256i c = _mm256_cmpgt_epi64(_mm256_load_si256(k + 2), v);
	__m256i d = _mm256_cmpgt_epi64(_mm256_load_si256(k + 3), v);
	__m256i m = _mm256_packs_epi16(_mm256_packs_epi32(a, b),
				       _mm256_packs_epi32(c, d));
	uint32_t above = (uint32_t)_mm256_movemask_epi8(m);

	return KEYS - (uint32_t)__builtin_popcount(above) / 2;
}
#else
#define TARGET
static inline uint32_t node_le(const uint64_t *key, uint64_t x)
{
	uint32_t n = 0;

	for (unsigned int i = 0; i < KEYS; i++)
		n += (key[i] ^ TURN) <= x;
	return n;
}
#endif

static inline TARGET uint32_t count_le(const struct sorted *s, uint64_t gpa)
{
	uint32_t node = 0;

	if (!s->count)
		return 0;
	/* Starts are multiples of a page; so nothing equals the padding. */
	gpa &= ~UINT64_C(4095);
	for (unsigned int l = s->levels - 1; l; l--)
		node = node * (KEYS + 1) +
		       node_le(s->level[l] + node * KEYS, gpa);
	return node * KEYS + node_le(s->level[0] + node * KEYS, gpa);
}

static int insert(void *map, const struct tide_slot *slot)
{
	int rc = sorted_put(map, slot);

	if (!rc)
		rebuild(map);
	return rc;
}

static void drop(void *map, uint64_t gpa)
{
	sorted_drop(map, gpa);
	rebuild(map);
}

static TARGET const struct tide_slot *find(const void *map, uint64_t gpa)
{
	return sorted_slot(map, count_le(map, gpa), gpa);
}

static TARGET const struct tide_slot *span(const void *map, uint64_t gpa,
					   struct slot_span *span)
{
	return sorted_span(map, count_le(map, gpa), gpa, span);
}

const struct slot_rival slot_btree = {
	.name = "b-tree simd", .create = sorted_create,
	.destroy = sorted_destroy, .insert = insert, .remove = drop,
	.find = find, .span = span, .bytes = sorted_bytes,
};
