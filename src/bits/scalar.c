/* SPDX-License-Identifier: BSD-2-Clause */
/* The scalar kernels: the reference that every other one is tested against. */
#include "base/atomic.h"
#include "bits/kernels.h"
#include "bits/word.h"

static size_t find_edges(const uint64_t *a, const uint64_t *b, size_t blocks,
			 uint64_t *e, uint64_t *mask)
{
	uint64_t before = a[-1] | b[-1], found = 0;

	for (size_t k = 0; k < blocks; k++) {
		for (unsigned int i = 0; i < TIDE__BLOCK_WORDS; i++) {
			uint64_t u = a[i] | b[i];

			e[i] = u ^ (u << 1 | before >> 63);
			found |= (uint64_t)(e[i] != 0) << i;
			before = u;
		}
		if (found) {
			*mask = found;
			return k;
		}
		a += TIDE__BLOCK_WORDS;
		b += TIDE__BLOCK_WORDS;
	}
	*mask = 0;
	return blocks;
}

static uint64_t *decode(const uint64_t *e, uint64_t *mask, uint64_t page,
			uint64_t *out, const uint64_t *limit)
{
	while (*mask && out <= limit) {
		unsigned int i = tide__lowest_bit(*mask);

		for (uint64_t left = e[i]; left; left &= left - 1)
			*out++ = page + i * TIDE__WORD_BITS +
				 tide__lowest_bit(left);
		*mask &= *mask - 1;
	}
	return out;
}

static void pairs(uint64_t *flat, size_t ranges)
{
	for (size_t i = 0; i < ranges; i++)
		flat[2 * i + 1] -= flat[2 * i];
}

static uint64_t count(const uint64_t *words, size_t n)
{
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += tide__count_bits(words[i]);
	return total;
}

static void merge(uint64_t *into, const uint64_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		into[i] |= from[i];
}

static size_t find_first(const uint64_t *words, size_t n)
{
	size_t i = 0;

	while (i < n && !words[i])
		i++;
	return i;
}

uint64_t tide__busy_scalar(const uint64_t *words, size_t n)
{
	uint64_t busy = 0;

	for (unsigned int i = 0; i < n; i++)
		busy |= (uint64_t)(tide__load_seqcst(&words[i]) != 0) << i;
	return busy;
}

static void fill(uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		words[i] = ~UINT64_C(0);
}

static uint64_t above(const uint16_t *age, uint16_t limit, uint64_t *words,
		      size_t n)
{
	uint64_t any = 0;

	for (size_t i = 0; i < n; i++, age += TIDE__WORD_BITS) {
		words[i] = 0;
		for (unsigned int k = 0; k < TIDE__WORD_BITS; k++)
			words[i] |= (uint64_t)(age[k] > limit) << k;
		any |= words[i];
	}
	return any;
}

const struct tide__kernels tide__kernels_scalar = {
	"scalar", find_edges, decode, pairs, count, merge, find_first,
	tide__busy_scalar, fill, above,
};
