/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench slots: whose address is this? Every candidate, plain and behind the
 * cache of intervals, on every workload and slot count, in one run.
 *
 * Three figures each. The median: groups of 64 lookups timed together. The
 * 99.9th percentile: lookups timed one by one, less the cost of the clock.
 * Cold: the first 64 lookups after the caches were emptied. All candidates copy
 * the slot that they find.
 */
#include "slots_bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plot.h"
#include "recorded.h"
#include "tidemark/slots_inline.h"
#include "ticks.h"

#define GROUP 64
#define LOOKUPS (UINT64_C(1) << 15)
#define SINGLES 8192
#define MAX_LOOKUPS (UINT64_C(1) << 18)

static const struct slotmap *const maps[] = {
	&slotmap_tidemark,   &slotmap_linear,	 &slotmap_binary,
	&slotmap_eytzinger,  &slotmap_btree_simd, &slotmap_weighted,
	&slotmap_red_black,  &slotmap_red_black_last, &slotmap_phys_page,
	&slotmap_radix,
};
#define MAPS (sizeof(maps) / sizeof(*maps))

static const uint32_t counts[] = { 4, 32, 128, 512, 4096, 32764 };
#define COUNTS (sizeof(counts) / sizeof(*counts))

/* One candidate on one workload. */
struct contest {
	const struct slotmap *m;
	bool cached;
	void *map;
	struct slot_cache cache;
	uint64_t group[BENCH_MAX_REPS * (LOOKUPS / GROUP)];
	size_t groups;
	uint64_t single[SINGLES];
	size_t singles;
	double cold[BENCH_MAX_REPS];
	uint64_t sum;
};

struct figures {
	double median, p999, cold; /* ns; negative: not measured */
	bool wrong;
};

static inline bool look(struct contest *c, uint64_t gpa, struct tide_slot *out)
{
	return c->cached ? c->m->find_cached(c->map, &c->cache, gpa, out) :
			   c->m->find(c->map, &c->cache, gpa, out);
}

/* All lookups in groups: the sum of what was found proves the work. */
static void time_groups(struct contest *c, const struct slots_work *w,
			size_t lookups)
{
	struct tide_slot out = { 0 };
	uint64_t sum = 0;

	for (size_t i = 0; i + GROUP <= lookups; i += GROUP) {
		uint64_t start = bench_ticks();

		for (size_t k = i; k < i + GROUP; k++)
			sum += look(c, w->gpa[k], &out) ? out.id + 1 : 0;
		c->group[c->groups++] = bench_ticks() - start;
	}
	c->sum = sum;
}

/* Those that were measured before have filled the caches with their own. */
static void warm_up(struct contest *c, const struct slots_work *w,
		    size_t lookups)
{
	struct tide_slot out = { 0 };

	for (size_t i = 0; i < lookups; i++)
		look(c, w->gpa[i], &out);
}

static void time_singles(struct contest *c, const struct slots_work *w,
			 size_t lookups)
{
	struct tide_slot out = { 0 };

	c->singles = lookups < SINGLES ? lookups : SINGLES;
	for (size_t i = 0; i < c->singles; i++) {
		uint64_t start = bench_ticks_ordered();

		look(c, w->gpa[i], &out);
		c->single[i] = bench_ticks_ordered() - start;
	}
}

static double time_cold(struct contest *c, const struct slots_work *w,
			size_t lookups)
{
	struct tide_slot out = { 0 };
	size_t n = lookups < GROUP ? lookups : GROUP;
	uint64_t start;

	bench_cold();
	start = bench_ticks();
	for (size_t i = 0; i < n; i++)
		look(c, w->gpa[lookups - 1 - i], &out);
	return bench_ticks_ns(bench_ticks() - start) / (double)n;
}

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return (a > b) - (a < b);
}

