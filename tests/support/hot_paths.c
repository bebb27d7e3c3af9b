/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hot-paths NAME: one hot path on a fixed input, in a function `measured` that
 * callgrind counts the instructions of (tests/sh/hot-paths.sh). All that is
 * drawn comes from fixed seeds; memory is there before. Without NAME: the
 * names, and what this was built with, since another compiler makes other code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "bench/slots_work.h"
#include "tidemark/dirty.h"
#include "tidemark/ring.h"
#include "tidemark/scan.h"
#include "tidemark/slots_inline.h"

#define PAGES (UINT64_C(1) << 22)	/* 16 GiB */
#define WORDS (PAGES / 64)
#define BATCH 256
#define MARKS 20000
#define LOOKUPS 20000
#define SLOTS 128
#define RING 1024

static uint64_t seed = 20261121;
static uint64_t sum;			/* so that nothing is left out */

static void *memory(size_t bytes)
{
	void *p = calloc(1, bytes);

	if (!p)
		exit(1);
	return p;
}

/* --- scan --- */

static struct tide_scan *scan;

static void open_scan(unsigned int per_mille)
{
	uint64_t *map = memory(WORDS * 8);
	struct tide_scan_options o = { .a = map, .a_pages = PAGES };

	if (per_mille == 1000)
		memset(map, 0xff, WORDS * 8);
	for (uint64_t n = PAGES / 1000 * (per_mille % 1000); n; n--) {
		uint64_t page = bench_random(&seed) % PAGES;

		map[page / 64] |= UINT64_C(1) << (page % 64);
	}
	if (tide_scan_create(&scan, &o, NULL))
		exit(1);
}

static void scan_sparse(void) { open_scan(1); }
static void scan_some(void) { open_scan(50); }
static void scan_full(void) { open_scan(1000); }

static void run_scan(void)
{
	struct tide_range r[BATCH];
	size_t n;

	while ((n = tide_scan_next(scan, r, BATCH)))
		sum += r[n - 1].first;
}

/* --- dirty set --- */

static struct tide_set *set;
static struct tide_ring *ring;
static uint64_t page[MARKS];

static void open_set(uint64_t marked)
{
	if (tide_set_create(&set, PAGES, NULL) ||
	    tide_ring_create(&ring, set, RING, NULL))
		exit(1);
	for (uint64_t i = 0; i < MARKS; i++)
		page[i] = bench_random(&seed) % PAGES;
	for (uint64_t i = 0; i < marked; i++)
		tide_set_mark(set, bench_random(&seed) % PAGES);
}

static void set_clean(void) { open_set(0); }
static void set_sparse(void) { open_set(PAGES / 1000); }
static void set_dense(void) { open_set(PAGES / 5); }

static void set_hot(void)
{
	open_set(0);
	for (uint64_t i = 0; i < MARKS; i++)
		tide_set_mark(set, page[i]);
}

static void run_marks(void)
{
	for (uint64_t i = 0; i < MARKS; i++)
		tide_set_mark(set, page[i]);
}

static void run_cut(void)
{
	struct tide_range r[BATCH];
	struct tide_epoch *epoch;
	uint64_t cursor = 0;
	size_t n;

	if (tide_set_cut(set, &epoch, NULL))
		exit(1);
	while ((n = tide_epoch_next(epoch, &cursor, r, BATCH)))
		sum += r[n - 1].first;
	tide_epoch_commit(epoch);
}

static void run_ring(void)
{
	for (uint64_t i = 0; i < MARKS; i++) {
		if (i % RING == 0)
			sum += tide_ring_drain(ring);
		tide_ring_push(ring, page[i]);
	}
}

/* --- slots --- */

static struct tide_slots_reader *reader;
static struct slots_work work;

static void open_slots(const struct slots_mix *mix, bool local)
{
	struct tide_slots *slots;

	if (slots_work_make(&work, mix, local, SLOTS, LOOKUPS, seed) ||
	    tide_slots_create(&slots, NULL) ||
	    tide_slots_insert_many(slots, work.slots, work.n, NULL) ||
	    tide_slots_reader_create(slots, &reader, NULL))
		exit(1);
}

static void slots_mixed(void) { open_slots(&slots_mixes[2], false); }
static void slots_local(void) { open_slots(&slots_mixes[2], true); }

static void run_slots(void)
{
	struct tide_slot found;

	for (size_t i = 0; i < LOOKUPS; i++)
		if (tide_slots_inline_find_gpa(reader, work.gpa[i], &found))
			sum += found.id;
}

static const struct path {
	const char *name;
	void (*prepare)(void);
	void (*run)(void);
} paths[] = {
	{ "scan-sparse", scan_sparse, run_scan },
	{ "scan-5-percent", scan_some, run_scan },
	{ "scan-full", scan_full, run_scan },
	{ "mark-clean", set_clean, run_marks },
	{ "mark-hot", set_hot, run_marks },
	{ "ring-push-drain", set_clean, run_ring },
	{ "cut-idle", set_clean, run_cut },
	{ "cut-sparse", set_sparse, run_cut },
	{ "cut-dense", set_dense, run_cut },
	{ "slots-mixed", slots_mixed, run_slots },
	{ "slots-local", slots_local, run_slots },
};

void measured(const struct path *path);

__attribute__((noinline)) void measured(const struct path *path)
{
	path->run();
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (argc < 2) {
			printf("%s\n", paths[i].name);
			continue;
		}
		if (strcmp(argv[1], paths[i].name))
			continue;
		paths[i].prepare();
		measured(&paths[i]);
		printf("%llu\n", (unsigned long long)sum);
		return 0;
	}
	if (argc < 2)
		printf("built %s\n", HOT_PATHS_BUILD);
	return argc < 2 ? 0 : 1;
}
