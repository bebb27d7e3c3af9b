/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Edge words to page numbers, for the CPUs whose count-trailing-zeros of 0 is
 * defined as the word size: the bodies that the vector kernels share. Elements
 * past the last edge of a word get garbage, which the next word overwrites.
 */
#ifndef TIDE_BITS_DECODE_H
#define TIDE_BITS_DECODE_H

#include <stddef.h>
#include <stdint.h>

/* The including file says for which instructions these are compiled. */
#define TIDE__INLINE static inline __attribute__((always_inline)) EDGE_TARGET

/*
 * On x86 by intrinsic: from "e ? ctz : 64" gcc 12 makes a branch for each
 * edge, the very thing that this file exists to avoid.
 */
TIDE__INLINE uint64_t edge_ctz(uint64_t e)
{
#ifdef __x86_64__
	return __builtin_ia32_tzcnt_u64(e);
#else
	return e ? (uint64_t)__builtin_ctzll(e) : 64u;
#endif
}

TIDE__INLINE uint64_t edge_put(uint64_t e, uint64_t page, uint64_t *out,
			       unsigned int from, unsigned int to)
{
	for (unsigned int i = from; i < to; i++) {
		out[i] = page + edge_ctz(e);
		e &= e - 1;
	}
	return e;
}

/*
 * Steps of 4, 8 and 16: with the few runs a word that real logs have, the
 * branches are almost always predicted.
 */
TIDE__INLINE uint64_t *edge_decode_word(uint64_t e, uint64_t page,
					uint64_t *out)
{
	unsigned int n = (unsigned int)__builtin_popcountll(e);

	e = edge_put(e, page, out, 0, 4);
	if (__builtin_expect(n > 4, 0)) {
		e = edge_put(e, page, out, 4, 8);
		if (n > 8) {
			e = edge_put(e, page, out, 8, 16);
			for (unsigned int i = 16; i < n; i += 8)
				e = edge_put(e, page, out + i, 0, 8);
		}
	}
	return out + n;
}

TIDE__INLINE uint64_t *edge_decode(const uint64_t *e, uint64_t *mask,
				   uint64_t page, uint64_t *out,
				   const uint64_t *limit)
{
	uint64_t left = *mask;

	while (left && out <= limit) {
		uint64_t i = edge_ctz(left);

		left &= left - 1;
		out = edge_decode_word(e[i], page + 64 * i, out);
	}
	*mask = left;
	return out;
}

TIDE__INLINE uint64_t word_count(const uint64_t *words, size_t n)
{
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += (unsigned int)__builtin_popcountll(words[i]);
	return count;
}

#endif
