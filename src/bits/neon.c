/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels for AArch64 with Advanced SIMD: two words at a time. */
#include <arm_neon.h>

#define EDGE_TARGET
#include "bits/decode.h"
#include "bits/kernels.h"

TIDE__INLINE uint64x2_t load_or(const uint64_t *a, const uint64_t *b)
{
	return vorrq_u64(vld1q_u64(a), vld1q_u64(b));
}

static uint64_t block_edges(const uint64_t *a, const uint64_t *b, uint64_t *e)
{
	uint64_t mask = 0;

	for (int i = 0; i < 64; i += 2) {
		uint64x2_t u = load_or(a + i, b + i);
		uint64x2_t before = load_or(a + i - 1, b + i - 1);
		uint64x2_t edge = veorq_u64(u,
		    vorrq_u64(vshlq_n_u64(u, 1), vshrq_n_u64(before, 63)));

		vst1q_u64(e + i, edge);
		mask |= (uint64_t)(e[i] != 0) << i |
			(uint64_t)(e[i + 1] != 0) << (i + 1);
	}
	return mask;
}

/* All bits are as the one before the block is. */
static int block_is_flat(const uint64_t *a, const uint64_t *b)
{
	uint64x2_t any = load_or(a, b), all = any;

	for (int i = 2; i < 64; i += 2) {
		uint64x2_t u = load_or(a + i, b + i);

		any = vorrq_u64(any, u);
		all = vandq_u64(all, u);
	}
	return (a[-1] | b[-1]) >> 63 ?
	       !~(vgetq_lane_u64(all, 0) & vgetq_lane_u64(all, 1)) :
	       !(vgetq_lane_u64(any, 0) | vgetq_lane_u64(any, 1));
}

static size_t find_edges(const uint64_t *a, const uint64_t *b, size_t blocks,
			 uint64_t *e, uint64_t *mask)
{
	*mask = 0;
	for (size_t k = 0; k < blocks; k++, a += 64, b += 64) {
		/* Where the last one had edges, the first likely has, too. */
		if (k && block_is_flat(a, b))
			continue;
		*mask = block_edges(a, b, e);
		if (*mask)
			return k;
	}
	return blocks;
}

static uint64_t *decode(const uint64_t *e, uint64_t *mask, uint64_t page,
			uint64_t *out, const uint64_t *limit)
{
	return edge_decode(e, mask, page, out, limit);
}

static void pairs(uint64_t *flat, size_t ranges)
{
	for (size_t i = 0; i < ranges; i++)
		flat[2 * i + 1] -= flat[2 * i];
}

static uint64_t count(const uint64_t *words, size_t n)
{
	return word_count(words, n);
}

static void merge(uint64_t *into, const uint64_t *from, size_t n)
{
	size_t i = 0;

	for (; i + 2 <= n; i += 2)
		vst1q_u64(into + i, load_or(into + i, from + i));
	for (; i < n; i++)
		into[i] |= from[i];
}

static size_t find_first(const uint64_t *words, size_t n)
{
	size_t i = 0;

	while (i < n && !words[i])
		i++;
	return i;
}

static void fill(uint64_t *words, size_t n)
{
	size_t i = 0;

	for (; i + 2 <= n; i += 2)
		vst1q_u64(words + i, vdupq_n_u64(~UINT64_C(0)));
	for (; i < n; i++)
		words[i] = ~UINT64_C(0);
}

/* Eight ages: a bit each, lowest first. */
static uint64_t above_8(const uint16_t *age, uint16x8_t limit)
{
	static const uint16_t weights[] = { 1, 2, 4, 8, 16, 32, 64, 128 };

	return vaddvq_u16(vandq_u16(vcgtq_u16(vld1q_u16(age), limit),
				    vld1q_u16(weights)));
}

static uint64_t above(const uint16_t *age, uint16_t limit, uint64_t *words,
		      size_t n)
{
	const uint16x8_t min = vdupq_n_u16(limit);
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++) {
		words[i] = 0;
		for (unsigned int k = 0; k < 64; k += 8, age += 8)
			words[i] |= above_8(age, min) << k;
		any |= words[i];
	}
	return any;
}

const struct tide__kernels tide__kernels_neon = {
	"neon", find_edges, decode, pairs, count, merge, find_first,
	tide__busy_scalar, fill, above,
};
