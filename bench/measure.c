/* SPDX-License-Identifier: BSD-2-Clause */
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "plot.h"

static int by_value(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

static bool same(const struct bench_found *a, const struct bench_found *b)
{
	return a->pages == b->pages && a->ranges == b->ranges &&
	       a->sum == b->sum;
}

/*
 * On a machine that others use, too, the time that this thread had a processor
 * says more than the clock, which counts theirs as well.
 */
static double now_ns(const struct bench_options *o)
{
	struct timespec t;

	if (!o->cpu)
		return (double)tide__now_ns();
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

void bench_run(const struct bench_options *o, struct bench_entry *entries,
	       size_t n, void *world)
{
	const struct bench_entry *judge = entries;
	unsigned int reps = o->reps;

	for (size_t i = 0; o->cpu && i < n; i++)
		if (entries[i].threads)
			entries[i].name = NULL;
	while (judge->no_answer || !judge->name)
		judge++;
	for (unsigned int rep = 0; rep < reps; rep++)
		for (size_t i = 0; i < n; i++) {
			struct bench_entry *e = &entries[i];
			double start;

			if (!e->name)
				continue;
			if (e->prepare)
				e->prepare(world);
			start = now_ns(o);
			e->found = e->run(world);
			e->ns[rep] = now_ns(o) - start;
			if (e->found.own_ns > 0)
				e->ns[rep] = e->found.own_ns;
		}
	for (size_t i = 0; i < n; i++) {
		struct bench_entry *e = &entries[i];

		if (!e->name)
			continue;
		qsort(e->ns, reps, sizeof(*e->ns), by_value);
		e->median = e->ns[reps / 2];
		e->low = e->ns[reps / 4];
		e->high = e->ns[reps - 1 - reps / 4];
		e->wrong = !e->no_answer && !same(&e->found, &judge->found);
	}
}

void bench_print(const struct bench_options *options, const char *table,
		 const char *row, const struct bench_entry *entries, size_t n,
		 size_t ours, double unit_ns, const char *unit)
{
	for (size_t i = 0; i < n; i++) {
		const struct bench_entry *e = &entries[i];
		double ratio = e->median / entries[ours].median;
		char shown[64];

		if (!e->name)
			continue;
		snprintf(shown, sizeof(shown), "%s%s", e->name,
			 e->afresh ? " *" : "");
		bench_plot_add(table, row, shown, e->median, e->low, e->high);
		if (options->json)
			printf("{\"table\":\"%s\",\"row\":\"%s\",\"name\":\"%s"
			       "\",\"median_ns\":%.0f,\"low_ns\":%.0f,"
			       "\"high_ns\":%.0f,\"ratio\":%.3f,"
			       "\"ranges\":%llu,\"agrees\":%s,"
			       "\"written_afresh\":%s}\n",
			       table, row, e->name, e->median, e->low, e->high,
			       ratio, (unsigned long long)e->found.ranges,
			       e->wrong ? "false" : "true",
			       e->afresh ? "true" : "false");
		else
			printf("%-8s %-14s %-26s %11.2f %s  (%.2f .. %.2f)  "
			       "%7.2fx%s%s\n",
			       table, row, e->name, e->median / unit_ns, unit,
			       e->low / unit_ns, e->high / unit_ns, ratio,
			       e->afresh ? "  written afresh" : "",
			       e->wrong ? "  WRONG ANSWER" : "");
	}
	fflush(stdout);
}

void *bench_memory(size_t bytes, bool huge)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("tidemark bench: mmap");
		exit(1);
	}
	madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	memset(p, 0, bytes);
	return p;
}

void bench_free(void *memory, size_t bytes)
{
	munmap(memory, bytes);
}

void bench_cold(void)
{
	enum { BYTES = 128 << 20 };
	static uint64_t *junk;
	volatile uint64_t *p;

	if (!junk)
		junk = bench_memory(BYTES, true);
	p = junk;
	for (size_t i = 0; i < BYTES / sizeof(*p); i += 8)
		p[i] = p[i] + 1;
}

uint64_t bench_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}
