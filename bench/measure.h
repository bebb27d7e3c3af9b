/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measuring contestants against each other in one run.
 *
 * Every repetition runs each contestant once, in turn, so that a noisy moment
 * hits all of them; reported are the median and the quartiles around it. A
 * contestant returns what it found; those that must agree are compared.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_MAX_REPS 101

/* What was found: the same for contestants that agree. */
struct bench_found {
	uint64_t ranges;
	uint64_t pages;
	uint64_t sum;		/* of first pages: cheap, and catches shifts */
	double own_ns;		/* if not 0: measured inside, and counts */
};

struct bench_entry {
	const char *name;		/* NULL: not here; left out */
	void (*prepare)(void *world);	/* not timed; NULL ok */
	/* timed */
	struct bench_found (*run)(void *world);
	bool no_answer;			/* a floor: nothing to compare */
	bool afresh;			/* written here to another's shape */
	bool threads;			/* works in several of them */
	/* results */
	double ns[BENCH_MAX_REPS];
	struct bench_found found;
	bool wrong;
	double median, low, high;	/* low, high: quartiles */
};

struct bench_options {
	bool json, quick;
	unsigned int reps;	/* odd, 9 or more unless quick */
	uint64_t seed;		/* of all that is drawn */
	bool cpu;		/* CPU time, and no contestants with threads */
	bool plain;		/* bitmaps on plain pages, not on huge ones */
	bool cold;		/* caches emptied before each turn */
	uint64_t guest_bytes;	/* memory behind a bitmap; 0: the table's own */
	/* bench disk */
	const char *image, *format;	/* NULL: made for the occasion */
	bool direct;
};

/*
 * Run all @n, interleaved, as often as the options say; the first entry with an
 * answer rules.
 */
void bench_run(const struct bench_options *options,
	       struct bench_entry *entries, size_t n, void *world);

/*
 * One row for each entry: median, quartiles, ratio of its median to that of
 * entry @ours (>1: ours is faster). @unit_ns and @unit name the figures' unit.
 */
void bench_print(const struct bench_options *options, const char *table,
		 const char *row, const struct bench_entry *entries, size_t n,
		 size_t ours, double unit_ns, const char *unit);

/* Memory by mmap, populated with zeros (huge pages if @huge); exits if none. */
void *bench_memory(size_t bytes, bool huge);
void bench_free(void *memory, size_t bytes);

/* Push what the caches hold out of them. */
void bench_cold(void);

/* splitmix64 */
uint64_t bench_random(uint64_t *state);

static inline void bench_add(struct bench_found *f, uint64_t first,
			     uint64_t count)
{
	f->ranges++;
	f->pages += count;
	f->sum += first;
}

#endif
