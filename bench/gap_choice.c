/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench gap, third step: the model's gap against others, on dirty maps of
 * random pages and on rounds of recorded traces.
 *
 * The model was solved on other maps than these. Its rest is what its choice
 * takes longer than the best gap tried; the best is the best of many medians,
 * so a few per cent of rest are chance.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/trace_file.h"
#include "gap_world.h"

#define RANDOM_PAGES 32768
#define GAPS 9

struct dirt {
	const char *name;
	unsigned int per_mille;		/* random, if no folder */
	const char *folder;		/* of a trace: its middle round */
	bool quick;
};

static const struct dirt dirts[] = {
	{ "random 3%", 30, NULL, false },
	{ "random 20%", 200, NULL, false },
	{ "zipf", 0, "tests/data/trace-zipf", true },
	{ "gcc", 0, "../shared/traces/ram/gcc-lua-1g", false },
	{ "pgbench", 0, "../shared/traces/ram/pgbench-1g", false },
	{ "redis", 0, "../shared/traces/ram/redis-set-1g", false },
};
#define DIRTS (sizeof(dirts) / sizeof(*dirts))

/* The bitmap of @d, for free(), or NULL; how many pages. */
static uint64_t *load(const struct dirt *d, uint64_t *pages)
{
	uint64_t seed = 20261121, *map = NULL;
	struct trace t;

	if (!d->folder) {
		*pages = RANDOM_PAGES;
		map = calloc(RANDOM_PAGES / 64, sizeof(*map));
		for (uint64_t p = 0; map && p < RANDOM_PAGES; p++)
			if (bench_random(&seed) % 1000 < d->per_mille)
				map[p / 64] |= UINT64_C(1) << p % 64;
		return map;
	}
	if (access(d->folder, R_OK) || trace_load(&t, d->folder, NULL))
		return NULL;
	*pages = t.pages;
	if (t.rounds) {
		map = t.round[t.rounds / 2];
		t.round[t.rounds / 2] = NULL;
	}
	trace_free(&t);
	return map;
}

static size_t best_of(const struct gap_sending *s, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (s[i].spread.median < s[best].spread.median)
			best = i;
	return best;
}

static void print_json(const struct gap_world *w, const char *name,
		       const struct gap_sending *s, bool model)
{
	printf("{\"table\":\"gap\",\"socket\":\"%s\",\"way\":\"%s\",\"map\":"
	       "\"%s\",\"gap_pages\":%llu,\"by_model\":%s,\"median_ns\":%.0f,"
	       "\"low_ns\":%.0f,\"high_ns\":%.0f,\"ranges\":%llu,"
	       "\"pages\":%llu}\n",
	       w->socket->name, gap_way_names[w->way], name,
	       (unsigned long long)s->gap, model ? "true" : "false",
	       s->spread.median, s->spread.low, s->spread.high,
	       (unsigned long long)s->ranges, (unsigned long long)s->pages);
}

/* @s[0] has no gap, the last one the model's. */
static void print(const struct bench_options *o, const struct gap_world *w,
		  const char *name, const struct gap_sending *s, size_t n)
{
	const struct gap_spread *split = &s->spread, *model = &s[n - 1].spread;
	const struct gap_sending *best = s + best_of(s, n);

	for (size_t i = 0; i < n && o->json; i++)
		print_json(w, name, &s[i], i == n - 1);
	if (o->json)
		return;
	printf("gap      %-10s %-7s %-10s no gap %8.2f ms (%.2f .. %.2f), "
	       "model's %llu %8.2f (%.2f .. %.2f) %.2fx, best %llu %8.2f, "
	       "rest %.0f %%\n",
	       w->socket->name, gap_way_names[w->way], name,
	       split->median / 1e6, split->low / 1e6, split->high / 1e6,
	       (unsigned long long)s[n - 1].gap, model->median / 1e6,
	       model->low / 1e6, model->high / 1e6,
	       model->median / split->median, (unsigned long long)best->gap,
	       best->spread.median / 1e6,
	       (model->median / best->spread.median - 1) * 100);
}

static int try_gaps(const struct bench_options *o,
		    const struct gap_socket *socket, enum gap_way way,
		    const struct dirt *d, const struct gap_model *model)
{
	static const uint64_t gaps[GAPS - 1] = { 0, 1, 2, 4, 8, 16, 32, 64 };
	struct gap_sending s[GAPS];
	struct gap_world w;
	uint64_t pages, *map = load(d, &pages);
	int rc;

	if (!map) {
		fprintf(stderr, "tidemark bench: gap: no %s here\n", d->folder);
		return 0;
	}
	rc = gap_world_open(&w, socket, way, pages);
	if (!rc) {
		memset(s, 0, sizeof(s));
		for (size_t i = 0; i < GAPS; i++) {
			s[i].dirty = map;
			s[i].gap = i < GAPS - 1 ? gaps[i] : model->gap_pages;
		}
		gap_measure(&w, s, GAPS, o->reps);
		if (!w.rc)
			print(o, &w, d->name, s, GAPS);
		rc = gap_world_close(&w);
	}
	free(map);
	return rc;
}

int gap_choice(const struct bench_options *o, const struct gap_socket *socket,
	       enum gap_way way, const struct gap_model *model)
{
	int rc = 0;

	/* A paced wire would take minutes for these. */
	for (size_t i = 0; i < DIRTS && !socket->pace_bytes_per_s; i++)
		if (dirts[i].quick || !o->quick)
			rc = rc ? rc : try_gaps(o, socket, way, &dirts[i],
						model);
	return rc;
}
