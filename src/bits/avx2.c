/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels for AVX2 with BMI and POPCNT: four words at a time. */
#include <immintrin.h>

#define AVX2 \
	__attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define EDGE_TARGET AVX2
#include "bits/decode.h"
#include "bits/kernels.h"
#include "bits/word.h"

/* Far enough ahead to cover memory's latency; why not always: avx512.c. */
#define AHEAD_WORDS 512

TIDE__INLINE __m256i load_or(const uint64_t *a, const uint64_t *b)
{
	return _mm256_or_si256(_mm256_loadu_si256((const __m256i *)a),
			       _mm256_loadu_si256((const __m256i *)b));
}

/* All bits are as the one before the block is. */
TIDE__INLINE int block_is_flat(const uint64_t *a, const uint64_t *b)
{
	__m256i any = load_or(a, b), all = any;

	for (int i = 4; i < 64; i += 4) {
		__m256i u = load_or(a + i, b + i);

		any = _mm256_or_si256(any, u);
		all = _mm256_and_si256(all, u);
	}
	return (a[-1] | b[-1]) >> 63 ?
	       _mm256_testc_si256(all, _mm256_set1_epi64x(-1)) :
	       _mm256_testz_si256(any, any);
}

TIDE__INLINE uint64_t block_edges(const uint64_t *a, const uint64_t *b,
				       uint64_t *e)
{
	const __m256i zero = _mm256_setzero_si256();
	uint64_t mask = 0;

	for (int i = 0; i < 64; i += 4) {
		__m256i u = load_or(a + i, b + i);
		__m256i before = load_or(a + i - 1, b + i - 1);
		__m256i edge = _mm256_xor_si256(
		    u, _mm256_or_si256(_mm256_slli_epi64(u, 1),
				       _mm256_srli_epi64(before, 63)));
		__m256i empty = _mm256_cmpeq_epi64(edge, zero);
		int lanes = _mm256_movemask_pd(_mm256_castsi256_pd(empty));

		_mm256_storeu_si256((__m256i *)(e + i), edge);
		mask |= (uint64_t)(~lanes & 15) << i;
	}
	return mask;
}

TIDE__INLINE void ask_ahead(const uint64_t *a, const uint64_t *b)
{
	for (int i = AHEAD_WORDS; i < AHEAD_WORDS + 64; i += 8) {
		_mm_prefetch((const char *)(a + i), _MM_HINT_T0);
		_mm_prefetch((const char *)(b + i), _MM_HINT_T0);
	}
}

AVX2 static size_t find_edges(const uint64_t *a, const uint64_t *b,
			      size_t blocks, uint64_t *e, uint64_t *mask)
{
	*mask = 0;
	for (size_t k = 0; k < blocks; k++, a += 64, b += 64) {
		if (!k)
			ask_ahead(a, b);
		/* Where the last one had edges, the first likely has, too. */
		if (k && block_is_flat(a, b))
			continue;
		*mask = block_edges(a, b, e);
		if (*mask)
			return k;
	}
	return blocks;
}

AVX2 static uint64_t *decode(const uint64_t *e, uint64_t *mask, uint64_t page,
			     uint64_t *out, const uint64_t *limit)
{
	return edge_decode(e, mask, page, out, limit);
}

AVX2 static void pairs(uint64_t *flat, size_t ranges)
{
	size_t i = 0;

	for (; i + 2 <= ranges; i += 2) {
		__m256i *at = (__m256i *)(flat + 2 * i);
		__m256i v = _mm256_loadu_si256(at);

		/* (s0, e0, s1, e1) - (0, s0, 0, s1) */
		_mm256_storeu_si256(
		    at, _mm256_sub_epi64(v, _mm256_slli_si256(v, 8)));
	}
	if (i < ranges)
		flat[2 * i + 1] -= flat[2 * i];
}

AVX2 static uint64_t count(const uint64_t *words, size_t n)
{
	return word_count(words, n);
}

AVX2 static void merge(uint64_t *into, const uint64_t *from, size_t n)
{
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		_mm256_storeu_si256((__m256i *)(into + i),
				    load_or(into + i, from + i));
	for (; i < n; i++)
		into[i] |= from[i];
}

AVX2 static size_t find_first(const uint64_t *words, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		__m256i any = load_or(words + i, words + i + 4);

		if (!_mm256_testz_si256(any, any))
			break;
	}
	while (i < n && !words[i])
		i++;
	return i;
}

/*
 * Loads of this machine stay behind atomic operations that precede them, and
 * each aligned word of a vector is read whole.
 */
AVX2 static uint64_t busy(const uint64_t *words, size_t n)
{
	const __m256i zero = _mm256_setzero_si256();
	uint64_t idle = 0;

	for (unsigned int i = 0; i < n; i += 4) {
		__m256i v = _mm256_loadu_si256((const __m256i *)(words + i));
		__m256d is = _mm256_castsi256_pd(_mm256_cmpeq_epi64(v, zero));

		idle |= (uint64_t)(unsigned int)_mm256_movemask_pd(is) << i;
	}
	return ~idle & tide__mask_below(n);
}

AVX2 static void fill(uint64_t *words, size_t n)
{
	const __m256i ones = _mm256_set1_epi64x(-1);
	size_t i = 0;

	for (; i + 4 <= n; i += 4)
		_mm256_storeu_si256((__m256i *)(words + i), ones);
	for (; i < n; i++)
		words[i] = ~UINT64_C(0);
}

/* 32 ages: those above @limit. Unsigned compare by subtraction to zero. */
TIDE__INLINE uint32_t above_32(const uint16_t *age, __m256i limit)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i a = _mm256_loadu_si256((const __m256i *)age);
	__m256i b = _mm256_loadu_si256((const __m256i *)(age + 16));
	__m256i packed = _mm256_packs_epi16(
	    _mm256_cmpeq_epi16(_mm256_subs_epu16(a, limit), zero),
	    _mm256_cmpeq_epi16(_mm256_subs_epu16(b, limit), zero));

	/* Packing works in halves: bring them back into order. */
	packed = _mm256_permute4x64_epi64(packed, 0xd8);
	return ~(uint32_t)_mm256_movemask_epi8(packed);
}

AVX2 static uint64_t above(const uint16_t *age, uint16_t limit,
			   uint64_t *words, size_t n)
{
	const __m256i min = _mm256_set1_epi16((short)limit);
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++, age += 64) {
		words[i] = above_32(age, min) |
			   (uint64_t)above_32(age + 32, min) << 32;
		any |= words[i];
	}
	return any;
}

const struct tide__kernels tide__kernels_avx2 = {
	"avx2", find_edges, decode, pairs, count, merge, find_first,
	busy, fill, above,
};
