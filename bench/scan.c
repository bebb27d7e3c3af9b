/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench scan: the union of two different bitmaps to ranges. A 12 TiB guest
 * has 384 MiB of bitmap; --quick takes less.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/atomic.h"
#include "benches.h"
#include "cli/trace/file.h"
#include "recorded.h"
#include "rivals/flat.h"
#include "rivals/rust/rust.h"
#include "tidemark/ranges.h"
#include "tidemark/scan.h"

#define BATCH 1024
#define THREADS 4
#define SHARES 64

struct world {
	struct flat_pair pair;
	struct flat_vector vector;
};

struct share {
	struct tide_scan_options options;
	struct bench_found found;
	uint64_t first, end;	/* pages: where its ranges begin and end */
};

static void *scan_share(void *arg)
{
	struct share *s = arg;
	struct tide_range ranges[BATCH];
	struct bench_found f = { 0 };	/* in registers, as the rivals' */
	struct tide_scan *scan;
	size_t n;

	if (tide_scan_create(&scan, &s->options, NULL))
		return NULL;
	while ((n = tide_scan_next(scan, ranges, BATCH))) {
		if (!f.ranges)
			s->first = ranges[0].first;
		for (size_t i = 0; i < n; i++)
			bench_add(&f, ranges[i].first, ranges[i].count);
		s->end = ranges[n - 1].first + ranges[n - 1].count;
	}
	tide_scan_destroy(scan);
	s->found = f;
	return NULL;
}

/* The floor of it: the words of a share, and no ranges. */
static void *read_share(void *arg)
{
	struct share *s = arg;
	const struct tide_scan_options *o = &s->options;
	uint64_t words = o->a_pages / 64 / o->parts;
	struct flat_pair pair = { o->a + o->part * words,
				  o->b + o->part * words, words };

	s->found = flat_read(&pair);
	return NULL;
}

static double thread_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct tide_scan_options whole(const struct world *w)
{
	return (struct tide_scan_options){
		.a = w->pair.a, .a_pages = w->pair.words * 64,
		.b = w->pair.b, .b_pages = w->pair.words * 64,
	};
}

static struct bench_found run_ours(void *world)
{
	struct share s = { .options = whole(world) };

	scan_share(&s);
	return s.found;
}

static struct bench_found run_table(void *world)
{
	struct tide_scan_options o = whole(world);
	struct tide_ranges table = { 0 };
	struct bench_found f = { 0 };
	struct tide_scan *scan;

	if (tide_scan_create(&scan, &o, NULL))
		return f;
	if (!tide_ranges_add_scan(&table, scan, 0, NULL))
		for (size_t i = 0; i < table.count; i++)
			bench_add(&f, table.range[i].first,
				  table.range[i].count);
	tide_ranges_fini(&table);
	tide_scan_destroy(scan);
	return f;
}

/*
 * Threads pull shares, more of them than there are threads: one that has to
 * give up its core for a while then does fewer, and nobody waits for it.
 */
struct crew {
	const struct world *world;
	void *(*each)(void *share);
	unsigned int next;	/* share; taken by atomic add */
	struct share share[SHARES];
};

struct hand {
	struct crew *crew;
	pthread_t thread;
	double cpu_ns;
};

static void *pull_shares(void *arg)
{
	struct hand *hand = arg;
	struct crew *crew = hand->crew;
	struct share s = { .options = whole(crew->world) };
	unsigned int i;

	s.options.parts = SHARES;
	s.options.cut_runs = true;
	/* Pairs with nothing: it only counts. */
	while ((i = tide__add_relaxed(&crew->next, 1)) < SHARES) {
		s.options.part = i;
		crew->each(&s);
		crew->share[i] = s;
	}
	hand->cpu_ns = thread_cpu_ns();
	return NULL;
}

/* All shares as one list: ranges that touch at a border are one. */
static struct bench_found put_together(const struct crew *crew)
{
	struct bench_found all = { 0 };
	uint64_t end = UINT64_MAX;

