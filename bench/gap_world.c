/* SPDX-License-Identifier: BSD-2-Clause */
#include "gap_world.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "tidemark/scan.h"

#define SCAN_BATCH 512

static uint64_t *stamp(unsigned char *memory, uint64_t page)
{
	return (uint64_t *)(void *)(memory + page * PAGE_BYTES);
}

/* The source's pages: noise, and first their number + 1. */
static void fill(struct gap_world *w)
{
	uint64_t seed = 20261121;

	for (uint64_t p = 0; p < w->pages; p++) {
		uint64_t *at = stamp(w->from, p);

		for (size_t i = 1; i < PAGE_BYTES / sizeof(*at); i++)
			at[i] = bench_random(&seed);
		*at = p + 1;
	}
}

int gap_world_open(struct gap_world *w, const struct gap_socket *socket,
		   enum gap_way way, uint64_t pages)
{
	int ret;

	memset(w, 0, sizeof(*w));
	w->socket = socket;
	w->way = way;
	w->pages = pages;
	w->from = bench_memory(pages * PAGE_BYTES, true);
	w->to = bench_memory(pages * PAGE_BYTES, true);
	fill(w);
	ret = gap_wire_open(&w->wire, socket, way, w->from, w->to, pages);
	if (ret) {
		bench_free(w->from, pages * PAGE_BYTES);
		bench_free(w->to, pages * PAGE_BYTES);
	}
	return ret;
}

int gap_world_close(struct gap_world *w)
{
	int ret = gap_wire_close(w->wire);

	bench_free(w->from, w->pages * PAGE_BYTES);
	bench_free(w->to, w->pages * PAGE_BYTES);
	return w->ret ? w->ret : ret;
}

uint64_t *gap_map(struct gap_world *w)
{
	uint64_t *map = calloc((w->pages + 63) / 64, sizeof(*map));

	if (!map && !w->ret)
		w->ret = -ENOMEM;
	return map;
}

static bool is_dirty(const struct gap_sending *s, uint64_t page)
{
	return s->dirty[page / 64] >> page % 64 & 1;
}

/* Blank the receiver's stamps, so that old pages do not pass for new ones. */
static void blank(struct gap_world *w)
{
	for (uint64_t p = 0; p < w->pages; p++)
		*stamp(w->to, p) = 0;
}

/* Is every dirty page there, and every page that came in its place? */
static void check(struct gap_world *w, const struct gap_sending *s, bool whole)
{
	uint64_t came = 0;

	for (uint64_t p = 0; p < w->pages && !w->ret; p++) {
		const unsigned char *at = w->to + p * PAGE_BYTES;
		uint64_t mark = *stamp(w->to, p);

		came += mark != 0;
		if ((mark && mark != p + 1) || (!mark && is_dirty(s, p)) ||
		    (mark && whole &&
		     memcmp(at, w->from + p * PAGE_BYTES, PAGE_BYTES)))
			w->ret = -EBADMSG;
	}
	if (!w->ret && came != s->pages)
		w->ret = -EBADMSG;
}

static void send_one(struct gap_world *w, struct gap_sending *s)
{
	struct tide_scan_options o = { .a = s->dirty, .a_pages = w->pages,
				       .gap_pages = s->gap };
	struct tide_range ranges[SCAN_BATCH];
	struct tide_scan *scan;
	size_t n;
	int ret = tide_scan_create(&scan, &o, NULL);

	if (!ret) {
		while ((n = tide_scan_next(scan, ranges, SCAN_BATCH)))
			gap_wire_send(w->wire, ranges, n);
		tide_scan_destroy(scan);
		ret = gap_wire_end(w->wire, &s->pages, &s->ranges);
	}
	if (ret && !w->ret)
		w->ret = ret;
}

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

struct gap_spread gap_spread(const double *values, unsigned int n)
{
	double v[BENCH_MAX_REPS];

	memcpy(v, values, n * sizeof(*v));
	qsort(v, n, sizeof(*v), by_value);
	return (struct gap_spread){ .median = v[n / 2], .low = v[n / 4],
				    .high = v[n - 1 - n / 4] };
}

/* The ratio of times in each repetition: what drifts cancels out. */
struct gap_spread gap_ratio(const struct gap_sending *s,
			    const struct gap_sending *to, unsigned int reps)
{
	double ratio[BENCH_MAX_REPS];

	for (unsigned int i = 0; i < reps; i++)
		ratio[i] = s->ns[i] / to->ns[i];
	return gap_spread(ratio, reps);
}

void gap_measure(struct gap_world *w, struct gap_sending *sendings, size_t n,
		 unsigned int reps)
{
	for (unsigned int rep = 0; rep <= reps; rep++)
		for (size_t i = 0; i < n && !w->ret; i++) {
			/* Nobody always comes after the same one. */
			struct gap_sending *s = &sendings[(i + rep) % n];
			uint64_t start;

			blank(w);
			start = tide__now_ns();
			send_one(w, s);
			/* The first round warms up; the second overwrites. */
			s->ns[rep ? rep - 1 : 0] =
				(double)(tide__now_ns() - start);
			check(w, s, rep == reps);
		}
	for (size_t i = 0; i < n; i++)
		sendings[i].spread = gap_spread(sendings[i].ns, reps);
}
