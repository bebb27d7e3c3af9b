/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What really refers to each host cluster, counted from all references, and
 * of which sections it is part. Pages of 4096 clusters come into being when
 * one of them is counted, so a sparse file costs what is used of it: a byte and
 * an eighth a cluster, or eight more where an image is like no other.
 */
#ifndef TIDE_QCOW2_CHECK_CENSUS_H
#define TIDE_QCOW2_CHECK_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

#include "qcow2/format/layout.h"

/* Beside the sections: clusters of the guest. */
#define QCOW2_USE_DATA QCOW2_SECTION_COUNT
#define QCOW2_USE_PACKED (QCOW2_SECTION_COUNT + 1)

#define CENSUS_PAGE_CLUSTERS 4096u

#define CENSUS_PAIRS 256u

struct qcow2_census_pair {
	uint32_t refs; /* stays at its maximum */
	uint32_t uses; /* see qcow2_census_uses */
};

struct qcow2_census_page {
	uint8_t number[CENSUS_PAGE_CLUSTERS]; /* of the pair; or see wide */
	struct qcow2_census_pair *wide; /* owned; NULL: numbers do */
	uint64_t wrong[CENSUS_PAGE_CLUSTERS / 64]; /* the count on disk is */
};

struct qcow2_census {
	struct qcow2_census_page **pages; /* owned; NULL: all zero */
	uint64_t page_count;
	uint64_t clusters; /* of the file, the last one may be cut short */
	struct qcow2_census_pair pairs[CENSUS_PAIRS]; /* the first: nothing */
	uint32_t pair_count;
	uint32_t last; /* number that was given last */
};

/* -ENOMEM. */
int qcow2_census_init(struct qcow2_census *c, uint64_t clusters);
void qcow2_census_fini(struct qcow2_census *c);
/* @uses_before: what it was known for. @cluster is within the file. */
int qcow2_census_add(struct qcow2_census *c, uint64_t cluster, uint64_t refs,
		     uint32_t use, uint32_t *uses_before);
/* One reference less, if there are any; the uses stay. -ENOMEM. */
int qcow2_census_take(struct qcow2_census *c, uint64_t cluster);
uint64_t qcow2_census_refs(const struct qcow2_census *c, uint64_t cluster);
/* Mask of 1 << section or use; 0 for what is behind the end of the file. */
uint32_t qcow2_census_uses(const struct qcow2_census *c, uint64_t cluster);
/* How many clusters are referred to. */
uint64_t qcow2_census_used(const struct qcow2_census *c);
/* The count on disk is not that of the census; nothing for unused clusters. */
void qcow2_census_set_wrong(struct qcow2_census *c, uint64_t cluster);
bool qcow2_census_wrong(const struct qcow2_census *c, uint64_t cluster);

#endif
