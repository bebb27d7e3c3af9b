/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kind map: which metadata lives in this host cluster of a qcow2 file?
 *
 * Whoever writes into the file asks first, with the range and the kinds that
 * it is rightly writing (none at all for guest data), and is told what the
 * write would hit. The map holds all twelve kinds that the format knows, in
 * whole clusters: a table of 16 bytes owns its cluster.
 *
 * A cluster may bear several kinds, and one kind several times: an L2 table
 * that the active disk and two snapshots share is TIDE_KIND_L2 once and
 * TIDE_KIND_INACTIVE_L2 twice. References are counted; each remove takes back
 * exactly one add, of the same clusters or of a part of them.
 *
 * Threads: checks and walks may run in any number of threads; they write
 * nothing. Changes exclude each other and all else: the caller locks.
 *
 * Memory: about 10 bytes a run of up to 64 clusters of one kind, more for a
 * cluster with several; see tide_kinds_bytes.
 */
#ifndef TIDEMARK_KINDS_H
#define TIDEMARK_KINDS_H

#include <stdint.h>

#include "tidemark/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum tide_kind {
	TIDE_KIND_HEADER,
	TIDE_KIND_L1,
	TIDE_KIND_L2,
	TIDE_KIND_REFCOUNT_TABLE,
	TIDE_KIND_REFCOUNT_BLOCK,
	TIDE_KIND_SNAPSHOT_TABLE,
	TIDE_KIND_INACTIVE_L1,
	TIDE_KIND_INACTIVE_L2,
	TIDE_KIND_BITMAP_DIRECTORY,
	TIDE_KIND_BITMAP_TABLE,
	TIDE_KIND_BITMAP_DATA,
	TIDE_KIND_LUKS_HEADER,
	TIDE_KIND_COUNT
};

/* A mask of kinds has bit 1 << kind for each of them. */
#define TIDE_KIND_ALL ((UINT32_C(1) << TIDE_KIND_COUNT) - 1)

/* No metadata lies at or past this offset, and none can be added there. */
#define TIDE_KINDS_END_BYTES (UINT64_C(1) << 56)
/* The longest range of one add or remove; the format's longest is far below. */
#define TIDE_KINDS_MOST_BYTES (UINT64_C(1) << 36)

struct tide_kinds;

struct tide_kinds_hit {
	uint32_t kinds;		/* mask: what is there and was not allowed */
	uint64_t offset_bytes;	/* first byte of the range that lies on it */
	uint64_t length_bytes;	/* how far these kinds go on, in the range */
};

/* Clusters in a row that bear the same kinds. */
struct tide_kinds_run {
	uint32_t kinds;		/* mask */
	uint64_t offset_bytes;
	uint64_t length_bytes;
};

/*
 * tide_kinds_create: an empty map of a file with clusters of 1 << @cluster_bits
 * bytes, 9 to 21, else -EINVAL. -ENOMEM. The caller destroys it.
 */
int tide_kinds_create(struct tide_kinds **out, uint32_t cluster_bits,
		      struct tide_error *err);
/* tide_kinds_destroy: NULL is fine. */
void tide_kinds_destroy(struct tide_kinds *kinds);

/*
 * tide_kinds_add: one more reference of @kind to every cluster that the range
 * touches. -EINVAL: no such kind, no bytes, or past TIDE_KINDS_END_BYTES;
 * -E2BIG: longer than TIDE_KINDS_MOST_BYTES; -ENOMEM. The map is then
 * unchanged. Costs a search and the copy of one or two windows of at most 4
 * KiB, whatever the size of the map, and now and then (as with an array that
 * doubles) a pass over all runs.
 */
int tide_kinds_add(struct tide_kinds *kinds, enum tide_kind kind,
		   uint64_t offset_bytes, uint64_t length_bytes,
		   struct tide_error *err);
/*
 * tide_kinds_add_refs: @refs references in one step, as if added one by one:
 * an L2 table that a thousand snapshots share. -EINVAL also if @refs is 0.
 */
int tide_kinds_add_refs(struct tide_kinds *kinds, enum tide_kind kind,
			uint64_t offset_bytes, uint64_t length_bytes,
			uint32_t refs, struct tide_error *err);
/*
 * tide_kinds_remove: one reference less. -ENOENT if any cluster of the range
 * does not bear @kind (the error names the first); else as add, -ENOMEM
 * included: a run may be cut in two. The map is unchanged on failure.
 */
int tide_kinds_remove(struct tide_kinds *kinds, enum tide_kind kind,
		      uint64_t offset_bytes, uint64_t length_bytes,
		      struct tide_error *err);

/*
 * tide_kinds_check: would a write of this range hit metadata of a kind that is
 * not in the mask @allowed? 1 and the first such place in *@hit (NULL is
 * fine), or 0. A range past 2^64 is cut there; an empty one hits nothing.
 * A shared cluster hits if any of its kinds is not allowed. Never fails. Costs
 * a look at one bit where no metadata is near, else a search.
 */
int tide_kinds_check(const struct tide_kinds *kinds, uint64_t offset_bytes,
		     uint64_t length_bytes, uint32_t allowed,
		     struct tide_kinds_hit *hit);

/*
 * tide_kinds_next: the first run at or after the cluster of @from_bytes, as
 * long as its kinds stay the same: 1, or 0 if nothing follows. To see all,
 * start at 0 and go on at the run's end.
 */
int tide_kinds_next(const struct tide_kinds *kinds, uint64_t from_bytes,
		    struct tide_kinds_run *run);

/*
 * tide_kinds_bytes: the memory of the map, with 8 bytes for each allocation
 * that the allocator adds.
 */
uint64_t tide_kinds_bytes(const struct tide_kinds *kinds);

/*
 * tide_kind_name: "L2 table", "snapshot's L2 table", ...; "unknown" for what is
 * no kind.
 */
const char *tide_kind_name(enum tide_kind kind);

#ifdef __cplusplus
}
#endif

#endif