	for (unsigned int i = 0; i < SHARES; i++) {
		const struct share *s = &crew->share[i];

		if (!s->found.ranges)
			continue;
		all.ranges += s->found.ranges - (s->first == end);
		all.pages += s->found.pages;
		all.sum += s->found.sum - (s->first == end ? end : 0);
		end = s->end;
	}
	return all;
}

static struct bench_found run_crew(void *world, void *(*each)(void *share))
{
	struct crew crew = { .world = world, .each = each };
	struct bench_found all;
	double cpu_ns = 0;
	struct hand hands[THREADS];

	memset(hands, 0, sizeof(hands));
	for (unsigned int i = 0; i < THREADS; i++) {
		hands[i].crew = &crew;
		pthread_create(&hands[i].thread, NULL, pull_shares, &hands[i]);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(hands[i].thread, NULL);
		cpu_ns += hands[i].cpu_ns / THREADS;
	}
	all = put_together(&crew);
	all.own_ns = cpu_ns;
	return all;
}

static struct bench_found run_threads(void *world)
{
	return run_crew(world, scan_share);
}

/* Against the clock, and as the cores' work: what others leave of them. */
static struct bench_found run_threads_wall(void *world)
{
	struct bench_found all = run_threads(world);

	all.own_ns = 0;
	return all;
}

static struct bench_found run_read_threads(void *world)
{
	struct bench_found all = run_crew(world, read_share);

	all.own_ns = 0;
	return all;
}

static struct bench_found run_read(void *world)
{
	return flat_read(&((struct world *)world)->pair);
}

static struct bench_found run_collected(void *world)
{
	struct world *w = world;
	struct bench_found f = flat_lazy(&w->pair, &w->vector);

	flat_vector_free(&w->vector);
	return f;
}

static struct bench_found run_lazy(void *world)
{
	return flat_lazy(&((struct world *)world)->pair, NULL);
}

static struct bench_found run_ctz(void *world)
{
	return flat_ctz(&((struct world *)world)->pair);
}

static struct bench_found run_find_or(void *world)
{
	return flat_find_or_bit(&((struct world *)world)->pair);
}

static struct bench_found run_rust(void *world)
{
	const struct flat_pair *p = &((struct world *)world)->pair;

	return rival_found(rival_rust_streamed(p->a, p->b, p->words));
}

static struct bench_found run_rust_collected(void *world)
{
	const struct flat_pair *p = &((struct world *)world)->pair;

	return rival_found(rival_rust_collected(p->a, p->b, p->words));
}

static void empty_caches(void *world)
{
	(void)world;
	bench_cold();
}

/* @per_mille of the bits set, in runs of @run pages (1: independent bits). */
static void fill(uint64_t *map, uint64_t words, unsigned int per_mille,
		 unsigned int run, uint64_t seed)
{
	uint64_t bits = words * 64, max = UINT64_C(1) << 32;
	uint64_t chance = max * per_mille / 1000 / run;

	memset(map, per_mille == 1000 ? 0xff : 0, words * 8);
	if (per_mille == 0 || per_mille == 1000)
		return;
	for (uint64_t i = 0; i < words && run == 1; i++)
		for (unsigned int k = 0; k < 64; k++)
			map[i] |= (uint64_t)((bench_random(&seed) >> 32) <
					     chance) << k;
	for (uint64_t n = bits / 1000 * per_mille / run; n && run > 1; n--) {
		uint64_t at = bench_random(&seed) % (bits - run);

		for (unsigned int k = 0; k < run; k++)
			map[(at + k) / 64] |= UINT64_C(1) << ((at + k) % 64);
	}
}

/* Independent bits at a small rate: place them, rather than ask each bit. */
static void fill_sparse(uint64_t *map, uint64_t words, unsigned int per_mille,
			uint64_t seed)
{
	memset(map, 0, words * 8);
	for (uint64_t n = words * 64 / 1000 * per_mille; n; n--) {
		uint64_t at = bench_random(&seed) % (words * 64);

		map[at / 64] |= UINT64_C(1) << (at % 64);
	}
}

