/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench gap: from how many clean pages between two runs on is one more range
 * cheaper than sending them along? And does tide_gap_pages() know it?
 *
 * For each socket and way of sending (gap_wire.h):
 *
 * 1. Model. Two dirty maps, single pages and runs of 64, both 16 pages apart,
 *    are sent as they are. Their times are two equations: time = ranges *
 *    range_ns + pages * page_ns. What tide_gap_pages() makes of the solution
 *    is the model's answer.
 * 2. Break-even. Groups of 16 single dirty pages exactly k clean ones apart,
 *    the groups 128, are sent as they are, and each group joined. Where joined
 *    stops being faster is the truth, interpolated between the k tried.
 * 3. Choice (gap_choice.c). Dirty maps as guests make them are sent with
 *    several gaps, the model's among them.
 *
 * Timed: the scan of the bitmap, sending, placing by the receiver's thread, and
 * its report. Not timed: connecting, and the check after each sending that
 * every dirty page arrived in its place.
 */
#include "gap_world.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "benches.h"
#include "plot.h"
#include "tidemark/scan.h"

#define APART 16
#define RUN 64
#define GROUP 16
#define GROUPS_APART 128
#define MAX_TRIES 12

/* Runs of @run dirty pages with @apart clean ones between. */
static void every(uint64_t *map, uint64_t pages, unsigned int run,
		  unsigned int apart)
{
	memset(map, 0, (pages + 63) / 64 * 8);
	for (uint64_t p = 0; p < pages; p++)
		if (p % (run + apart) < run)
			map[p / 64] |= UINT64_C(1) << p % 64;
}

/* Groups of GROUP single dirty pages with @apart clean ones between. */
static void groups(uint64_t *map, uint64_t pages, unsigned int apart)
{
	uint64_t at = 0;

	memset(map, 0, (pages + 63) / 64 * 8);
	for (unsigned int n = 1; at < pages; n++) {
		map[at / 64] |= UINT64_C(1) << at % 64;
		at += 1 + (n % GROUP ? apart : GROUPS_APART);
	}
}

/* What is sent, in one measurement: two maps for the model, then pairs. */
struct plan {
	const unsigned int *tries;	/* clean pages apart */
	size_t n;
	uint64_t *map[2 + MAX_TRIES];
	struct gap_sending s[2 + 2 * MAX_TRIES];
	struct gap_spread ratio[MAX_TRIES];	/* joined to split */
};

static void make_plan(struct gap_world *w, struct plan *p)
{
	/* Where each range waits for an answer, joining pays for longer. */
	static const unsigned int near[] = { 1, 2, 3, 4, 6, 8, 12 };
	static const unsigned int far[] = { 1, 2, 3, 4, 6, 8, 12, 16, 24, 32,
					    48, 64 };

	p->tries = w->way == GAP_ANSWER ? far : near;
	p->n = w->way == GAP_ANSWER ? sizeof(far) / sizeof(*far)
				    : sizeof(near) / sizeof(*near);
	for (size_t i = 0; i < 2 + p->n; i++) {
		p->map[i] = gap_map(w);
		if (w->ret)
			return;
	}
	every(p->map[0], w->pages, 1, APART);
	every(p->map[1], w->pages, RUN, APART);
	p->s[0].dirty = p->map[0];
	p->s[1].dirty = p->map[1];
	for (size_t i = 0; i < p->n; i++) {
		struct gap_sending *pair = &p->s[2 + 2 * i];

		groups(p->map[2 + i], w->pages, p->tries[i]);
		pair[0].dirty = pair[1].dirty = p->map[2 + i];
		pair[1].gap = p->tries[i];
	}
}

static void free_plan(struct plan *p)
{
	for (size_t i = 0; i < 2 + MAX_TRIES; i++)
		free(p->map[i]);
	free(p);
}

/* Step 1, for each repetition by itself. False: makes no sense, too noisy. */
static bool solve(const struct gap_sending s[2], unsigned int reps,
		  struct gap_model *m)
{
	double r0 = (double)s[0].ranges, p0 = (double)s[0].pages;
	double r1 = (double)s[1].ranges, p1 = (double)s[1].pages;
	double det = r0 * p1 - r1 * p0;
	double page_ns[BENCH_MAX_REPS], pages[BENCH_MAX_REPS];

