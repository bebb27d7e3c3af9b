/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kind map, a reference-counted interval map: which metadata is in a host
 * cluster of a qcow2 file?
 *
 * Before each write to the file, a driver passes the range and the kinds that
 * it may overwrite (none for guest data), and learns what the write would hit.
 * The map has all twelve kinds of the format, in whole clusters: even a table
 * of 16 bytes owns its cluster.
 *
 * A cluster may hold several kinds, and one kind several times: an L2 table
 * shared by the active disk and two snapshots is TIDE_KIND_L2 once and
 * TIDE_KIND_INACTIVE_L2 twice. References are counted; each remove undoes
 * exactly one add, for the same clusters or some of them.
 *
 * Threads: like a readers-writer lock, which the caller provides: any number of
 * checks and walks at a time, or one change.
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
/* The longest range of one add or remove; far more than the format needs. */
#define TIDE_KINDS_MAX_BYTES (UINT64_C(1) << 36)

struct tide_kinds;

struct tide_kinds_hit {
	uint32_t kinds;		/* mask: present and not allowed */
	uint64_t offset_bytes;	/* first byte of the range that hits it */
	uint64_t length_bytes;	/* of the same kinds, within the range */
};

/* Adjacent clusters that hold the same kinds. */
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
 * -E2BIG: longer than TIDE_KINDS_MAX_BYTES; -ENOMEM. The map is then
 * unchanged. Costs a search and the copy of one or two leaves of at most 4 KiB,
 * whatever the size of the map, and now and then (as with an array that
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
 * does not hold @kind (the error names the first); else as add, including
 * -ENOMEM: a run may be split. The map is unchanged on failure.
 */
int tide_kinds_remove(struct tide_kinds *kinds, enum tide_kind kind,
		      uint64_t offset_bytes, uint64_t length_bytes,
		      struct tide_error *err);

/*
 * tide_kinds_check: would a write of this range hit metadata of a kind that is
 * not in the mask @allowed? 1 and the first hit in *@hit (NULL is fine), or 0.
 * A range past 2^64 is cut there; an empty one hits nothing. A shared cluster
 * is hit if any of its kinds is not allowed. Never fails. Costs the test of one
 * bit if no metadata is near, else a search.
 */
int tide_kinds_check(const struct tide_kinds *kinds, uint64_t offset_bytes,
		     uint64_t length_bytes, uint32_t allowed,
		     struct tide_kinds_hit *hit);

/*
 * tide_kinds_next: the first run at or after the cluster of @from_bytes, up to
 * where its kinds change: 1, or 0 if there is none. To iterate, start at 0 and
 * continue at the run's end.
 */
int tide_kinds_next(const struct tide_kinds *kinds, uint64_t from_bytes,
		    struct tide_kinds_run *run);

/*
 * tide_kinds_bytes: the memory of the map, including 8 bytes of overhead for
 * each allocation.
 */
uint64_t tide_kinds_bytes(const struct tide_kinds *kinds);

/*
 * tide_kind_name: "L2 table", "snapshot's L2 table", ...; "unknown" otherwise.
 */
const char *tide_kind_name(enum tide_kind kind);

#ifdef __cplusplus
}
#endif

#endif
