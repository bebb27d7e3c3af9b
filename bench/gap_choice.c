/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench gap, third step: the model's gap against others, on dirty maps of
 * random pages and on rounds of recorded traces.
 *
 * The model was solved on other maps than these. Its rest is what its choice
 * takes longer than the best gap tried. The best is the best of many medians,
 * and the model's gap is often among the others, too: what these two sendings
 * of the same differ by is chance.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/trace/file.h"
#include "gap_world.h"
#include "recorded.h"

#define RANDOM_PAGES 32768
#define GAPS 9

struct dirt {
	const char *name;
	unsigned int per_mille;		/* random, if no trace */
	const char *trace;	/* its middle round; see trace_folder() */
	bool quick;
};

static const struct dirt dirts[] = {
	{ "random 3%", 30, NULL, false },
	{ "random 20%", 200, NULL, false },
	{ "zipf", 0, "tests/data/trace-zipf", true },
	{ "gcc", 0, "gcc-lua-1g", false },
	{ "pgbench", 0, "pgbench-1g", false },
	{ "redis", 0, "redis-set-1g", false },
};
#define DIRTS (sizeof(dirts) / sizeof(*dirts))

/* Ours lies in the project, others where recordings of real guests do. */
static void trace_folder(const struct dirt *d, char *path, size_t size)
{
	char what[64];

	snprintf(what, sizeof(what), "traces/ram/%s", d->trace);
	if (strchr(d->trace, '/'))
		snprintf(path, size, "%s", d->trace);
	else
		bench_recorded(path, size, what);
}

/* The bitmap of @d, for free(), or NULL; how many pages. */
static uint64_t *load(const struct dirt *d, uint64_t *pages)
{
	uint64_t seed = 20261121, *map = NULL;
	char folder[512];
	struct trace t;

	if (!d->trace) {
		*pages = RANDOM_PAGES;
		map = calloc(RANDOM_PAGES / 64, sizeof(*map));
		for (uint64_t p = 0; map && p < RANDOM_PAGES; p++)
			if (bench_random(&seed) % 1000 < d->per_mille)
				map[p / 64] |= UINT64_C(1) << p % 64;
		return map;
	}
	trace_folder(d, folder, sizeof(folder));
	if (access(folder, R_OK) || trace_load(&t, folder, NULL))
		return NULL;
	*pages = t.pages;
	if (t.rounds) {
		map = t.round[t.rounds / 2];
		t.round[t.rounds / 2] = NULL;
	}
	trace_free(&t);
	return map;
}

static size_t best_of(const struct gap_spread *ratio)
{
	size_t best = 0;

	for (size_t i = 1; i < GAPS; i++)
		if (ratio[i].median < ratio[best].median)
			best = i;
	return best;
}

static void print_json(const struct gap_world *w, const char *name,
		       const struct gap_sending *s, struct gap_spread ratio,
		       bool model)
{
	printf("{\"table\":\"gap\",\"socket\":\"%s\",\"way\":\"%s\",\"map\":"
	       "\"%s\",\"gap_pages\":%llu,\"by_model\":%s,\"median_ns\":%.0f,"
	       "\"low_ns\":%.0f,\"high_ns\":%.0f,\"to_split\":%.3f,"
	       "\"to_split_low\":%.3f,\"to_split_high\":%.3f,"
	       "\"ranges\":%llu,\"pages\":%llu}\n",
	       w->socket->name, gap_way_names[w->way], name,
	       (unsigned long long)s->gap, model ? "true" : "false",
	       s->spread.median, s->spread.low, s->spread.high, ratio.median,
	       ratio.low, ratio.high, (unsigned long long)s->ranges,
	       (unsigned long long)s->pages);
}

/* @s[0] has no gap, the last one the model's. */
static void print(const struct bench_options *o, const struct gap_world *w,
		  const char *name, const struct gap_sending *s)
{
	const struct gap_sending *model = &s[GAPS - 1];
	struct gap_spread ratio[GAPS], *by_model = &ratio[GAPS - 1];
	size_t best;

	for (size_t i = 0; i < GAPS; i++) {
		ratio[i] = gap_ratio(&s[i], s, o->reps);
		if (o->json)
			print_json(w, name, &s[i], ratio[i], i == GAPS - 1);
	}
	if (o->json)
		return;
	best = best_of(ratio);
	printf("gap      %-10s %-7s %-10s no gap %8.2f ms; model's %llu "
	       "%8.2f ms, %.2fx (%.2f .. %.2f); best %llu %.2fx, "
	       "rest %.0f %%\n",
	       w->socket->name, gap_way_names[w->way], name,
	       s->spread.median / 1e6, (unsigned long long)model->gap,
	       model->spread.median / 1e6, by_model->median, by_model->low,
	       by_model->high, (unsigned long long)s[best].gap,
	       ratio[best].median,
	       (by_model->median / ratio[best].median - 1) * 100);
}

static int try_gaps(const struct bench_options *o,
		    const struct gap_socket *socket, enum gap_way way,
		    const struct dirt *d, const struct gap_model *model)
{
	static const uint64_t gaps[GAPS - 1] = { 0, 1, 2, 4, 8, 16, 32, 64 };
	struct gap_sending s[GAPS];
	struct gap_world w;
	uint64_t pages, *map = load(d, &pages);
	int ret;

	if (!map) {
		fprintf(stderr, "tidemark bench: gap: no %s here\n", d->trace);
		return 0;
	}
	ret = gap_world_open(&w, socket, way, pages);
	if (!ret) {
		memset(s, 0, sizeof(s));
		for (size_t i = 0; i < GAPS; i++) {
			s[i].dirty = map;
			s[i].gap = i < GAPS - 1 ? gaps[i] : model->gap_pages;
		}
		gap_measure(&w, s, GAPS, o->reps);
		if (!w.ret)
			print(o, &w, d->name, s);
		ret = gap_world_close(&w);
	}
	free(map);
	return ret;
}

int gap_choice(const struct bench_options *o, const struct gap_socket *socket,
	       enum gap_way way, const struct gap_model *model)
{
	int ret = 0;

	/* A paced wire would take minutes for these. */
	for (size_t i = 0; i < DIRTS && !socket->pace_bytes_per_s; i++)
		if (dirts[i].quick || !o->quick)
			ret = ret ? ret : try_gaps(o, socket, way, &dirts[i],
						   model);
	return ret;
}
