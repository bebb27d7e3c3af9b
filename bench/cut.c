/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench cut: take all dirty pages of a 1 TiB space, cold, as ranges, and leave
 * the live set clear. Timed: from the cut to the last range. Our commit, which
 * empties the epoch, is a row of its own: rivals that copy have no such step.
 * Rivals are marked by one thread without atomics, where that is their way.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "benches.h"
#include "rivals/flat.h"
#include "rivals/hbitmap.h"
#include "rivals/pages/pages.h"
#include "rivals/rust/rust.h"
#include "tidemark/dirty.h"
#include "tidemark/scan.h"

#define PAGES (UINT64_C(1) << 28)	/* unless --guest says otherwise */
#define BATCH 1024
#define MARKS 4096			/* drawn, then marked */

struct world {
	struct tide_set *set;
	struct tide_epoch *epoch;
	struct hbitmap hbitmap;
	struct rival_rust_bitmap *rust;
	void *roaring;
	uint64_t *map, *copy;
	uint64_t pages, words;
	uint64_t dirty, seed;
	unsigned int run;	/* pages in a row */
	bool in_order;		/* all of them, one by one */
	struct flat_vector vector;
};

/* The first page of the @i-th run; a stateless draw. */
static uint64_t draw(const struct world *w, uint64_t i)
{
	uint64_t state = w->seed + i * UINT64_C(0x9e3779b97f4a7c15);

	if (w->in_order)
		return i;
	return bench_random(&state) % (w->pages - w->run + 1);
}

/* Hands all dirty pages, in their order, to @mark. */
static void each_page(struct world *w,
		      void (*mark)(struct world *w, const uint32_t *page,
				   uint64_t n))
{
	uint32_t page[MARKS];
	uint64_t n = 0;

	for (uint64_t i = 0; i < w->dirty / w->run; i++) {
		uint64_t first = draw(w, i);

		for (unsigned int k = 0; k < w->run; k++)
			page[n++] = (uint32_t)(first + k);
		if (n + w->run > MARKS) {
			mark(w, page, n);
			n = 0;
		}
	}
	mark(w, page, n);
	bench_cold();
}

static void into_set(struct world *w, const uint32_t *page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		tide_set_mark(w->set, page[i]);
}

static void into_map(struct world *w, const uint32_t *page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		w->map[page[i] / 64] |= UINT64_C(1) << (page[i] % 64);
}

static void into_rust(struct world *w, const uint32_t *page, uint64_t n)
{
	rival_rust_bitmap_mark(w->rust, page, n);
}

static void into_hbitmap(struct world *w, const uint32_t *page, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		hbitmap_mark(&w->hbitmap, page[i]);
}

static void into_roaring(struct world *w, const uint32_t *page, uint64_t n)
{
	pages_roaring.mark(w->roaring, page, n);
}

static void mark_set(void *w) { each_page(w, into_set); }
static void mark_rust(void *w) { each_page(w, into_rust); }
static void mark_hbitmap(void *w) { each_page(w, into_hbitmap); }
static void mark_roaring(void *w) { each_page(w, into_roaring); }

static void mark_map(void *world)
{
	struct world *w = world;

	memset(w->map, 0, w->words * 8);
	each_page(w, into_map);
}

