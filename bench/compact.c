/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench compact: which structure should remember dirty pages? 10,000,000
 * pages; time to read all dirty ones as ranges, without clearing, time to
 * insert them, and bytes. Random pages are drawn with replacement.
 */
#include <stdio.h>
#include <string.h>

#include "benches.h"
#include "rivals/flat.h"
#include "rivals/radix8.h"
#include "tidemark/dirty.h"

#define PAGES UINT64_C(10000000)
#define WORDS ((PAGES + 63) / 64)
#define BATCH 1024

struct world {
	struct tide_set *set;
	struct radix8 tree;
	uint64_t *map;
	uint32_t *page;
	uint64_t dirty;
};

static struct bench_found read_set(void *world)
{
	struct world *w = world;
	struct tide_range ranges[BATCH];
	struct bench_found f = { 0 };
	uint64_t cursor = 0;
	size_t n;

	while ((n = tide_set_next(w->set, &cursor, ranges, BATCH)))
		for (size_t i = 0; i < n; i++)
			bench_add(&f, ranges[i].first, ranges[i].count);
	return f;
}

static struct bench_found read_radix8(void *world)
{
	return radix8_compact(&((struct world *)world)->tree);
}

static struct bench_found read_ctz(void *world)
{
	struct world *w = world;

	return flat_ctz(&(struct flat_pair){ w->map, w->map, WORDS });
}

static struct bench_found read_find_bit(void *world)
{
	return flat_find_bit(((struct world *)world)->map, WORDS);
}

static struct bench_found read_bytes(void *world)
{
	return flat_bytes(((struct world *)world)->map, WORDS);
}

static void clear_set(void *world)
{
	struct tide_epoch *epoch;

	if (!tide_set_cut(((struct world *)world)->set, &epoch, NULL))
		tide_epoch_commit(epoch);
}

static void clear_radix8(void *world)
{
	radix8_clear(&((struct world *)world)->tree);
}

static void clear_map(void *world)
{
	memset(((struct world *)world)->map, 0, WORDS * 8);
}

static struct bench_found insert_set(void *world)
{
	struct world *w = world;

	for (uint64_t i = 0; i < w->dirty; i++)
		tide_set_mark(w->set, w->page[i]);
	return (struct bench_found){ 0 };
}

static struct bench_found insert_radix8(void *world)
{
	struct world *w = world;

	for (uint64_t i = 0; i < w->dirty; i++)
		radix8_mark(&w->tree, w->page[i]);
	return (struct bench_found){ 0 };
}

static struct bench_found insert_map(void *world)
{
	struct world *w = world;

	for (uint64_t i = 0; i < w->dirty; i++)
		w->map[w->page[i] / 64] |= UINT64_C(1) << (w->page[i] % 64);
	return (struct bench_found){ 0 };
}

static void one_row(const struct bench_options *o, struct world *w,
		    const char *name)
{
	struct bench_entry insert[] = {
		{ .name = "insert: tidemark", .prepare = clear_set,
		  .run = insert_set },
		{ .name = "insert: radix-8, 1 thread", .prepare = clear_radix8,
		  .run = insert_radix8 },
		{ .name = "insert: bitmap, 1 thread", .prepare = clear_map,
		  .run = insert_map },
	};
	struct bench_entry compact[] = {
		{ .name = "tidemark", .run = read_set },
		{ .name = "radix-8 tree", .run = read_radix8 },
		{ .name = "flat ctz", .run = read_ctz },
		{ .name = "find-bit", .run = read_find_bit },
		{ .name = "byte-wise bitmap", .run = read_bytes },
	};

	bench_run(insert, 3, w, o->reps);
	bench_run(compact, 5, w, o->reps);
	bench_print(o, "compact", name, compact, 5, 0, 1e3, "us");
	bench_print(o, "compact", name, insert, 3, 0, 1e3, "us");
}

int bench_compact(const struct bench_options *o)
{
	struct world w = { .map = bench_memory(WORDS * 8, false) };
	uint64_t seed = 20261121;

	w.page = bench_memory(PAGES * sizeof(*w.page), true);
	radix8_init(&w.tree, PAGES);
	if (tide_set_create(&w.set, PAGES, NULL))
		return 1;
	tide_set_mark_range(w.set, 0, PAGES);
	clear_set(&w);
	for (int sequential = 0; sequential < 2; sequential++)
		for (w.dirty = 100; w.dirty <= PAGES; w.dirty *= 10) {
			char name[32];

			for (uint64_t i = 0; i < w.dirty; i++)
				w.page[i] = (uint32_t)(sequential ? i :
				    bench_random(&seed) % PAGES);
			snprintf(name, sizeof(name), "%s%llu",
				 sequential ? "seq " : "",
				 (unsigned long long)w.dirty);
			one_row(o, &w, name);
		}
	if (!o->json)
		printf("bytes: bitmap %llu, tidemark's live tree %llu, "
		       "radix-8 %llu\n", (unsigned long long)WORDS * 8,
		       (unsigned long long)(WORDS + (WORDS + 63) / 64 +
					    (WORDS + 4095) / 4096) * 8,
		       (unsigned long long)w.tree.total);
	tide_set_destroy(w.set);
	radix8_fini(&w.tree);
	bench_free(w.map, WORDS * 8);
	bench_free(w.page, PAGES * sizeof(*w.page));
	return 0;
}
