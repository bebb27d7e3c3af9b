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
	pthread_barrier_t *start;
};

static void mark_all(const struct worker *k)
{
	struct tide_set *set = k->w->set;
	uint64_t *map = k->w->map;

	for (uint64_t i = 0; i < MARKS; i++) {
		uint64_t page = k->page[i], bit = UINT64_C(1) << (page % 64);

		if (k->how == SET)
			tide_set_mark(set, page);
		else if (k->how == BARE ||
			 !(tide__load_relaxed(&map[page / 64]) & bit))
			tide__or_seqcst(&map[page / 64], bit);
	}
}

static void *work(void *arg)
{
	struct worker *k = arg;

	mark_all(k);
	return NULL;
}

static struct bench_found run(struct world *w, enum how how)
{
	struct worker k[MOST_THREADS];
	pthread_t thread[MOST_THREADS];

	for (unsigned int i = 0; i < w->threads; i++)
		k[i] = (struct worker){ w, w->page[i], how, NULL };
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

static void clear(void *world)
{
	struct world *w = world;
	struct tide_epoch *epoch;

	if (w->keep)
		return;
	if (!tide_set_cut(w->set, &epoch, NULL))
		tide_epoch_commit(epoch);
	memset(w->map, 0, WORDS * 8);
}

int bench_mark(const struct bench_options *o)
{
	struct world w = { 0 };

	if (tide_set_create(&w.set, PAGES, NULL))
		return 1;
	w.map = bench_memory(WORDS * 8, false);
	tide_set_mark_range(w.set, 0, PAGES);
	clear(&w);
	for (unsigned int i = 0; i < MOST_THREADS; i++)
		w.page[i] = bench_memory(MARKS * sizeof(uint32_t), true);
	for (int hot = 0; hot < 2; hot++)
		for (w.threads = 1; w.threads <= MOST_THREADS; w.threads *= 2) {
			struct bench_entry entries[] = {
				{ .name = "tidemark", .prepare = clear,
				  .run = run_set },
				{ .name = "bare atomic or", .prepare = clear,
				  .run = run_bare },
				{ .name = "test, then or (unsafe)",
				  .prepare = clear, .run = run_test },
			};
			uint64_t below = hot ? PAGES / 100 : PAGES;
			uint64_t seed = 20261121;
			char row[32];

			for (unsigned int i = 0; i < w.threads; i++)
				for (uint64_t k = 0; k < MARKS; k++)
					w.page[i][k] = (uint32_t)
					    (bench_random(&seed) % below);
			clear(&w);
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
