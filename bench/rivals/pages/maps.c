/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty set, and the rivals that are one flat bitmap: the crude one of
 * 2016, byte by byte, and one that counts trailing zeros of 64-bit words.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/rivals/flat.h"
#include "pages.h"
#include "tidemark/dirty.h"

#define BATCH 1024

/* --- the dirty set --- */

static void *set_create(uint64_t pages)
{
	struct tide_set *set;

	return tide_set_create(&set, pages, NULL) ? NULL : set;
}

static void set_destroy(void *r)
{
	tide_set_destroy(r);
}

static void set_clear(void *r)
{
	struct tide_epoch *epoch;

	if (!tide_set_cut(r, &epoch, NULL))
		tide_epoch_commit(epoch);
}

static void set_mark(void *r, const uint32_t *page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		tide_set_mark(r, page[i]);
}

static struct bench_found set_compact(void *r)
{
	struct tide_range range[BATCH];
	struct bench_found f = { 0 };
	uint64_t cursor = 0;
	size_t n;

	while ((n = tide_set_next(r, &cursor, range, BATCH)))
		for (size_t i = 0; i < n; i++)
			bench_add(&f, range[i].first, range[i].count);
	return f;
}

/* The live tree; the one for an epoch is another bitmap's worth. */
static size_t set_bytes(const void *r)
{
	uint64_t words = (tide_set_pages(r) + 63) / 64, bytes = words * 8;

	while (words > 1024) {
		words = (words + 63) / 64;
		bytes += words * 8;
	}
	return bytes;
}

const struct pages_rival pages_tidemark = { "tidemark", set_create,
					    set_destroy, set_clear, set_mark,
					    set_compact, set_bytes };

/* --- flat bitmaps --- */

struct map {
	uint64_t words;
	uint64_t *word;
};

static void *map_create(uint64_t pages)
{
	struct map *m = malloc(sizeof(*m));

	if (m) {
		m->words = (pages + 63) / 64;
		m->word = bench_memory(m->words * 8, false);
	}
	return m;
}

static void map_destroy(void *r)
{
	struct map *m = r;

	bench_free(m->word, m->words * 8);
	free(m);
}

static void map_clear(void *r)
{
	memset(((struct map *)r)->word, 0, ((struct map *)r)->words * 8);
}

static void map_mark(void *r, const uint32_t *page, uint64_t n)
{
	uint64_t *word = ((struct map *)r)->word;

	for (uint64_t i = 0; i < n; i++)
		word[page[i] / 64] |= UINT64_C(1) << (page[i] % 64);
}

static struct bench_found crude_compact(void *r)
{
	return flat_bytes(((struct map *)r)->word, ((struct map *)r)->words);
}

static struct bench_found flat_compact(void *r)
{
	const struct map *m = r;

	return flat_ctz(&(struct flat_pair){ m->word, m->word, m->words });
}

static size_t map_bytes(const void *r)
{
	return ((const struct map *)r)->words * 8;
}

const struct pages_rival pages_crude = { "crude bitmap, bytes", map_create,
					 map_destroy, map_clear, map_mark,
					 crude_compact, map_bytes };
const struct pages_rival pages_flat = { "flat bitmap, ctz", map_create,
					map_destroy, map_clear, map_mark,
					flat_compact, map_bytes };
