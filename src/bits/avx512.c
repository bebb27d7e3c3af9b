/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernels for AVX-512 with VBMI2 (Ice Lake, Zen 4 and later): eight words at a
 * time. The word before comes from the vector before, so that no load crosses a
 * line; one funnel shift makes it u << 1 | before >> 63. Edges become numbers
 * by compressing the bytes 0 to 63 with the word as the mask: eight edges are
 * one store, even if there are fewer, without a branch.
 */
#include <immintrin.h>

#define AVX512                                                                 \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,bmi,"     \
			      "bmi2,popcnt,lzcnt")))
#define EDGE_TARGET AVX512
#include "bits/decode.h"
#include "bits/kernels.h"

/*
 * Where edges are found the loop stops for them, and the processor, which sees
 * both streams as they are read, has not the time to run ahead: it is asked to,
 * a block for each. Where there are none asking costs a tenth and gains
 * nothing.
 */
#define AHEAD_WORDS 512

TIDE__INLINE __m512i load_or(const uint64_t *a, const uint64_t *b)
{
	return _mm512_or_si512(_mm512_loadu_si512(a), _mm512_loadu_si512(b));
}

/* @last: the vector before, of which the last word counts; moves on. */
TIDE__INLINE uint64_t block_edges(const uint64_t *a, const uint64_t *b,
				  uint64_t *e, __m512i *last)
{
	__m512i before = *last;
	uint64_t mask = 0;

	for (int i = 0; i < 64; i += 8) {
		__m512i u = load_or(a + i, b + i);
		__m512i edge = _mm512_xor_si512(
		    u, _mm512_shldi_epi64(
			   u, _mm512_alignr_epi64(u, before, 7), 1));

		_mm512_storeu_si512(e + i, edge);
		mask |= (uint64_t)_mm512_test_epi64_mask(edge, edge) << i;
		before = u;
	}
	*last = before;
	return mask;
}

TIDE__INLINE void ask_ahead(const uint64_t *a, const uint64_t *b)
{
	for (int i = AHEAD_WORDS; i < AHEAD_WORDS + 64; i += 8) {
		_mm_prefetch((const char *)(a + i), _MM_HINT_T0);
		_mm_prefetch((const char *)(b + i), _MM_HINT_T0);
	}
}

AVX512 static size_t find_edges(const uint64_t *a, const uint64_t *b,
				size_t blocks, uint64_t *e, uint64_t *mask)
{
	__m512i last = _mm512_set1_epi64((long long)(a[-1] | b[-1]));

	*mask = 0;
	for (size_t k = 0; k < blocks; k++, a += 64, b += 64) {
		if (!k)
			ask_ahead(a, b);
		*mask = block_edges(a, b, e, &last);
		if (*mask)
			return k;
	}
	return blocks;
}

/* The bytes of @at, which are 0 to 63, as eight page numbers. */
TIDE__INLINE void put_eight(uint64_t *out, __m128i at, __m512i page)
{
	_mm512_storeu_si512(out,
			    _mm512_add_epi64(page, _mm512_cvtepu8_epi64(at)));
}

TIDE__INLINE uint64_t *put_word(uint64_t e, uint64_t page, __m512i bytes,
				uint64_t *out)
{
	__m512i at = _mm512_maskz_compress_epi8(e, bytes);
	__m512i base = _mm512_set1_epi64((long long)page);
	unsigned int n = (unsigned int)_mm_popcnt_u64(e);

	put_eight(out, _mm512_castsi512_si128(at), base);
	if (__builtin_expect(n > 8, 0)) {
		__m128i low = _mm512_castsi512_si128(at);

		put_eight(out + 8, _mm_srli_si128(low, 8), base);
		low = _mm512_extracti32x4_epi32(at, 1);
		put_eight(out + 16, low, base);
		if (n > 24) {
			put_eight(out + 24, _mm_srli_si128(low, 8), base);
			low = _mm512_extracti32x4_epi32(at, 2);
			put_eight(out + 32, low, base);
			put_eight(out + 40, _mm_srli_si128(low, 8), base);
			low = _mm512_extracti32x4_epi32(at, 3);
			if (n > 48) {
				put_eight(out + 48, low, base);
				put_eight(out + 56, _mm_srli_si128(low, 8),
					  base);
			}
		}
	}
	return out + n;
}

/* 0, 1, 2 ... 63 */
TIDE__INLINE __m512i all_bytes(void)
{
	static const unsigned char count[64] = {
		0,  1,	2,  3,	4,  5,	6,  7,	8,  9,	10, 11, 12,
		13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
		26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38,
		39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51,
		52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63,
	};

	return _mm512_loadu_si512(count);
}

AVX512 static uint64_t *decode(const uint64_t *e, uint64_t *mask,
			       uint64_t page, uint64_t *out,
			       const uint64_t *limit)
{
	const __m512i bytes = all_bytes();
	uint64_t left = *mask;

	while (left && out <= limit) {
		uint64_t i = edge_ctz(left);

		left &= left - 1;
		out = put_word(e[i], page + 64 * i, bytes, out);
	}
	*mask = left;
	return out;
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

/* See there: avx2.c. */
AVX512 static uint64_t busy(const uint64_t *words, size_t n)
{
	uint64_t found = 0;

	for (unsigned int i = 0; i < n; i += 8) {
		__m512i v = _mm512_loadu_si512(words + i);

		found |= (uint64_t)_mm512_test_epi64_mask(v, v) << i;
	}
	return found;
}

AVX512 static void fill(uint64_t *words, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		_mm512_storeu_si512(words + i, _mm512_set1_epi64(-1));
	for (; i < n; i++)
		words[i] = ~UINT64_C(0);
}

AVX512 static uint64_t above(const uint16_t *age, uint16_t limit,
			     uint64_t *words, size_t n)
{
	const __m512i min = _mm512_set1_epi16((short)limit);
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++, age += 64) {
		words[i] = _mm512_cmpgt_epu16_mask(_mm512_loadu_si512(age),
						   min) |
			   (uint64_t)_mm512_cmpgt_epu16_mask(
			       _mm512_loadu_si512(age + 32), min) << 32;
		any |= words[i];
	}
	return any;
}

const struct tide__kernels tide__kernels_avx512 = {
	"avx512", find_edges, decode, pairs, count, merge, find_first,
	busy, fill, above,
};
