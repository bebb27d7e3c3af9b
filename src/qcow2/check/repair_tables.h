/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables of guest addresses as repair walks them to change them: every L1
 * table that may be written to, and every entry of it; and the same for L2.
 */
#ifndef TIDE_QCOW2_CHECK_REPAIR_TABLES_H
#define TIDE_QCOW2_CHECK_REPAIR_TABLES_H

#include "qcow2/check/mend.h"
#include "qcow2/check/repair_internal.h"

#define USES_REFCOUNTS \
	(1u << QCOW2_SECTION_REFCOUNT_TABLE | \
	 1u << QCOW2_SECTION_REFCOUNT_BLOCK)
#define USES_L2 (1u << QCOW2_SECTION_L2 | 1u << QCOW2_SECTION_INACTIVE_L2)
#define USES_GUEST (1u << QCOW2_USE_DATA | 1u << QCOW2_USE_PACKED)

/* An entry of an L1 or L2 table. */
struct repair_entry {
	bool active; /* of the disk as it is now, else of a snapshot */
	const char *snapshot; /* its name; NULL: active, or not known */
	uint64_t guest_bytes; /* offset on the disk */
	uint64_t length_bytes; /* that it maps */
	uint64_t at; /* in the file */
	uint64_t entry, subclusters; /* may be changed: it is written then */
};

/* 0, or what is wrong: that ends the walk. */
typedef int repair_entry_fn(struct repair *x, void *opaque,
			    struct repair_entry *e);

/*
 * The active L1 table and those of snapshots that are nothing but that. With
 * @firm the active one whatever claims its clusters: it is what the header
 * names.
 */
int repair_each_l1(struct repair *x, bool firm, repair_entry_fn *each,
		   void *opaque);
/*
 * Entries that are not zero, of L2 tables whose clusters have no use but that
 * and those of @others; what was written before is synced before a changed
 * table is.
 */
int repair_each_l2(struct repair *x, uint32_t others, repair_entry_fn *each,
		   void *opaque);

static inline uint32_t repair_uses(const struct repair *x, uint64_t offset)
{
	return qcow2_census_uses(&x->census, offset / x->cluster);
}

/* What @e maps is given up. */
void repair_lose(struct repair *x, const struct repair_entry *e,
		 const char *why);

/* repair_proof.c: does the cluster read as a table of that kind? -errno. */
int repair_proves_l2(struct repair *x, uint64_t offset, bool *out);
int repair_proves_l1(struct repair *x, uint64_t offset, uint64_t entries,
		     bool *out);

#endif
