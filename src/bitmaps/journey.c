/* SPDX-License-Identifier: BSD-2-Clause */
#include "bitmaps/journey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int journey_init(struct journey *j, uint64_t size_bytes, uint32_t shift,
		 const uint32_t *chunk_bytes, size_t count)
{
	uint64_t bits = cbt_bits_of(size_bytes, shift);
	int ret;

	*j = (struct journey){ .chunk_bytes = chunk_bytes,
			       .size_bytes = size_bytes };
	ret = cbt_image_init(&j->bits, bits, shift);
	j->chunks = calloc(count, sizeof(*j->chunks));
	if (!j->chunks)
		ret = -ENOMEM;
	for (; j->count < count && !ret; j->count += !ret)
		ret = cbt_chunks_init(&j->chunks[j->count], bits, shift,
				      chunk_bytes[j->count]);
	if (ret)
		journey_fini(j);
	return ret;
}

void journey_fini(struct journey *j)
{
	for (size_t i = 0; i < j->count; i++)
		cbt_chunks_fini(&j->chunks[i]);
	free(j->chunks);
	cbt_image_fini(&j->bits);
	*j = (struct journey){ .size_bytes = 0 };
}

/* One block is dirty from here on; was it not? */
static int set(struct journey *j, uint64_t bit, bool *changed)
{
	struct cbt_page *page = cbt_image_page(&j->bits,
					       (size_t)(bit / CBT_PAGE_BITS));
	uint64_t *word, mask = UINT64_C(1) << bit % 64;

	if (!page)
		return -ENOMEM;
	word = &page->words[bit % CBT_PAGE_BITS / 64];
	*changed = !(*word & mask);
	*word |= mask;
	j->dirty += *changed;
	return 0;
}

int journey_write(struct journey *j, uint64_t offset_bytes,
		  uint64_t length_bytes)
{
	uint32_t shift = j->bits.shift;
	uint64_t end;
	bool changed;

	if (!length_bytes || offset_bytes >= j->size_bytes)
		return 0;
	if (length_bytes > j->size_bytes - offset_bytes)
		length_bytes = j->size_bytes - offset_bytes;
	end = cbt_bits_of(offset_bytes + length_bytes, shift);
	for (uint64_t bit = offset_bytes >> shift; bit < end; bit++) {
		if (set(j, bit, &changed))
			return -ENOMEM;
		for (size_t i = 0; changed && i < j->count; i++)
			cbt_chunks_mark(&j->chunks[i], bit << shift, 1);
	}
	return 0;
}

void journey_clear(struct journey *j)
{
	cbt_image_clear(&j->bits);
	j->dirty = 0;
	for (size_t i = 0; i < j->count; i++)
		cbt_chunks_mark_all(&j->chunks[i]);
}

void journey_begin(struct journey *j, size_t which)
{
	cbt_chunks_mark_all(&j->chunks[which]);
}

/* Bits that are set in one chunk. */
static uint64_t ones(const struct journey *j, const struct cbt_chunks *k,
		     uint64_t chunk)
{
	uint64_t bit = chunk * k->bits_a_chunk, end = bit + k->bits_a_chunk;
	uint64_t n = 0;

	if (end > k->bits)
		end = k->bits;
	while (bit < end) {
		size_t page = (size_t)(bit / CBT_PAGE_BITS);
		uint64_t stop = ((uint64_t)page + 1) * CBT_PAGE_BITS;

		stop = stop < end ? stop : end;
		for (uint64_t b = bit; j->bits.pages[page] && b < stop; b += 64)
			n += (unsigned int)__builtin_popcountll(
				j->bits.pages[page]->words[b % CBT_PAGE_BITS /
							   64]);
		bit = stop;
	}
	return n;
}

static void add(const struct journey *j, const struct cbt_chunks *k,
		uint64_t chunk, bool *zeroes, struct journey_sent *s)
{
	uint64_t n = ones(j, k, chunk), left = k->bits - chunk * k->bits_a_chunk;
	uint64_t all = left < k->bits_a_chunk ? left : k->bits_a_chunk;

	if (n) {
		s->head_bytes += JOURNEY_HEAD;
		s->chunks++;
		if (n < all)
			s->bits_bytes += cbt_chunk_length(k, chunk);
	} else if (!*zeroes) {
		s->head_bytes += JOURNEY_HEAD;
	}
	*zeroes = !n;
}

struct journey_sent journey_left(const struct journey *j, size_t which)
{
	const struct cbt_chunks *k = &j->chunks[which];
	struct journey_sent s = { 0 };
	bool zeroes = false;
	uint64_t last = 0;
	struct cbt_run run = cbt_next_run(k->words, k->count, 0);

	for (; run.start < run.end;
	     run = cbt_next_run(k->words, k->count, run.end)) {
		if (run.start > last)
			zeroes = false;
		for (uint64_t c = run.start; c < run.end; c++)
			add(j, k, c, &zeroes, &s);
		last = run.end;
	}
	return s;
}

struct journey_sent journey_round(struct journey *j, size_t which)
{
	struct journey_sent s = journey_left(j, which);

	cbt_chunks_clear(&j->chunks[which]);
	return s;
}
