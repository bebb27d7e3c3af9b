/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Metadata of images that are too large to make: laid out as the format would,
 * for a disk that was written from end to end, with snapshots taken later and
 * a hundredth of the L2 tables rewritten after each.
 */
#ifndef BENCH_KINDS_IMAGE_H
#define BENCH_KINDS_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/kinds.h"

struct kinds_place {
	uint64_t cluster;
	uint32_t n;
	enum tide_kind kind;
};

struct kinds_image {
	uint64_t guest_bytes;
	uint32_t cluster_bits, snapshots;
	/* All metadata in front of the data, or each table where it is due. */
	bool contiguous;

	struct kinds_place *place;	/* in the order of a walk at open */
	size_t places, room;
	uint64_t *run;			/* packed as in the library, sorted */
	uint64_t *rank;			/* data clusters before each run */
	size_t runs;
	uint64_t clusters;		/* length of the file */
	/* What the reference implementation holds in memory: host offsets. */
	uint64_t *l1, *reftable;
	size_t l1_n, reftable_n;
	uint64_t l1_at, reftable_at;	/* clusters */
	uint64_t *old_l1;	/* cluster of each snapshot's L1 table */
	uint64_t snapshot_at;
};

/* The four first members say what to make. 0 or -ENOMEM. */
int kinds_image_make(struct kinds_image *image);
/* The library's map of it; also fills run and rank, which it sorts. */
int kinds_image_map(struct kinds_image *image, struct tide_kinds **out);
void kinds_image_fini(struct kinds_image *image);

/* Where in the file these guest bytes lie. */
uint64_t kinds_image_host(const struct kinds_image *image, uint64_t guest);

#endif
