/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench kinds: would this write hit metadata? The library's map, its rivals,
 * and the loops of the reference implementation, on images of a terabyte and
 * more, under every trace, in one run.
 *
 * ns per check is the median over groups of 64 checks timed together; groups
 * of all contestants are interleaved. All checks are of guest data, which hits
 * nothing: that is what a driver does all day. That contestants agree is
 * tested beforehand, with ranges of which many hit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "benches.h"
#include "kinds_work.h"
#include "plot.h"
#include "rivals/kinds/kindmap.h"
#include "ticks.h"

#define GROUP 64
#define CHECKS (UINT64_C(1) << 15)
#define PROBES 4096
#define CHANGES 2000
#define MAX_GROUPS (BENCH_MAX_REPS * (CHECKS / GROUP))

static const struct kindmap *const maps[] = {
	&kindmap_tidemark,  &kindmap_binary,	&kindmap_gap,
	&kindmap_flat,	    &kindmap_windows1,	&kindmap_windows4,
	&kindmap_windows16, &kindmap_windows64, &kindmap_windows256,
	&kindmap_linear,    &kindmap_loops,
};
#define MAPS (sizeof(maps) / sizeof(*maps))

struct contest {
	const struct kindmap *m;
	void *map;
	double build_ms, change_ns;
	uint64_t bytes;		/* before any change */
	uint64_t wrong;
	double ns[KINDS_TRACES], p99[KINDS_TRACES];
	uint64_t *group;
	size_t groups;
	double slow_ns;		/* of one check, roughly */
};

/* The library's map behind the rivals' interface. */
static void *tidemark_create(const struct kinds_image *im)
{
	struct kinds_image *mutable = (struct kinds_image *)(uintptr_t)im;
	struct tide_kinds *k;

	return kinds_image_map(mutable, &k) < 0 ? NULL : k;
}

/* Every cluster of a benchmark's changes is given in bytes. */
static uint32_t change_bits;

static void tidemark_destroy(void *map)
{
	tide_kinds_destroy(map);
}

static int tidemark_check(void *map, uint64_t offset, uint64_t bytes,
			  uint32_t allowed)
{
	return tide_kinds_check(map, offset, bytes, allowed, NULL);
}

static void tidemark_add(void *map, uint64_t cluster)
{
	if (tide_kinds_add(map, TIDE_KIND_L2, cluster << change_bits, 1, NULL))
		abort();
}

static void tidemark_remove(void *map, uint64_t cluster)
{
	if (tide_kinds_remove(map, TIDE_KIND_L2, cluster << change_bits, 1,
			      NULL))
		abort();
}

static uint64_t tidemark_bytes(const void *map)
{
	return tide_kinds_bytes(map);
}

const struct kindmap kindmap_tidemark = {
	"tidemark", tidemark_create, tidemark_destroy, tidemark_check,
	tidemark_add, tidemark_remove, tidemark_bytes, false
};

static double now_ms(void)
{
	return (double)tide__now_ns() / 1e6;
}

/* Random ranges at and around metadata; the first contestant rules. */
static void probe(struct contest *all, const struct kinds_image *im)
{
	uint64_t cluster = UINT64_C(1) << im->cluster_bits, seed = 3;

	for (int i = 0; i < PROBES; i++) {
		const struct kinds_place *p =
			&im->place[bench_random(&seed) % im->places];
		uint64_t offset = (p->cluster + bench_random(&seed) % 3)
				  << im->cluster_bits;
		uint64_t bytes = 1 + bench_random(&seed) % (2 * cluster);
		uint32_t allowed = bench_random(&seed) % 2 ? 0 : 1u << p->kind;
		int want;

		offset = offset ? offset - bench_random(&seed) % cluster : 0;
		want = all[0].m->check(all[0].map, offset, bytes, allowed);
		for (size_t k = 1; k < MAPS; k++)
			if (all[k].map && !all[k].m->partial &&
			    (i < 64 || all[k].slow_ns < 1e5))
				all[k].wrong += all[k].m->check(
					all[k].map, offset, bytes,
					allowed) != want;
	}
}