static void mark_map_copy_clear(void *world)
{
	struct world *w = world;

	memset(w->copy, 0, w->words * 8);
	mark_map(w);
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
static struct bench_found run_rust(void *world)
{
	return rival_found(
	    rival_rust_bitmap_take(((struct world *)world)->rust));
}

static struct bench_found run_areas(void *world)
{
	return hbitmap_take_areas(&((struct world *)world)->hbitmap);
}

static struct bench_found run_hbitmap(void *world)
{
	return hbitmap_take_all(&((struct world *)world)->hbitmap);
}

static struct bench_found run_roaring(void *world)
{
	struct world *w = world;
	struct bench_found f = pages_roaring.compact(w->roaring);

	pages_roaring.clear(w->roaring);
	return f;
}

/* As QEMU takes in KVM's log: what is not 0 is exchanged and joined. */
static struct bench_found run_sync(void *world)
{
	struct world *w = world;
	uint64_t fresh = 0;
	struct bench_found f;

	for (uint64_t i = 0; i < w->words; i++) {
		uint64_t bits;

		if (!tide__load_relaxed(&w->map[i]))
			continue;
		bits = tide__swap_seqcst(&w->map[i], 0);
		fresh += (uint64_t)__builtin_popcountll(bits & ~w->copy[i]);
		w->copy[i] |= bits;
	}
	f = flat_find_bit(w->copy, w->words);
	return f.pages == fresh ? f : (struct bench_found){ 0 };
}

/* Exchange all that is not 0, then our own scan: no tree, no log. */
static struct bench_found run_exchange(void *world)
{
	struct world *w = world;
	struct tide_scan_options o = { .a = w->copy, .a_pages = w->pages };
	struct tide_range ranges[BATCH];
	struct bench_found f = { 0 };
	struct tide_scan *scan;
	size_t n;

	for (uint64_t i = 0; i < w->words; i++)
		w->copy[i] = tide__load_relaxed(&w->map[i])
				 ? tide__swap_seqcst(&w->map[i], 0) : 0;
	if (tide_scan_create(&scan, &o, NULL))
		return f;
	while ((n = tide_scan_next(scan, ranges, BATCH)))
		for (size_t i = 0; i < n; i++)
			bench_add(&f, ranges[i].first, ranges[i].count);
	tide_scan_destroy(scan);
	return f;
}

/* Words that are not 0 are exchanged into a buffer; then find-bit. */
static struct bench_found run_copy_clear(void *world)
{
	struct world *w = world;

	for (uint64_t i = 0; i < w->words; i++)
		w->copy[i] = tide__load_relaxed(&w->map[i])
				 ? tide__swap_seqcst(&w->map[i], 0) : 0;
	return flat_find_bit(w->copy, w->words);
}

/* The strongest flat one: empty 4 KiB skipped, else as above; then ctz. */
static struct bench_found run_flat(void *world)
{
	struct world *w = world;
	struct flat_pair p = { w->copy, w->copy, w->words };

	for (uint64_t at = 0; at + 512 <= w->words; at += 512) {
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

static int open_world(struct world *w, const struct bench_options *o)
{
	uint64_t bytes;

	w->seed = o->seed;
	w->pages = o->guest_bytes ? o->guest_bytes / 4096 :
		   o->quick ? PAGES / 16 : PAGES;
	w->pages &= ~UINT64_C(32767);	/* whole 4 KiB of bitmap */
	w->words = w->pages / 64;
	bytes = w->words * 8;
	if (tide_set_create(&w->set, w->pages, NULL))
		return 1;
	w->map = bench_memory(bytes, !o->plain);
	w->copy = bench_memory(bytes, !o->plain);
	hbitmap_init(&w->hbitmap, w->pages);
	w->rust = rival_rust_bitmap_create(w->pages);
	w->roaring = pages_roaring.name ? pages_roaring.create(w->pages) : NULL;
	/* Memory is there before the first measured cut, as for the rivals. */
	tide_set_mark_range(w->set, 0, w->pages);
	run_ours(w);
	run_commit(w);
	return 0;
}

static void close_world(struct world *w)
{
	bench_free(w->map, w->words * 8);
	bench_free(w->copy, w->words * 8);
	hbitmap_fini(&w->hbitmap);
	rival_rust_bitmap_destroy(w->rust);
	if (w->roaring)
		pages_roaring.destroy(w->roaring);
	tide_set_destroy(w->set);
}

static void contest(const struct bench_options *o, struct world *w,
		    const char *row)
{
	struct bench_entry entries[] = {
		{ .name = "tidemark", .prepare = mark_set, .run = run_ours },
		{ .name = "tidemark, commit", .run = run_commit,
		  .no_answer = true },
		{ .name = RIVAL_RUST("Rust VMM, take and collect"),
		  .prepare = mark_rust, .run = run_rust, .afresh = true },
		{ .name = "QEMU sync loop, find-bit",
		  .prepare = mark_map_copy_clear, .run = run_sync,
		  .afresh = true },
		{ .name = "HBitmap, area by area", .prepare = mark_hbitmap,
		  .run = run_areas, .afresh = true },
		{ .name = "HBitmap, walk, reset all", .prepare = mark_hbitmap,
		  .run = run_hbitmap, .afresh = true },
		{ .name = w->roaring ? "CRoaring, read and clear" : NULL,
		  .prepare = mark_roaring, .run = run_roaring },
		{ .name = "copy and clear, find-bit", .prepare = mark_map,
		  .run = run_copy_clear },
		{ .name = "exchange, our scan", .prepare = mark_map,
		  .run = run_exchange },
		{ .name = "flat, by 4 KiB", .prepare = mark_map,
		  .run = run_flat },
	};
	size_t n = sizeof(entries) / sizeof(*entries);

	bench_run(o, entries, n, w);
	bench_print(o, "cut", row, entries, n, 0, 1e3, "us");
}

int bench_cut(const struct bench_options *o)
{
	static const struct {
		const char *name;
		uint64_t per_million;
		unsigned int run;
	} rows[] = {
		{ "0", 0, 1 }, { "0.001%", 10, 1 }, { "0.1%", 1000, 1 },
		{ "0.1% runs/16", 1000, 16 }, { "1%", 10000, 1 },
		{ "1% runs/16", 10000, 16 }, { "10%", 100000, 1 },
		{ "100%", 1000000, 0 },
	};
	struct world w = { 0 };

	if (open_world(&w, o))
		return 1;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		/* Marking a tenth of all pages takes seconds. */
		if (o->quick && rows[i].per_million > 10000)
			continue;
		w.dirty = w.pages * rows[i].per_million / 1000000;
		w.run = rows[i].run;
		if (!w.run) {	/* all of it: one run, marked in order */
			w.dirty = w.pages;
			w.run = 1;
			w.in_order = true;
		}
		contest(o, &w, rows[i].name);
	}
	close_world(&w);
	return 0;
}