	for (unsigned int i = 0; i < reps; i++) {
		double t0 = s[0].ns[i], t1 = s[1].ns[i];
		double range_ns = fmax((t0 * p1 - t1 * p0) / det, 0);

		page_ns[i] = (t1 * r0 - t0 * r1) / det;
		pages[i] = page_ns[i] > 0 ? range_ns / page_ns[i] : INFINITY;
	}
	m->page_ns = gap_spread(page_ns, reps).median;
	m->pages = gap_spread(pages, reps);
	/* The ratio is steadier than what a range costs: start from that. */
	m->range_ns = m->pages.median * m->page_ns;
	if (m->page_ns <= 0 || !isfinite(m->pages.high))
		return false;
	m->gap_pages = tide_gap_pages((uint64_t)(m->range_ns + .5),
				      (uint64_t)(PAGE_BYTES * 1e9 / m->page_ns),
				      PAGE_BYTES);
	return true;
}

/* Where the line through @ratio[] passes 1 for good; 0: at once. */
static double crossing(const struct plan *p, const double *ratio)
{
	size_t i = p->n;
	double k, before;

	while (i && ratio[i - 1] > 1)
		i--;
	if (i == p->n)
		return INFINITY;
	if (!i)
		return 0;
	k = p->tries[i - 1];
	before = ratio[i - 1];
	return k + (p->tries[i] - k) * (1 - before) / (ratio[i] - before);
}

/* Step 2. */
static struct gap_spread break_even(struct plan *p, unsigned int reps)
{
	double median[MAX_TRIES], low[MAX_TRIES], high[MAX_TRIES];

	for (size_t i = 0; i < p->n; i++) {
		const struct gap_sending *pair = &p->s[2 + 2 * i];

		p->ratio[i] = gap_ratio(&pair[1], &pair[0], reps);
		median[i] = p->ratio[i].median;
		low[i] = p->ratio[i].low;
		high[i] = p->ratio[i].high;
	}
	/* A higher ratio crosses earlier. */
	return (struct gap_spread){ .median = crossing(p, median),
				    .low = crossing(p, high),
				    .high = crossing(p, low) };
}

static void print_pair(const struct bench_options *o,
		       const struct gap_world *w, const struct plan *p,
		       size_t i)
{
	const struct gap_spread *split = &p->s[2 + 2 * i].spread;
	const struct gap_spread *joined = &p->s[3 + 2 * i].spread;
	struct gap_spread ratio = p->ratio[i];

	if (o->json)
		printf("{\"table\":\"gap\",\"socket\":\"%s\",\"way\":\"%s\","
		       "\"apart_pages\":%u,\"split_ns\":%.0f,\"joined_ns\":"
		       "%.0f,\"joined_to_split\":%.3f,\"ratio_low\":%.3f,"
		       "\"ratio_high\":%.3f}\n",
		       w->socket->name, gap_way_names[w->way], p->tries[i],
		       split->median, joined->median, ratio.median, ratio.low,
		       ratio.high);
	else
		printf("gap      %-10s %-7s %3u apart: split %8.2f ms, joined "
		       "%8.2f ms, %5.2fx (%.2f .. %.2f)\n",
		       w->socket->name, gap_way_names[w->way], p->tries[i],
		       split->median / 1e6, joined->median / 1e6, ratio.median,
		       ratio.low, ratio.high);
}

static void plot_pair(const struct gap_world *w, const struct plan *p, size_t i)
{
	static const char *const kinds[] = { "split", "joined" };

	for (int k = 0; k < 2; k++) {
		const struct gap_spread *t = &p->s[2 + 2 * i + k].spread;
		char table[32], row[16], name[48];

		snprintf(table, sizeof(table), "gap-%s", w->socket->name);
		snprintf(row, sizeof(row), "%u apart", p->tries[i]);
		snprintf(name, sizeof(name), "%s, %s", gap_way_names[w->way],
			 kinds[k]);
		bench_plot_add(table, row, name, t->median, t->low, t->high);
	}
}