static int by_double(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

static struct figures judge(struct contest *c, unsigned int reps)
{
	struct figures f = { .cold = -1 };
	double clock_ns = bench_ticks_ns(bench_ticks_cost());
	double worst;

	qsort(c->group, c->groups, sizeof(*c->group), by_value);
	qsort(c->single, c->singles, sizeof(*c->single), by_value);
	f.median = bench_ticks_ns(c->group[c->groups / 2]) / GROUP;
	worst = bench_ticks_ns(c->single[c->singles - 1 - c->singles / 1000]);
	f.p999 = worst > clock_ns ? worst - clock_ns : 0;
	if (reps) {
		qsort(c->cold, reps, sizeof(*c->cold), by_double);
		f.cold = c->cold[reps / 2];
	}
	return f;
}

static size_t lookups_for(const struct slotmap *m, const struct slots_work *w)
{
	/* A linear search takes microseconds: fewer will do. */
	return m->max && w->n > 64 && w->lookups > 4096 ? 4096 : w->lookups;
}

/* All candidates on @w, interleaved; @out by 2 * map + cached. */
static int contest_all(const struct bench_options *o,
		       const struct slots_work *w, bool cold,
		       struct figures *out)
{
	unsigned int cold_reps = cold ? o->quick ? 1 : o->reps : 0;
	struct contest *all;

	if (posix_memalign((void **)&all, 64, 2 * MAPS * sizeof(*all)))
		return 1;
	memset(all, 0, 2 * MAPS * sizeof(*all));
	for (size_t i = 0; i < 2 * MAPS; i++) {
		struct contest *c = &all[i];

		c->m = maps[i / 2];
		c->cached = i % 2;
		slot_cache_reset(&c->cache);
		if (c->m->name && (!c->m->max || w->n <= c->m->max))
			c->map = c->m->create(w->slots, w->n);
	}
	for (unsigned int rep = 0; rep < o->reps; rep++)
		for (size_t i = 0; i < 2 * MAPS; i++) {
			struct contest *c = &all[i];
			size_t n = lookups_for(c->m, w);

			if (!c->map)
				continue;
			if (rep < cold_reps)
				c->cold[rep] = time_cold(c, w, n);
			warm_up(c, w, n < LOOKUPS ? n : LOOKUPS);
			time_groups(c, w, n < LOOKUPS ? n : LOOKUPS);
			if (rep == 0)
				time_singles(c, w, n);
		}
	for (size_t i = 0; i < 2 * MAPS; i++) {
		struct contest *c = &all[i];

		out[i] = (struct figures){ -1, -1, -1, false };
		if (!c->map)
			continue;
		out[i] = judge(c, cold_reps);
		out[i].wrong = c->sum != all[0].sum &&
			       lookups_for(c->m, w) == w->lookups;
		c->m->destroy(c->map);
	}
	free(all);
	return 0;
}

/* Ours goes through a reader or not, the others through a cache or not. */
static const char *label(size_t i)
{
	static char name[48];

	if (i < 2)
		return i ? "tidemark" : "tidemark, no reader";
	snprintf(name, sizeof(name), "%s%s", maps[i / 2]->name,
		 i % 2 ? " + cache" : "");
	return name;
}

/* A picture for each workload; one of an order is as the other. */
static void plot(const char *work, const char *how, uint32_t n, size_t i,
		 const struct figures *f)
{
	char table[32], row[16];
	size_t at = 0;

	snprintf(table, sizeof(table), "slots-%s-%s", work, how);
	while (table[at]) {
		if (table[at] == '/')
			table[at] = '-';
		at++;
	}
	snprintf(row, sizeof(row), "%u", n);
	if (f->median > 0)
		bench_plot_add(table, row, label(i), f->median, f->median,
			       f->median);
}

/* How the shipped map did against the best of all rivals, plain and cached. */
static struct {
	unsigned int rows, behind;	/* behind: by more than 10 % */
	double worst;
	char where[64];
} verdict;

static void judge_row(const struct figures *f, const char *work,
		      const char *how, uint32_t n)
{
	double best = -1, ratio;

	for (size_t i = 2; i < 2 * MAPS; i++)
		if (f[i].median >= 0 && (best < 0 || f[i].median < best))
			best = f[i].median;
	ratio = f[1].median / best;
	verdict.rows++;
	verdict.behind += ratio > 1.1;
	if (ratio <= verdict.worst)
		return;
	verdict.worst = ratio;
	snprintf(verdict.where, sizeof(verdict.where), "%u slots, %s %s", n,
		 work, how);
}

static void print_json(const char *work, const char *how, uint32_t n, size_t i,
		       const struct figures *f)
{
	printf("{\"table\":\"slots\",\"workload\":\"%s\",\"order\":\"%s\","
	       "\"slots\":%u,\"name\":\"%s\",\"cached\":%s,\"median_ns\":%.2f,"
	       "\"p999_ns\":%.1f,\"cold_ns\":%.1f,\"agrees\":%s,"
	       "\"written_afresh\":%s}\n",
	       work, how, n, maps[i / 2]->name, i % 2 ? "true" : "false",
	       f->median, f->p999, f->cold, f->wrong ? "false" : "true",
	       maps[i / 2]->afresh ? "true" : "false");
}

static void print_figures(const struct figures *f)
{
	if (f->median < 0)
		printf(" %18s", "-");
	else if (f->cold < 0)
		printf(" %10.1f/%7.0f%s", f->median, f->p999,
		       f->wrong ? "!" : "");
	else
		printf(" %6.1f/%5.0f/%5.0f%s", f->median, f->p999, f->cold,
		       f->wrong ? "!" : "");
}

/* One workload, every count. */
static int one_mix(const struct bench_options *o, const struct slots_mix *mix,
		   bool local)
{
	static struct figures f[COUNTS][2 * MAPS];
	const char *how = local ? "local" : "uniform";
	struct slots_work w;

	for (size_t k = 0; k < COUNTS; k++) {
		if (slots_work_make(&w, mix, local, counts[k],
				    o->quick ? LOOKUPS / 16 : LOOKUPS,
				    o->seed) ||
		    contest_all(o, &w, !local, f[k]))
			return 1;
		slots_work_fini(&w);
		if (counts[k] >= 32)
			judge_row(f[k], mix->name, how, counts[k]);
	}
	if (!o->json) {
		printf("\nmiss/RAM/small %s, %s: median/p99.9%s ns\n%-29s",
		       mix->name, how, local ? "" : "/cold", "slots");
		for (size_t k = 0; k < COUNTS; k++)
			printf(" %18u", counts[k]);
		printf("\n");
	}
	for (size_t at = 0; at < 2 * MAPS; at++) {
		size_t i = at < 2 ? 1 - at : at;	/* the reader first */

		if (!maps[i / 2]->name)
			continue;
		if (!o->json)
			printf("%-29s", label(i));
		for (size_t k = 0; k < COUNTS; k++)
			plot(mix->name, how, counts[k], i, &f[k][i]);
		for (size_t k = 0; k < COUNTS; k++)
			if (!o->json)
				print_figures(&f[k][i]);
			else if (f[k][i].median >= 0)
				print_json(mix->name, how, counts[k], i,
					   &f[k][i]);
		if (!o->json)
			printf("\n");
	}
	fflush(stdout);
	return 0;
}

static int one_trace(const struct bench_options *o, const char *folder,
		     const char *name)
{
	static struct figures f[2 * MAPS];
	struct slots_work w;
	char path[4096];
	int ret;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	ret = slots_work_load(&w, path, MAX_LOOKUPS);
	if (ret < 0) {
		if (!o->json)
			printf("\ntrace %s: not here (%s)\n", path,
			       strerror(-ret));
		return 0;
	}
	if (contest_all(o, &w, false, f))
		return 1;
	if (!o->json)
		printf("\ntrace %s, %u slots: median/p99.9 ns\n", name, w.n);
	for (size_t i = 0; i < 2 * MAPS; i++) {
		if (!maps[i / 2]->name || f[i].median < 0)
			continue;
		if (o->json) {
			print_json(name, "recorded", w.n, i, &f[i]);
			continue;
		}
		printf("%-29s", label(i));
		print_figures(&f[i]);
		printf("\n");
	}
	slots_work_fini(&w);
	return 0;
}

/* Through the inline call, as a device model has it: ns a lookup. */
static double direct_misses(const struct slots_work *w)
{
	struct tide_slots_reader *reader;
	struct tide_slots *slots;
	double best = 1e9;

	if (tide_slots_create(&slots, NULL))
		return -1;
	if (tide_slots_insert_many(slots, w->slots, w->n, NULL) ||
	    tide_slots_reader_create(slots, &reader, NULL)) {
		tide_slots_destroy(slots);
		return -1;
	}
	for (int rep = 0; rep < 9; rep++) {
		uint64_t start = bench_ticks(), found = 0;
		struct tide_slot out;
		double ns;

		for (uint32_t i = 0; i < 1u << 20; i++)
			found += tide_slots_inline_find_gpa(
			    reader, w->gpa[0] + i % 8, &out);
		ns = bench_ticks_ns(bench_ticks() - start) / (1u << 20);
		if (!found && ns < best)
			best = ns;
	}
	tide_slots_reader_destroy(reader);
	tide_slots_destroy(slots);
	return best;
}

/* The same gap again and again: what polling a device's register is. */
static int repeated_misses(const struct bench_options *o)
{
	static struct figures f[COUNTS][2 * MAPS];
	double direct[COUNTS];
	struct slots_work w;

	for (size_t k = 0; k < COUNTS; k++) {
		if (slots_work_make(&w, &slots_mixes[0], false, counts[k],
				    LOOKUPS / 4, o->seed))
			return 1;
		for (size_t i = 1; i < w.lookups; i++)
			w.gpa[i] = w.gpa[0];
		if (contest_all(o, &w, false, f[k]))
			return 1;
		direct[k] = direct_misses(&w);
		slots_work_fini(&w);
	}
	if (!o->json)
		printf("\nrepeated misses: median ns\n%-29s",
		       "tidemark, called inline");
	for (size_t k = 0; k < COUNTS; k++)
		if (o->json)
			printf("{\"table\":\"slots-inline\",\"slots\":%u,"
			       "\"ns\":%.2f}\n", counts[k], direct[k]);
		else
			printf(" %10.2f", direct[k]);
	if (!o->json)
		printf("\n");
	for (size_t i = 0; i < 2 * MAPS; i++) {
		if (!maps[i / 2]->name)
			continue;
		if (!o->json)
			printf("%-29s", label(i));
		for (size_t k = 0; k < COUNTS; k++)
			if (!o->json)
				printf(" %10.2f", f[k][i].median);
			else if (f[k][i].median >= 0)
				print_json("repeated", "same", counts[k], i,
					   &f[k][i]);
		if (!o->json)
			printf("\n");
	}
	return 0;
}

static void print_verdict(const struct bench_options *o)
{
	if (o->json)
		printf("{\"table\":\"slots-verdict\",\"rows\":%u,\"behind\":"
		       "%u,\"worst\":%.2f,\"where\":\"%s\"}\n",
		       verdict.rows, verdict.behind, verdict.worst,
		       verdict.where);
	else
		printf("\nof %u workloads from 32 slots up, tidemark's reader "
		       "is more than 10 %% behind the best rival in %u; at "
		       "worst %.2f of it (%s)\n",
		       verdict.rows, verdict.behind, verdict.worst,
		       verdict.where);
}

int bench_slots(const struct bench_options *o)
{
	static const char *const own[] = { "vm-idle", "vm-sequential",
					   "vm-uniform", "vm-hotset", "vm-zipf",
					   "vm-mixed" };
	static const char *const recorded[] = { "boot-a", "idle-a",
						"buffered-a", "mixed-a",
						"net-e1000e-a",
						"nvme-rand-a" };
	char addr[512];
	int ret = 0;

	bench_recorded(addr, sizeof(addr), "traces/addr");
	for (int local = 0; ret == 0 && local < 2; local++)
		for (size_t i = 0; ret == 0 && i < SLOTS_MIXES; i++)
			ret = one_mix(o, &slots_mixes[i], local);
	if (!ret)
		ret = repeated_misses(o);
	if (!ret)
		print_verdict(o);
	for (size_t i = 0; ret == 0 && i < sizeof(own) / sizeof(*own); i++)
		ret = one_trace(o, "tests/data/addr", own[i]);
	for (size_t i = 0;
	     ret == 0 && i < sizeof(recorded) / sizeof(*recorded); i++)
		ret = one_trace(o, addr, recorded[i]);
	return ret || bench_slots_change(o, maps, MAPS, counts, COUNTS) ||
	       bench_slots_readers(o);
}
