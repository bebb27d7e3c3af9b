/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arithmetic on one 64-bit word of a bitmap. Bit i of word w is bit 64w + i.
 */
#ifndef TIDE_BITS_WORD_H
#define TIDE_BITS_WORD_H

#include <stdint.h>

#define TIDE__WORD_BITS 64u

/* Words that hold @bits bits. */
static inline uint64_t tide__words_for(uint64_t bits)
{
	return bits / TIDE__WORD_BITS + (bits % TIDE__WORD_BITS != 0);
}

/* Bits [from, 64): what is left of a word from bit @from (0 to 63) on. */
static inline uint64_t tide__mask_from(unsigned int from)
{
	return ~UINT64_C(0) << from;
}

/* Bits [0, below): @below 0 to 64. */
static inline uint64_t tide__mask_below(uint64_t below)
{
	return below >= TIDE__WORD_BITS ? ~UINT64_C(0)
					: (UINT64_C(1) << below) - 1;
}

/*
 * Where share @part of @parts of @total begins (and @part - 1 ends). Splits the
 * remainder, so that no product leaves 64 bits: @parts squared is below that.
 */
static inline uint64_t tide__share_start(uint64_t total, unsigned int part,
					 unsigned int parts)
{
	return total / parts * part + total % parts * part / parts;
}

/* Lowest set bit; @word is not 0. */
static inline unsigned int tide__lowest_bit(uint64_t word)
{
	return (unsigned int)__builtin_ctzll(word);
}

static inline unsigned int tide__count_bits(uint64_t word)
{
	return (unsigned int)__builtin_popcountll(word);
}

#endif
