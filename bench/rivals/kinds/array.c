/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One sorted array of packed runs: searched from its start, by halves, and by
 * halves with the last gap between two runs remembered.
 */
#include <stdlib.h>
#include <string.h>

#include "kindmap.h"
#include "maps/kinds.h"

struct gap {
	struct kinds_array *a;
	uint64_t first, end;	/* clusters that bear nothing */
};

static int by_value(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return (a > b) - (a < b);
}

/* A place that two L2 kinds share comes twice in a walk. */
static void join(struct kinds_array *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		if (n && run_start(a->run[i]) == run_start(a->run[n - 1]))
			a->run[n - 1] = run_pack(run_start(a->run[i]),
						 CODE_SHARED_L2, 1);
		else
			a->run[n++] = a->run[i];
	}
	a->n = n;
}

struct kinds_array *kinds_array_create(const struct kinds_image *im)
{
	struct kinds_array *a = calloc(1, sizeof(*a));
	size_t pieces = 0;

	if (!a)
		return NULL;
	for (size_t i = 0; i < im->places; i++)
		pieces += (im->place[i].n + RUN_MAX - 1) / RUN_MAX;
	a->cluster_bits = im->cluster_bits;
	a->room = pieces + 4096;
	a->run = malloc(a->room * sizeof(*a->run));
	for (size_t i = 0; a->run && i < im->places; i++)
		for (uint64_t done = 0; done < im->place[i].n;
		     done += RUN_MAX) {
			uint64_t left = im->place[i].n - done;

			a->run[a->n++] = run_pack(im->place[i].cluster + done,
						  im->place[i].kind,
						  left < RUN_MAX ? left :
								    RUN_MAX);
		}
	if (!a->run) {
		free(a);
		return NULL;
	}
	qsort(a->run, a->n, sizeof(*a->run), by_value);
	join(a);
	return a;
}

void kinds_array_destroy(struct kinds_array *a)
{
	free(a->run);
	free(a);
}

size_t kinds_array_below(const struct kinds_array *a, uint64_t cluster)
{
	uint64_t key = cluster << RUN_CLUSTER_SHIFT;
	size_t low = 0, high = a->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (a->run[middle] < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void kinds_array_add(struct kinds_array *a, uint64_t cluster)
{
	size_t at = kinds_array_below(a, cluster);

	if (a->n == a->room)
		abort(); /* room for 4096 more: enough for the benchmark */
	memmove(a->run + at + 1, a->run + at, (a->n - at) * sizeof(*a->run));
	a->run[at] = run_pack(cluster, TIDE_KIND_L2, 1);
	a->n++;
}

void kinds_array_remove(struct kinds_array *a, uint64_t cluster)
{
	size_t at = kinds_array_below(a, cluster);

	a->n--;
	memmove(a->run + at, a->run + at + 1, (a->n - at) * sizeof(*a->run));
}

int kinds_array_hit(const struct kinds_array *a, uint64_t first, uint64_t end,
		    uint32_t allowed)
{
	for (size_t i = kinds_array_below(a, end);
	     i-- && run_end(a->run[i]) > first;)
		if (code_kinds(run_code(a->run[i])) & ~allowed)
			return 1;
	return 0;
}

static void *array_create(const struct kinds_image *im)
{
	return kinds_array_create(im);
}

static void array_destroy(void *map)
{
	kinds_array_destroy(map);
}

static void array_add(void *map, uint64_t cluster)
{
	kinds_array_add(map, cluster);
}

static void array_remove(void *map, uint64_t cluster)
{
	kinds_array_remove(map, cluster);
}

static uint64_t array_bytes(const void *map)
{
	const struct kinds_array *a = map;

	return sizeof(*a) + a->n * sizeof(*a->run);
}

static int linear_check(void *map, uint64_t offset, uint64_t bytes,
			uint32_t allowed)
{
	const struct kinds_array *a = map;
	uint64_t first = offset >> a->cluster_bits;
	uint64_t end = ((offset + bytes - 1) >> a->cluster_bits) + 1;

	for (size_t i = 0; i < a->n && run_start(a->run[i]) < end; i++)
		if (run_end(a->run[i]) > first &&
		    code_kinds(run_code(a->run[i])) & ~allowed)
			return 1;
	return 0;
}

static int binary_check(void *map, uint64_t offset, uint64_t bytes,
			uint32_t allowed)
{
	const struct kinds_array *a = map;

	return kinds_array_hit(a, offset >> a->cluster_bits,
			       ((offset + bytes - 1) >> a->cluster_bits) + 1,
			       allowed);
}

static void *gap_create(const struct kinds_image *im)
{
	struct gap *g = calloc(1, sizeof(*g));

	if (g)
		g->a = kinds_array_create(im);
	if (g && !g->a) {
		free(g);
		return NULL;
	}
	return g;
}

static void gap_destroy(void *map)
{
	struct gap *g = map;

	kinds_array_destroy(g->a);
	free(g);
}

static int gap_check(void *map, uint64_t offset, uint64_t bytes,
		     uint32_t allowed)
{
	struct gap *g = map;
	const struct kinds_array *a = g->a;
	uint64_t first = offset >> a->cluster_bits;
	uint64_t end = ((offset + bytes - 1) >> a->cluster_bits) + 1;
	size_t at;

	if (first >= g->first && end <= g->end)
		return 0;
	at = kinds_array_below(a, end);
	if (at && run_end(a->run[at - 1]) > first)
		return kinds_array_hit(a, first, end, allowed);
	g->first = at ? run_end(a->run[at - 1]) : 0;
	g->end = at < a->n ? run_start(a->run[at]) : UINT64_MAX;
	return 0;
}

static void gap_add(void *map, uint64_t cluster)
{
	struct gap *g = map;

	g->first = g->end = 0;
	kinds_array_add(g->a, cluster);
}

static void gap_remove(void *map, uint64_t cluster)
{
	struct gap *g = map;

	g->first = g->end = 0;
	kinds_array_remove(g->a, cluster);
}

static uint64_t gap_bytes(const void *map)
{
	const struct gap *g = map;

	return sizeof(*g) + array_bytes(g->a);
}

const struct kindmap kindmap_linear = {
	"linear", array_create, array_destroy, linear_check, array_add,
	array_remove, array_bytes, false
};
const struct kindmap kindmap_binary = {
	"binary", array_create, array_destroy, binary_check, array_add,
	array_remove, array_bytes, false
};
const struct kindmap kindmap_gap = {
	"binary + gap", gap_create, gap_destroy, gap_check, gap_add,
	gap_remove, gap_bytes, false
};
