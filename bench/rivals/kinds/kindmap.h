/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One interface for everything that might answer "would this write hit
 * metadata?". All but the loops know the same runs; none counts references,
 * which is to their advantage.
 */
#ifndef BENCH_RIVALS_KINDMAP_H
#define BENCH_RIVALS_KINDMAP_H

#include "bench/kinds_image.h"

struct kindmap {
	const char *name;
	/* NULL: no memory, or more of it than is reasonable. */
	void *(*create)(const struct kinds_image *image);
	void (*destroy)(void *map);
	int (*check)(void *map, uint64_t offset, uint64_t bytes,
		     uint32_t allowed);
	/* One L2 table more, or less, at a cluster that is free before. */
	void (*add)(void *map, uint64_t cluster);
	void (*remove)(void *map, uint64_t cluster);
	uint64_t (*bytes)(const void *map);
	bool partial; /* does not see all kinds */
};

extern const struct kindmap kindmap_tidemark, kindmap_linear, kindmap_binary,
	kindmap_gap, kindmap_flat, kindmap_windows1, kindmap_windows4,
	kindmap_windows16, kindmap_windows64, kindmap_windows256, kindmap_loops;

/* Sorted packed runs in one array: what linear, binary and windows stand on. */
struct kinds_array {
	uint32_t cluster_bits;
	size_t n, room;
	uint64_t *run;
};

struct kinds_array *kinds_array_create(const struct kinds_image *image);
void kinds_array_destroy(struct kinds_array *a);
void kinds_array_add(struct kinds_array *a, uint64_t cluster);
void kinds_array_remove(struct kinds_array *a, uint64_t cluster);
/* Runs that start below @cluster. */
size_t kinds_array_below(const struct kinds_array *a, uint64_t cluster);
/* Does a run in [@first, @end) bear kinds that are not allowed? */
int kinds_array_hit(const struct kinds_array *a, uint64_t first, uint64_t end,
		    uint32_t allowed);

#endif