/* Tables that come and go, at random places that bear nothing. */
static double time_changes(struct contest *c, const struct kinds_image *im)
{
	uint64_t *at = malloc(CHANGES * sizeof(*at)), seed = 11;
	uint64_t data = im->guest_bytes >> im->cluster_bits;
	size_t done;
	double start;

	if (!at)
		return -1;
	change_bits = im->cluster_bits;
	/* One in each of equal parts, so that all are different. */
	for (uint64_t i = 0; i < CHANGES; i++)
		at[i] = kinds_image_host(
			im, (data / CHANGES * i +
			     bench_random(&seed) % (data / CHANGES))
				    << im->cluster_bits) >> im->cluster_bits;
	for (size_t i = CHANGES - 1; i > 0; i--) {
		size_t j = bench_random(&seed) % (i + 1);
		uint64_t t = at[i];

		at[i] = at[j];
		at[j] = t;
	}
	start = now_ms();
	/* Moving hundreds of megabytes each time need not be done often. */
	for (done = 0; done < CHANGES && now_ms() - start < 200; done++)
		c->m->add(c->map, at[done]);
	for (size_t i = 0; i < done; i++)
		c->m->remove(c->map, at[i]);
	start = now_ms() - start;
	free(at);
	return start * 1e6 / (2 * (double)done);
}

/* How many checks of @c fit in about 20 ms. */
static void rate(struct contest *c, const struct kinds_trace *t)
{
	double start = now_ms();

	for (size_t i = 0; i < 3; i++)
		c->m->check(c->map, t->write[i].offset, t->write[i].bytes, 0);
	c->slow_ns = (now_ms() - start) * 1e6 / 3;
}

static int build(struct contest *c, const struct kinds_image *im)
{
	double start = now_ms();

	c->map = c->m->create(im);
	c->build_ms = now_ms() - start;
	c->bytes = c->map ? c->m->bytes(c->map) : 0;
	c->group = malloc(MAX_GROUPS * sizeof(*c->group));
	return c->group ? 0 : 1;
}

static void time_trace(struct contest *c, const struct kinds_trace *t)
{
	size_t n = t->n < CHECKS ? t->n : CHECKS, group = GROUP;
	/* Recorded ones are longer than a repetition: go on where it ended. */
	size_t at = t->n > n ? c->groups * GROUP % (t->n - n) : 0;
	int hits = 0;

	if (c->slow_ns * (double)n > 2e7)
		n = (size_t)(2e7 / c->slow_ns);
	if (n < GROUP)
		n = group = n < 4 ? 4 : n;
	for (size_t i = at; i + group <= at + n; i += group) {
		uint64_t start = bench_ticks();

		for (size_t k = i; k < i + group; k++)
			hits += c->m->check(c->map, t->write[k].offset,
					    t->write[k].bytes, 0);
		/* As if the group were a whole one. */
		c->group[c->groups++] =
			(bench_ticks() - start) * GROUP / group;
	}
	c->wrong += hits != 0 && !c->m->partial;
}

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return (a > b) - (a < b);
}

static void judge(struct contest *c, size_t trace)
{
	size_t n = c->groups;

	if (!n)
		return;
	qsort(c->group, n, sizeof(*c->group), by_value);
	c->ns[trace] = bench_ticks_ns(c->group[n / 2]) / GROUP;
	c->p99[trace] = bench_ticks_ns(c->group[n - 1 - n / 100]) / GROUP;
}

static void run_trace(struct contest *all, const struct kinds_trace *t,
		      size_t number, unsigned int reps)
{
	for (size_t k = 0; k < MAPS; k++)
		all[k].groups = 0;
	for (unsigned int rep = 0; rep < reps && t->n >= GROUP; rep++)
		for (size_t k = 0; k < MAPS; k++)
			if (all[k].map && (rep < 3 || all[k].slow_ns < 1e6))
				time_trace(&all[k], t);
	for (size_t k = 0; k < MAPS; k++)
		judge(&all[k], number);
}

/* "kinds-1T-64K-0-fragmented" */
static void title(char text[80], const struct kinds_image *im)
{
	snprintf(text, 80, "kinds-%lluT-%uK-%u-%s",
		 (unsigned long long)(im->guest_bytes >> 40),
		 1u << im->cluster_bits >> 10, im->snapshots,
		 im->contiguous ? "contiguous" : "fragmented");
}

static void print_json(const struct contest *c, const struct kinds_image *im,
		       const struct kinds_trace *t)
{
	for (size_t i = 0; i < KINDS_TRACES; i++)
		printf("{\"table\":\"kinds\",\"guest_bytes\":%llu,"
		       "\"cluster_bytes\":%u,\"snapshots\":%u,"
		       "\"contiguous\":%s,\"runs\":%zu,\"name\":\"%s\","
		       "\"trace\":\"%s\",\"median_ns\":%.2f,\"p99_ns\":%.2f,"
		       "\"bytes\":%llu,\"build_ms\":%.3f,\"change_ns\":%.1f,"
		       "\"agrees\":%s}\n",
		       (unsigned long long)im->guest_bytes,
		       1u << im->cluster_bits, im->snapshots,
		       im->contiguous ? "true" : "false", im->runs, c->m->name,
		       t[i].name, c->ns[i], c->p99[i],
		       (unsigned long long)c->bytes, c->build_ms,
		       c->change_ns, c->wrong ? "false" : "true");
}

