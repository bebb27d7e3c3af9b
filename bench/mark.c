/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench mark: marks of spaces of 16 GiB and 1 TiB against a bare atomic or on a
 * flat bitmap, the bitmap of a VMM in Rust, QEMU's HBitmap behind its lock, and
 * the unfenced test that must not be used (design: it can lose a page), by 1, 2
 * and 4 threads. Page numbers are made beforehand.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/atomic.h"
#include "benches.h"
#include "rivals/hbitmap.h"
#include "rivals/rust/rust.h"
#include "tidemark/dirty.h"

#define MARKS (UINT64_C(1) << 20)	/* of one thread */
#define MAX_THREADS 4

struct world {
	struct tide_set *set, *fenced;
	uint64_t *map;
	struct rival_rust_bitmap *rust;
	struct hbitmap hbitmap;
	pthread_mutex_t lock;	/* of hbitmap */
	uint64_t pages, words;
	uint32_t *page[MAX_THREADS];
	unsigned int threads;
	bool keep;		/* hot: what was dirty stays dirty */
};

enum how { SET, FENCED, BARE, TEST, RUST, LOCKED };

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

static void mark_locked(struct world *w, const uint32_t *page)
{
	for (uint64_t i = 0; i < MARKS; i++) {
		pthread_mutex_lock(&w->lock);
		hbitmap_mark(&w->hbitmap, page[i]);
		pthread_mutex_unlock(&w->lock);
	}
}

static void *work(void *arg)
{
	struct worker *k = arg;

	if (k->how == SET)
		mark_set(k->w->set, k->page);
	else if (k->how == FENCED)
		mark_set(k->w->fenced, k->page);
	else if (k->how == BARE)
		mark_bare(k->w->map, k->page);
	else if (k->how == RUST)
		rival_rust_bitmap_mark(k->w->rust, k->page, MARKS);
	else if (k->how == LOCKED)
		mark_locked(k->w, k->page);
	else
		mark_test(k->w->map, k->page);
	return NULL;
}

static struct bench_found run(struct world *w, enum how how)
{
	struct worker k[MAX_THREADS];
	pthread_t thread[MAX_THREADS];

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
static struct bench_found run_fenced(void *w) { return run(w, FENCED); }
static struct bench_found run_bare(void *w) { return run(w, BARE); }
static struct bench_found run_test(void *w) { return run(w, TEST); }
static struct bench_found run_rust(void *w) { return run(w, RUST); }
static struct bench_found run_locked(void *w) { return run(w, LOCKED); }

/* Each clears its own right before its turn: equally warm caches. */
static void clear_one(const struct world *w, struct tide_set *set)
{
	struct tide_epoch *epoch;

	if (!w->keep && !tide_set_cut(set, &epoch, NULL))
		tide_epoch_commit(epoch);
}

static void clear_set(void *world)
{
	struct world *w = world;

	clear_one(w, w->set);
}

static void clear_fenced(void *world)
{
	struct world *w = world;

	clear_one(w, w->fenced);
}

static void clear_map(void *world)
{
	struct world *w = world;

	if (!w->keep)
		memset(w->map, 0, w->words * 8);
}

static void clear_rust(void *world)
{
	struct world *w = world;

	if (!w->keep)
		rival_rust_bitmap_take(w->rust);
}

static void clear_hbitmap(void *world)
{
	struct world *w = world;

	if (!w->keep)
		hbitmap_take_all(&w->hbitmap);
}

static void contest(const struct bench_options *o, struct world *w,
		    const char *row)
{
	struct bench_entry entries[] = {
		{ .name = "tidemark", .prepare = clear_set, .run = run_set },
		{ .name = "tidemark, with fences", .prepare = clear_fenced,
		  .run = run_fenced },
		{ .name = "bare atomic or", .prepare = clear_map,
		  .run = run_bare },
		{ .name = "test, then or (unsafe)", .prepare = clear_map,
		  .run = run_test },
		{ .name = RIVAL_RUST("Rust VMM, mark_dirty"),
		  .prepare = clear_rust, .run = run_rust, .afresh = true },
		{ .name = "HBitmap and a lock", .prepare = clear_hbitmap,
		  .run = run_locked, .afresh = true },
	};
	size_t n = sizeof(entries) / sizeof(*entries);

	clear_set(w);
	clear_fenced(w);
	clear_map(w);
	clear_rust(w);
	clear_hbitmap(w);
	w->keep = row[0] == 'h';
	bench_run(o, entries, n, w);
	bench_print(o, "mark", row, entries, n, 0, (double)MARKS * w->threads,
		    "ns/mark");
	w->keep = false;
}

/*
 * Page @i of a thread: anywhere; in the first hundredth of the space; or in a
 * hundredth that is spread over all of it.
 */
static uint32_t draw(const struct world *w, int kind, uint64_t *seed)
{
	uint64_t hot = w->pages / 100, x = bench_random(seed);

	if (kind == 0)
		return (uint32_t)(x % w->pages);
	return (uint32_t)(kind == 1 ? x % hot : x % hot * 100);
}

static int one_space(const struct bench_options *o, uint64_t bytes)
{
	static const char *const kinds[] = { "random", "hot 1%",
					     "hot 1% spread" };
	struct world w = { .pages = bytes / 4096, .words = bytes / 4096 / 64,
			   .lock = PTHREAD_MUTEX_INITIALIZER };

	unsigned int max = o->cpu ? 1 : o->quick ? 2 : MAX_THREADS;

	if (tide_set_create(&w.set, w.pages, NULL))
		return 1;
	if (tide_set_create(&w.fenced, w.pages, NULL)) {
		tide_set_destroy(w.set);
		return 1;
	}
	tide_set_use_fences(w.fenced);
	w.map = bench_memory(w.words * 8, !o->plain);
	w.rust = rival_rust_bitmap_create(w.pages);
	hbitmap_init(&w.hbitmap, w.pages);
	tide_set_mark_range(w.set, 0, w.pages);
	tide_set_mark_range(w.fenced, 0, w.pages);
	for (unsigned int i = 0; i < MAX_THREADS; i++)
		w.page[i] = bench_memory(MARKS * sizeof(uint32_t), true);
	for (int kind = 0; kind < (o->quick ? 2 : 3); kind++)
		for (w.threads = 1; w.threads <= max; w.threads *= 2) {
			uint64_t seed = o->seed;
			char row[32];

			for (unsigned int i = 0; i < w.threads; i++)
				for (uint64_t k = 0; k < MARKS; k++)
					w.page[i][k] = draw(&w, kind, &seed);
			snprintf(row, sizeof(row), "%s, %lluG, %u",
				 kinds[kind],
				 (unsigned long long)(bytes >> 30), w.threads);
			contest(o, &w, row);
		}
	for (unsigned int i = 0; i < MAX_THREADS; i++)
		bench_free(w.page[i], MARKS * sizeof(uint32_t));
	bench_free(w.map, w.words * 8);
	rival_rust_bitmap_destroy(w.rust);
	hbitmap_fini(&w.hbitmap);
	tide_set_destroy(w.fenced);
	tide_set_destroy(w.set);
	return 0;
}

int bench_mark(const struct bench_options *o)
{
	if (o->guest_bytes)
		return one_space(o, o->guest_bytes);
	return one_space(o, UINT64_C(16) << 30) ||
	       (!o->quick && one_space(o, UINT64_C(1) << 40));
}