/* Pages as text; what was not reached within what was tried is null or "-". */
static const char *pages_text(char text[16], double pages, bool json)
{
	if (isfinite(pages))
		snprintf(text, 16, "%.2f", pages);
	else
		strcpy(text, json ? "null" : "-");
	if (!json && pages < 1)
		strcpy(text, "<1");
	return text;
}

static void print_verdict(const struct bench_options *o,
			  const struct gap_world *w, const struct gap_model *m,
			  const struct gap_spread *truth)
{
	char text[3][16];

	pages_text(text[0], truth->median, o->json);
	pages_text(text[1], truth->low, o->json);
	pages_text(text[2], truth->high, o->json);
	if (o->json)
		printf("{\"table\":\"gap\",\"socket\":\"%s\",\"way\":\"%s\","
		       "\"range_ns\":%.0f,\"page_ns\":%.0f,\"model_pages\":"
		       "%.2f,\"model_low\":%.2f,\"model_high\":%.2f,"
		       "\"gap_pages\":%llu,\"break_even_pages\":%s,"
		       "\"break_even_low\":%s,\"break_even_high\":%s}\n",
		       w->socket->name, gap_way_names[w->way], m->range_ns,
		       m->page_ns, m->pages.median, m->pages.low, m->pages.high,
		       (unsigned long long)m->gap_pages, text[0], text[1],
		       text[2]);
	else
		printf("gap      %-10s %-7s a range %.0f ns, a page %.0f ns: "
		       "the model says %.2f (%.2f .. %.2f), joins up to %llu; "
		       "measured %s (%s .. %s)\n",
		       w->socket->name, gap_way_names[w->way], m->range_ns,
		       m->page_ns, m->pages.median, m->pages.low, m->pages.high,
		       (unsigned long long)m->gap_pages, text[0], text[1],
		       text[2]);
}

/* Steps 1 and 2 in one measurement, for the machine has moods. */
static int model_and_truth(struct gap_world *w, const struct bench_options *o,
			   struct gap_model *m)
{
	struct plan *p = calloc(1, sizeof(*p));
	struct gap_spread truth;

	if (!p)
		return -ENOMEM;
	make_plan(w, p);
	if (!w->ret)
		gap_measure(w, p->s, 2 + 2 * p->n, o->reps);
	if (!w->ret && !solve(p->s, o->reps, m))
		fprintf(stderr, "tidemark bench: gap: %s, %s: too noisy to "
			"solve for the model\n", w->socket->name,
			gap_way_names[w->way]);
	else if (!w->ret) {
		truth = break_even(p, o->reps);
		for (size_t i = 0; i < p->n; i++) {
			print_pair(o, w, p, i);
			plot_pair(w, p, i);
		}
		print_verdict(o, w, m, &truth);
	}
	free_plan(p);
	return 0;
}

/* All steps for one socket and way. */
static int contest(const struct bench_options *o, const struct gap_socket *s,
		   enum gap_way way, uint64_t pages)
{
	struct gap_world w;
	struct gap_model m = { 0 };
	int ret = gap_world_open(&w, s, way, pages), closed;

	if (!ret) {
		ret = model_and_truth(&w, o, &m);
		closed = gap_world_close(&w);
		ret = ret ? ret : closed;
	}
	if (!ret && m.page_ns > 0)
		ret = gap_choice(o, s, way, &m);
	if (ret)
		fprintf(stderr, "tidemark bench: gap: %s, %s: %s\n", s->name,
			gap_way_names[way], strerror(-ret));
	fflush(stdout);
	return ret;
}

int bench_gap(const struct bench_options *o)
{
	static const struct gap_socket sockets[] = {
		{ .name = "unix" },
		{ .name = "tcp", .tcp = 1 },
		{ .name = "tcp-4gbit", .tcp = 1,
		  .pace_bytes_per_s = 500000000 },
	};
	int ret = 0;

	for (size_t i = 0; i < sizeof(sockets) / sizeof(*sockets); i++) {
		bool paced = sockets[i].pace_bytes_per_s;
		uint64_t pages = paced || o->quick ? 8192 : 32768;

		if (paced && o->quick)
			continue;
		for (int way = 0; way < GAP_WAYS; way++)
			ret |= contest(o, &sockets[i], (enum gap_way)way,
				       pages);
	}
	return ret ? 1 : 0;
}
