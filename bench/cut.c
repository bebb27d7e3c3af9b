/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench cut: take all dirty pages of a 1 TiB space, cold, as ranges, and leave
 * the live set clear. Timed: from the cut to the last range. Our commit, which
 * empties the epoch, is a row of its own: rivals that copy have no such step.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "benches.h"
#include "rivals/flat.h"
#include "tidemark/dirty.h"

#define PAGES (UINT64_C(1) << 28)
#define WORDS (PAGES / 64)
#define BATCH 1024

struct world {
	struct tide_set *set;
	struct tide_epoch *epoch;
	uint64_t *map, *copy, *summary;
	uint64_t dirty, seed;
	struct flat_vector vector;
};

static void mark_set(void *world)
{
	struct world *w = world;
	uint64_t seed = w->seed;

	for (uint64_t i = 0; i < w->dirty; i++)
		tide_set_mark(w->set, bench_random(&seed) % PAGES);
	bench_cold();
}

static void mark_map(void *world)
{
	struct world *w = world;
	uint64_t seed = w->seed;

	memset(w->map, 0, WORDS * 8);
	for (uint64_t i = 0; i < w->dirty; i++) {
		uint64_t page = bench_random(&seed) % PAGES;

		w->map[page / 64] |= UINT64_C(1) << (page % 64);
	}
	bench_cold();
}

static struct bench_found run_ours(void *world)
{
	struct world *w = world;
	struct tide_range ranges[BATCH];
	struct bench_found f = { 0 };
	uint64_t cursor = 0;
	size_t n;

	if (tide_set_cut(w->set, &w->epoch, NULL))
		return f;
	while ((n = tide_epoch_next(w->epoch, &cursor, ranges, BATCH)))
		for (size_t i = 0; i < n; i++)
			bench_add(&f, ranges[i].first, ranges[i].count);
	return f;
}

/* Follows run_ours in each repetition. */
static struct bench_found run_commit(void *world)
{
	struct world *w = world;

	tide_epoch_commit(w->epoch);
	return (struct bench_found){ 0 };
}

/* As a Rust VMM does: get and reset each word into a new vector, collect. */
static struct bench_found run_get_reset(void *world)
{
	struct world *w = world;
	uint64_t *got = malloc(WORDS * 8);
	struct flat_pair p = { got, got, WORDS };
	struct bench_found f = { 0 };

	if (!got)
		return f;
	for (uint64_t i = 0; i < WORDS; i++)
		got[i] = tide__swap_seqcst(&w->map[i], 0);
	f = flat_lazy(&p, &w->vector);
	flat_vector_free(&w->vector);
	free(got);
	return f;
}

/* Words that are not 0 are exchanged into a buffer; then find-bit. */
static struct bench_found run_copy_clear(void *world)
{
	struct world *w = world;

	for (uint64_t i = 0; i < WORDS; i++)
		w->copy[i] = tide__load_relaxed(&w->map[i])
				 ? tide__swap_seqcst(&w->map[i], 0) : 0;
	return flat_find_bit(w->copy, WORDS);
}

/* The strongest flat one: empty 4 KiB skipped, else as above; then ctz. */
static struct bench_found run_flat(void *world)
{
	struct world *w = world;
	struct flat_pair p = { w->copy, w->copy, WORDS };

	for (uint64_t at = 0; at < WORDS; at += 512) {
		uint64_t any = 0;

		for (uint64_t i = 0; i < 512; i++)
			any |= w->map[at + i];
		if (!any) {
			memset(w->copy + at, 0, 4096);
			continue;
		}
		for (uint64_t i = at; i < at + 512; i++)
			w->copy[i] = w->map[i]
					 ? tide__swap_seqcst(&w->map[i], 0) : 0;
	}
	return flat_ctz(&p);
}

int bench_cut(const struct bench_options *o)
{
	static const struct {
		const char *name;
		uint64_t dirty;
	} rows[] = {
		{ "0", 0 }, { "0.001%", PAGES / 100000 },
		{ "0.1%", PAGES / 1000 }, { "1%", PAGES / 100 },
		{ "10%", PAGES / 10 },
	};
	struct world w = { .seed = 20261121 };

	if (tide_set_create(&w.set, PAGES, NULL))
		return 1;
	w.map = bench_memory(WORDS * 8, true);
	w.copy = bench_memory(WORDS * 8, true);
	/* Memory is there before the first measured cut, as for the rivals. */
	tide_set_mark_range(w.set, 0, PAGES);
	run_ours(&w);
	run_commit(&w);
	/* Marking a tenth of all pages takes seconds. */
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) - o->quick; i++) {
		struct bench_entry entries[] = {
			{ .name = "tidemark", .prepare = mark_set,
			  .run = run_ours },
			{ .name = "tidemark, commit", .run = run_commit,
			  .no_answer = true },
			{ .name = "get and reset, collected",
			  .prepare = mark_map, .run = run_get_reset },
			{ .name = "copy and clear, find-bit",
			  .prepare = mark_map, .run = run_copy_clear },
			{ .name = "flat, by 4 KiB", .prepare = mark_map,
			  .run = run_flat },
		};
		size_t n = sizeof(entries) / sizeof(*entries);

		w.dirty = rows[i].dirty;
		bench_run(entries, n, &w, o->reps);
		bench_print(o, "cut", rows[i].name, entries, n, 0, 1e3, "us");
	}
	bench_free(w.map, WORDS * 8);
	bench_free(w.copy, WORDS * 8);
	tide_set_destroy(w.set);
	return 0;
}
