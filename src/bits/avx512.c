/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernels for AVX-512F: eight words at a time, and the mask of words with
 * edges comes from one test instruction.
 */
#include <immintrin.h>

#define AVX512 \
	__attribute__((target("avx512f,avx512vl,bmi,bmi2,popcnt,lzcnt")))
#define EDGE_TARGET AVX512
#include "bits/decode.h"
#include "bits/kernels.h"


TIDE__INLINE __m512i load_or(const uint64_t *a, const uint64_t *b)
{
	return _mm512_or_si512(_mm512_loadu_si512(a), _mm512_loadu_si512(b));
}

TIDE__INLINE uint64_t block_edges(const uint64_t *a, const uint64_t *b,
					 uint64_t *e)
{
	uint64_t mask = 0;

	for (int i = 0; i < 64; i += 8) {
		__m512i u = load_or(a + i, b + i);
		__m512i before = load_or(a + i - 1, b + i - 1);
		__m512i edge = _mm512_xor_si512(
		    u, _mm512_or_si512(_mm512_slli_epi64(u, 1),
				       _mm512_srli_epi64(before, 63)));

		_mm512_storeu_si512(e + i, edge);
		mask |= (uint64_t)_mm512_test_epi64_mask(edge, edge) << i;
	}
	return mask;
}

AVX512 static size_t find_edges(const uint64_t *a, const uint64_t *b,
				size_t blocks, uint64_t *e, uint64_t *mask)
{
	*mask = 0;
	for (size_t k = 0; k < blocks; k++, a += 64, b += 64) {
		*mask = block_edges(a, b, e);
		if (*mask)
			return k;
	}
	return blocks;
}

AVX512 static uint64_t *decode(const uint64_t *e, uint64_t *mask,
			       uint64_t page, uint64_t *out,
			       const uint64_t *limit)
{
	return edge_decode(e, mask, page, out, limit);
}

AVX512 static void pairs(uint64_t *flat, size_t ranges)
{
	size_t i = 0;

	for (; i + 4 <= ranges; i += 4) {
		__m512i v = _mm512_loadu_si512(flat + 2 * i);
		__m512i starts = _mm512_maskz_permutex_epi64(0xaa, v, 0xa0);

		_mm512_storeu_si512(flat + 2 * i,
				    _mm512_sub_epi64(v, starts));
	}
	for (; i < ranges; i++)
		flat[2 * i + 1] -= flat[2 * i];
}

AVX512 static uint64_t count(const uint64_t *words, size_t n)
{
	return word_count(words, n);
}

AVX512 static void merge(uint64_t *into, const uint64_t *from, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm512_storeu_si512(into + i, load_or(into + i, from + i));
	for (; i < n; i++)
		into[i] |= from[i];
}

AVX512 static size_t find_first(const uint64_t *words, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		__m512i v = _mm512_loadu_si512(words + i);

		if (_mm512_test_epi64_mask(v, v))
			break;
	}
	while (i < n && !words[i])
		i++;
	return i;
}

AVX512 static void fill(uint64_t *words, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm512_storeu_si512(words + i, _mm512_set1_epi64(-1));
	for (; i < n; i++)
		words[i] = ~UINT64_C(0);
}

/*
 * Ages of 16 bits would need AVX-512BW to be compared as such; widened to 32
 * bits, the foundation does.
 */
AVX512 static uint64_t above(const uint16_t *age, uint16_t limit,
			     uint64_t *words, size_t n)
{
	const __m512i least = _mm512_set1_epi32(limit);
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++) {
		words[i] = 0;
		for (unsigned int k = 0; k < 64; k += 16, age += 16) {
			__m512i v = _mm512_cvtepu16_epi32(
			    _mm256_loadu_si256((const __m256i *)age));

			words[i] |= (uint64_t)_mm512_cmpgt_epi32_mask(v, least)
				    << k;
		}
		any |= words[i];
	}
	return any;
}

const struct tide__kernels tide__kernels_avx512 = {
	"avx512", find_edges, decode, pairs, count, merge, find_first,
	fill, above,
};