static void print_row(const struct contest *c)
{
	printf("%-18s", c->m->name);
	if (!c->map) {
		printf(" would need more than a gigabyte\n");
		return;
	}
	for (size_t i = 0; i < KINDS_TRACES; i++)
		printf(" %12.1f", c->ns[i]);
	printf(" %12.1f %12llu %10.2f %10.0f%s\n", c->p99[KINDS_TRACES - 1],
	       (unsigned long long)c->bytes, c->build_ms,
	       c->change_ns, c->wrong ? "  WRONG" : "");
}

static void print_all(const struct bench_options *o, const struct contest *all,
		      const struct kinds_image *im, const struct kinds_trace *t)
{
	char text[80];

	title(text, im);
	if (!o->json) {
		printf("\n%s: disk, clusters, snapshots; %zu runs; "
		       "ns per check, median\n%-18s", text, im->runs, "");
		for (size_t i = 0; i < KINDS_TRACES; i++)
			printf(" %12s", t[i].name);
		printf(" %12s %12s %10s %10s\n", "p99 of last", "bytes",
		       "build ms", "change ns");
	}
	for (size_t k = 0; k < MAPS; k++)
		for (size_t i = 0; i < KINDS_TRACES && all[k].map; i++)
			bench_plot_add(text, t[i].name, all[k].m->name,
				       all[k].ns[i], all[k].ns[i],
				       all[k].p99[i]);
	for (size_t k = 0; k < MAPS; k++)
		if (!o->json)
			print_row(&all[k]);
		else if (all[k].map)
			print_json(&all[k], im, t);
	fflush(stdout);
}

/* Everything about one image; 1 if it could not be, or they disagree. */
static int one_image(const struct bench_options *o, struct kinds_image *im)
{
	struct kinds_trace traces[KINDS_TRACES] = { 0 };
	struct contest all[MAPS];
	int bad = 0;

	memset(all, 0, sizeof(all));
	for (size_t k = 0; k < MAPS; k++) {
		all[k].m = maps[k];
		bad |= build(&all[k], im);
	}
	bad |= !all[0].map || kinds_work_make(traces, im, CHECKS) < 0;
	for (size_t k = 0; k < MAPS && !bad; k++)
		if (all[k].map)
			rate(&all[k], &traces[1]);
	if (!bad)
		probe(all, im);
	for (size_t i = 0; i < KINDS_TRACES && !bad; i++)
		run_trace(all, &traces[i], i, o->reps);
	for (size_t k = 0; k < MAPS && !bad; k++)
		if (all[k].map)
			all[k].change_ns = time_changes(&all[k], im);
	if (!bad)
		print_all(o, all, im, traces);
	for (size_t k = 0; k < MAPS; k++) {
		bad |= all[k].wrong != 0;
		if (all[k].map)
			all[k].m->destroy(all[k].map);
		free(all[k].group);
	}
	kinds_work_fini(traces);
	return bad;
}

/* All contestants together hold some 200 bytes an L2 table. */
static bool too_large(const struct kinds_image *im)
{
	uint64_t tables = im->guest_bytes >> (2 * im->cluster_bits - 3);
	uint64_t memory = (uint64_t)sysconf(_SC_AVPHYS_PAGES) *
			  (uint64_t)sysconf(_SC_PAGESIZE);
	char text[80];

	if (tables * 200 < memory)
		return false;
	title(text, im);
	fprintf(stderr, "%s: left out, needs %llu MiB of memory\n", text,
		(unsigned long long)(tables * 200 >> 20));
	return true;
}

int bench_kinds(const struct bench_options *o)
{
	static const uint32_t snapshots[] = { 0, 1, 100 };
	int bad = 0;

	for (int i = 0; i < 24; i++) {
		struct kinds_image im = {
			.guest_bytes = UINT64_C(1) << (i < 12 ? 40 : 46),
			.cluster_bits = i / 6 % 2 ? 12 : 16,
			.snapshots = snapshots[i / 2 % 3],
			.contiguous = i % 2,
		};

		if (o->quick && (i >= 6 || im.snapshots == 1))
			continue;
		if (too_large(&im))
			continue;
		if (kinds_image_make(&im) < 0)
			bad = 1;
		else
			bad |= one_image(o, &im);
		kinds_image_fini(&im);
	}
	return bad;
}
