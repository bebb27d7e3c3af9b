/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/chunks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool cbt_chunk_bytes_fit(uint64_t chunk_bytes)
{
	return chunk_bytes >= CBT_MIN_CHUNK &&
	       chunk_bytes <= CBT_MAX_CHUNK &&
	       !(chunk_bytes & (chunk_bytes - 1));
}

uint64_t cbt_chunk_span_bytes(uint64_t chunk_bytes, uint64_t granularity_bytes)
{
	return chunk_bytes * 8 * granularity_bytes;
}

static uint64_t chunks_of(const struct cbt_chunks *k, uint64_t bits)
{
	return bits / k->bits_a_chunk + !!(bits % k->bits_a_chunk);
}

int cbt_chunks_init(struct cbt_chunks *k, uint64_t bits, uint32_t shift,
		    uint32_t chunk_bytes)
{
	uint64_t span = cbt_chunk_span_bytes(chunk_bytes, UINT64_C(1) << shift);

	*k = (struct cbt_chunks){
		.span_shift = (uint32_t)__builtin_ctzll(span),
		.bits_a_chunk = chunk_bytes * UINT64_C(8),
	};
	return cbt_chunks_resize(k, bits);
}

void cbt_chunks_fini(struct cbt_chunks *k)
{
	free(k->words);
	*k = (struct cbt_chunks){ 0 };
}

static void set(struct cbt_chunks *k, uint64_t chunk)
{
	k->words[chunk / 64] |= UINT64_C(1) << chunk % 64;
}

int cbt_chunks_resize(struct cbt_chunks *k, uint64_t bits)
{
	uint64_t count = chunks_of(k, bits), old = k->count;
	uint64_t min = bits < k->bits ? bits : k->bits;
	size_t words = (size_t)(count / 64 + 1), had = (size_t)(old / 64 + 1);
	uint64_t *to;

	if (bits == k->bits && k->words)
		return 0;
	to = realloc(k->words, words * sizeof(*to));
	if (!to)
		return -ENOMEM;
	if (!k->words)
		had = 0;
	if (words > had)
		memset(to + had, 0, (words - had) * sizeof(*to));
	k->words = to;
	k->bits = bits;
	k->count = count;
	/* No bit lies behind the last chunk. */
	to[count / 64] &= (UINT64_C(1) << count % 64) - 1;
	if (count > old)
		cbt_set_bits(to, old, count);
	if (min % k->bits_a_chunk)
		set(k, min / k->bits_a_chunk);
	return 0;
}

void cbt_chunks_mark(struct cbt_chunks *k, uint64_t offset_bytes,
		     uint64_t length_bytes)
{
	uint64_t first = offset_bytes >> k->span_shift, end;

	if (!length_bytes || first >= k->count)
		return;
	end = ((offset_bytes + length_bytes - 1) >> k->span_shift) + 1;
	cbt_set_bits(k->words, first, end < k->count ? end : k->count);
}

void cbt_chunks_mark_all(struct cbt_chunks *k)
{
	cbt_set_bits(k->words, 0, k->count);
}

void cbt_chunks_mark_image(struct cbt_chunks *k, const struct cbt_image *m)
{
	for (size_t i = 0; i < m->page_count; i++) {
		uint64_t base = (uint64_t)i * CBT_PAGE_BITS;
		const uint64_t *words;
		struct cbt_run run;

		if (!m->pages[i])
			continue;
		words = m->pages[i]->words;
		for (run = cbt_next_run(words, CBT_PAGE_BITS, 0);
		     run.start < run.end;
		     run = cbt_next_run(words, CBT_PAGE_BITS, run.end))
			cbt_chunks_mark(k, (base + run.start) << m->shift,
					(run.end - run.start) << m->shift);
	}
}

static const uint64_t *page_of(const struct cbt_image *m, size_t i)
{
	static const uint64_t none[CBT_PAGE_WORDS];

	return i < m->page_count && m->pages[i] ? m->pages[i]->words : none;
}

void cbt_chunks_mark_changed(struct cbt_chunks *k, const struct cbt_image *a,
			     const struct cbt_image *b)
{
	size_t pages = a->page_count > b->page_count ? a->page_count
						     : b->page_count;

	for (size_t i = 0; i < pages; i++) {
		const uint64_t *x = page_of(a, i), *y = page_of(b, i);
		uint64_t base = (uint64_t)i * CBT_PAGE_BITS;

		for (size_t w = 0; w < CBT_PAGE_WORDS; w++) {
			uint64_t chunk = (base + w * 64) / k->bits_a_chunk;

			/* A word lies in one chunk: the least has four. */
			if (x[w] != y[w] && chunk < k->count)
				set(k, chunk);
		}
	}
}

bool cbt_chunks_has(const struct cbt_chunks *k, uint64_t chunk)
{
	return k->words[chunk / 64] >> chunk % 64 & 1;
}

uint64_t cbt_chunks_count(const struct cbt_chunks *k)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= k->count / 64; i++)
		n += (unsigned int)__builtin_popcountll(k->words[i]);
	return n;
}

void cbt_chunks_clear(struct cbt_chunks *k)
{
	memset(k->words, 0, (size_t)(k->count / 64 + 1) * sizeof(*k->words));
}

uint64_t cbt_chunk_length(const struct cbt_chunks *k, uint64_t chunk)
{
	uint64_t left = k->bits - chunk * k->bits_a_chunk;

	return ((left < k->bits_a_chunk ? left : k->bits_a_chunk) + 7) / 8;
}
