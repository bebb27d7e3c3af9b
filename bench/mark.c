/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench mark: marks of a 16 GiB space against a bare atomic or on a flat
 * bitmap, and the unfenced test that must not be used (design: it can lose a
 * page), by 1, 2 and 4 threads. Page numbers are made beforehand.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "benches.h"
#include "tidemark/dirty.h"

#define PAGES (UINT64_C(1) << 22)
#define WORDS (PAGES / 64)
#define MARKS (UINT64_C(1) << 20)	/* of one thread */
#define MOST_THREADS 4

struct world {
	struct tide_set *set;
	uint64_t *map;
	uint32_t *page[MOST_THREADS];
	unsigned int threads;
	bool keep;		/* hot: what was dirty stays dirty */
};

enum how { SET, BARE, TEST };

struct worker {
	struct world *w;
	const uint32_t *page;
	enum how how;
};

/* A loop for each, so that none pays for the choice. */
static void mark_set(struct tide_set *set, const uint32_t *page)
{
	for (uint64_t i = 0; i < MARKS; i++)
		tide_set_mark(set, page[i]);
}

static void mark_bare(uint64_t *map, const uint32_t *page)
{
	for (uint64_t i = 0; i < MARKS; i++)
		tide__or_seqcst(&map[page[i] / 64],
				UINT64_C(1) << (page[i] % 64));
}

static void mark_test(uint64_t *map, const uint32_t *page)
{
	for (uint64_t i = 0; i < MARKS; i++) {
		uint64_t bit = UINT64_C(1) << (page[i] % 64);

		if (!(tide__load_relaxed(&map[page[i] / 64]) & bit))
			tide__or_seqcst(&map[page[i] / 64], bit);
	}
}

static void *work(void *arg)
{
	struct worker *k = arg;

	if (k->how == SET)
		mark_set(k->w->set, k->page);
	else if (k->how == BARE)
		mark_bare(k->w->map, k->page);
	else
		mark_test(k->w->map, k->page);
	return NULL;
}

static struct bench_found run(struct world *w, enum how how)
{
	struct worker k[MOST_THREADS];
	pthread_t thread[MOST_THREADS];

	for (unsigned int i = 0; i < w->threads; i++)
		k[i] = (struct worker){ w, w->page[i], how };
	for (unsigned int i = 1; i < w->threads; i++)
		pthread_create(&thread[i], NULL, work, &k[i]);
	work(&k[0]);
	for (unsigned int i = 1; i < w->threads; i++)
		pthread_join(thread[i], NULL);
	return (struct bench_found){ 0 };
}

static struct bench_found run_set(void *w) { return run(w, SET); }
static struct bench_found run_bare(void *w) { return run(w, BARE); }
static struct bench_found run_test(void *w) { return run(w, TEST); }

/* Each clears its own right before its turn: equally warm caches. */
static void clear_set(void *world)
{
	struct world *w = world;
	struct tide_epoch *epoch;

	if (!w->keep && !tide_set_cut(w->set, &epoch, NULL))
		tide_epoch_commit(epoch);
}

static void clear_map(void *world)
{
	struct world *w = world;

	if (!w->keep)
		memset(w->map, 0, WORDS * 8);
}

int bench_mark(const struct bench_options *o)
{
	struct world w = { 0 };

	if (tide_set_create(&w.set, PAGES, NULL))
		return 1;
	w.map = bench_memory(WORDS * 8, false);
	tide_set_mark_range(w.set, 0, PAGES);
	clear_set(&w);
	for (unsigned int i = 0; i < MOST_THREADS; i++)
		w.page[i] = bench_memory(MARKS * sizeof(uint32_t), true);
	for (int hot = 0; hot < 2; hot++)
		for (w.threads = 1; w.threads <= MOST_THREADS; w.threads *= 2) {
			struct bench_entry entries[] = {
				{ .name = "tidemark", .prepare = clear_set,
				  .run = run_set },
				{ .name = "bare atomic or",
				  .prepare = clear_map,
				  .run = run_bare },
				{ .name = "test, then or (unsafe)",
				  .prepare = clear_map, .run = run_test },
			};
			uint64_t below = hot ? PAGES / 100 : PAGES;
			uint64_t seed = 20261121;
			char row[32];

			for (unsigned int i = 0; i < w.threads; i++)
				for (uint64_t k = 0; k < MARKS; k++)
					w.page[i][k] = (uint32_t)
					    (bench_random(&seed) % below);
			clear_set(&w);
			clear_map(&w);
			w.keep = hot;
			snprintf(row, sizeof(row), "%s, %u",
				 hot ? "hot 1%" : "random", w.threads);
			bench_run(entries, 3, &w, o->reps);
			bench_print(o, "mark", row, entries, 3, 0,
				    (double)MARKS * w.threads, "ns/mark");
			w.keep = false;
		}
	for (unsigned int i = 0; i < MOST_THREADS; i++)
		bench_free(w.page[i], MARKS * sizeof(uint32_t));
	bench_free(w.map, WORDS * 8);
	tide_set_destroy(w.set);
	return 0;
}
