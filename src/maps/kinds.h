/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kind map's internals: a run-length encoded interval map, and the packing
 * of its runs.
 *
 * A run is 8 bytes: 54 bits of cluster, 4 bits of code, 6 bits of length minus
 * one. Runs never overlap, so one search by cluster answers a check. A code
 * below TIDE_KIND_COUNT means one reference of that kind. A snapshot shares
 * every L2 table at once, so "active and inactive, once each" has a code of its
 * own. Everything else is CODE_MANY, and the reference counts are kept apart:
 * one element of 16 bytes for each kind of such a cluster. This also leaves
 * room for more kinds than 4 bits can name: the counts have 8 bits for it, and
 * a run of a kind above 12 would be a run of CODE_MANY.
 */
#ifndef TIDE_MAPS_KINDS_H
#define TIDE_MAPS_KINDS_H

#include <stdbool.h>

#include "maps/kinds_cells.h"
#include "maps/kinds_btree.h"
#include "tidemark/kinds.h"

#define RUN_LENGTH_BITS 6
#define RUN_CLUSTER_SHIFT 10
#define RUN_MAX (UINT64_C(1) << RUN_LENGTH_BITS)
#define COUNT_CLUSTER_SHIFT 8

enum {
	CODE_SHARED_L2 = TIDE_KIND_COUNT,
	CODE_MANY = 15
};

struct tide_kinds {
	uint32_t cluster_bits;
	uint64_t end;			/* no cluster from here on */
	struct tide__cells cells;	/* where to search at all */
	struct tide__btree runs;	/* 1 word an element */
	struct tide__btree counts;	/* 2 words: cluster and kind, count */
};

static inline uint64_t run_pack(uint64_t cluster, uint32_t code, uint64_t n)
{
	return cluster << RUN_CLUSTER_SHIFT |
	       (uint64_t)code << RUN_LENGTH_BITS | (n - 1);
}

static inline uint64_t run_start(uint64_t run)
{
	return run >> RUN_CLUSTER_SHIFT;
}

static inline uint64_t run_end(uint64_t run)
{
	return run_start(run) + (run & (RUN_MAX - 1)) + 1;
}

static inline uint32_t run_code(uint64_t run)
{
	return run >> RUN_LENGTH_BITS & 15;
}

/* A mask for every code but CODE_MANY. */
static inline uint32_t code_kinds(uint32_t code)
{
	return code == CODE_SHARED_L2 ? 1u << TIDE_KIND_L2 |
						1u << TIDE_KIND_INACTIVE_L2 :
					1u << code;
}

/* The first run that ends past @cluster, if any. */
struct tide__cursor tide__kinds_from(const struct tide_kinds *kinds,
				     uint64_t cluster);

#endif
