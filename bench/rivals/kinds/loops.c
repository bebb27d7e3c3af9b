/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the reference implementation does by default, as described in its
 * documents: a few ranges, then every entry of the active L1 table, then every
 * entry of the refcount table, both of which it has in memory. Inactive L2
 * tables, bitmaps' tables and data are not looked at. It has nothing to update.
 */
#include <stdlib.h>

#include "kindmap.h"

struct loops {
	const struct kinds_image *im;
	uint64_t cluster;
};

static void *loops_create(const struct kinds_image *im)
{
	struct loops *l = calloc(1, sizeof(*l));

	if (l) {
		l->im = im;
		l->cluster = UINT64_C(1) << im->cluster_bits;
	}
	return l;
}

static bool overlaps(uint64_t from, uint64_t bytes, uint64_t offset,
		     uint64_t length)
{
	return from < offset + length && offset < from + bytes;
}

static bool in_table(const uint64_t *entry, size_t n, uint64_t cluster,
		     uint64_t offset, uint64_t bytes)
{
	for (size_t i = 0; i < n; i++)
		if (entry[i] && overlaps(entry[i], cluster, offset, bytes))
			return true;
	return false;
}

static int loops_check(void *map, uint64_t offset, uint64_t bytes,
		       uint32_t allowed)
{
	const struct loops *l = map;
	const struct kinds_image *im = l->im;
	uint32_t bits = im->cluster_bits;

	if (!(allowed >> TIDE_KIND_HEADER & 1) && offset < l->cluster)
		return 1;
	if (!(allowed >> TIDE_KIND_L1 & 1) &&
	    overlaps(im->l1_at << bits, im->l1_n * 8, offset, bytes))
		return 1;
	if (!(allowed >> TIDE_KIND_REFCOUNT_TABLE & 1) &&
	    overlaps(im->reftable_at << bits, im->reftable_n * 8, offset,
		     bytes))
		return 1;
	if (!(allowed >> TIDE_KIND_SNAPSHOT_TABLE & 1) && im->snapshots &&
	    overlaps(im->snapshot_at << bits, im->snapshots * 64, offset,
		     bytes))
		return 1;
	if (!(allowed >> TIDE_KIND_INACTIVE_L1 & 1))
		for (uint32_t i = 0; i < im->snapshots; i++)
			if (overlaps(im->old_l1[i] << bits, im->l1_n * 8,
				     offset, bytes))
				return 1;
	return (!(allowed >> TIDE_KIND_L2 & 1) &&
		in_table(im->l1, im->l1_n, l->cluster, offset, bytes)) ||
	       (!(allowed >> TIDE_KIND_REFCOUNT_BLOCK & 1) &&
		in_table(im->reftable, im->reftable_n, l->cluster, offset,
			 bytes));
}

static void loops_change(void *map, uint64_t cluster)
{
	(void)map;
	(void)cluster;
}

static uint64_t loops_bytes(const void *map)
{
	const struct loops *l = map;

	return (l->im->l1_n + l->im->reftable_n) * 8;
}

const struct kindmap kindmap_loops = { "loops over tables", loops_create,
				       free, loops_check, loops_change,
				       loops_change, loops_bytes, true };