/* Rounds of a trace, one after the other, until @map is full. */
static void fill_recorded(uint64_t *map, uint64_t words, const struct trace *t,
			  uint32_t from)
{
	uint64_t each = t->pages / 64, at = 0;

	memset(map, 0, words * 8);
	for (uint32_t r = from; at + each <= words; r++, at += each)
		memcpy(map + at, t->round[r % t->rounds], each * 8);
}

static void contest(const struct bench_options *o, struct world *w,
		    const char *row)
{
	struct bench_entry entries[] = {
		{ .name = "tidemark", .run = run_ours },
		{ .name = "tidemark, collected", .run = run_table },
		{ .name = "tidemark, 4 threads",
		  .run = run_threads_wall, .threads = true },
		{ .name = "4 threads, CPU time / 4",
		  .run = run_threads, .threads = true },
		{ .name = "read both (floor)", .run = run_read,
		  .no_answer = true },
		{ .name = "read both, 4 threads", .run = run_read_threads,
		  .no_answer = true, .threads = true },
		{ .name = RIVAL_RUST("Rust VMM, collected"),
		  .run = run_rust_collected, .afresh = true },
		{ .name = RIVAL_RUST("Rust VMM, streamed"), .run = run_rust,
		  .afresh = true },
		{ .name = "the same in C, collected", .run = run_collected,
		  .afresh = true },
		{ .name = "the same in C, streamed", .run = run_lazy,
		  .afresh = true },
		{ .name = "Linux bit ranges", .run = run_find_or,
		  .afresh = true },
		{ .name = "flat ctz, streamed", .run = run_ctz },
	};
	size_t n = sizeof(entries) / sizeof(*entries);

	for (size_t i = 0; o->cold && i < n; i++)
		entries[i].prepare = empty_caches;
	bench_run(o, entries, n, w);
	bench_print(o, "scan", row, entries, n, 0, 1e6, "ms");
}

/* What real guests wrote; absent in a user's clone. */
static void recorded_rows(const struct bench_options *o, struct world *w,
			  uint64_t *a, uint64_t *b)
{
	static const char *const names[] = { "gcc-lua-1g", "redis-set-1g",
					     "pgbench-1g", "stress-flip-1g" };
	struct trace t;
	char path[512], what[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(what, sizeof(what), "traces/ram/%s", names[i]);
		if (!bench_recorded(path, sizeof(path), what) ||
		    trace_load(&t, path, NULL)) {
			if (!o->json)
				printf("scan     %s: not here\n", path);
			continue;
		}
		fill_recorded(a, w->pair.words, &t, 0);
		fill_recorded(b, w->pair.words, &t, 1);
		contest(o, w, names[i]);
		trace_free(&t);
	}
}

int bench_scan(const struct bench_options *o)
{
	static const struct {
		const char *name;
		unsigned int per_mille, run;
	} rows[] = {
		{ "0%", 0, 1 }, { "0.1%", 1, 1 }, { "1%", 10, 1 },
		{ "5%", 50, 1 }, { "10%", 100, 1 }, { "50%", 500, 1 },
		{ "90%", 900, 1 }, { "100%", 1000, 1 },
		{ "1% runs/16", 10, 16 }, { "10% runs/16", 100, 16 },
	};
	uint64_t words = o->guest_bytes ? o->guest_bytes / 4096 / 64 :
			 (uint64_t)(o->quick ? 8 : 384) << 17;
	uint64_t *a = bench_memory(words * 8, !o->plain);
	uint64_t *b = bench_memory(words * 8, !o->plain);
	struct world w = { .pair = { a, b, words } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (int k = 0; k < 2; k++) {
			uint64_t *map = k ? b : a;

			if (rows[i].run == 1 && rows[i].per_mille < 20)
				fill_sparse(map, words, rows[i].per_mille,
					    o->seed + (uint64_t)k);
			else
				fill(map, words, rows[i].per_mille,
				     rows[i].run, o->seed + (uint64_t)k);
		}
		contest(o, &w, rows[i].name);
	}
	recorded_rows(o, &w, a, b);
	bench_free(a, words * 8);
	bench_free(b, words * 8);
	return 0;
}
