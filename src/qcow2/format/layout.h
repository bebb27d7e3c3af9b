/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the metadata of an image lies: all twelve sections of it.
 *
 * The walk reads L1 tables, refcount table, bitmap tables and both
 * directories; L2 tables and refcount blocks only if somebody wants to see
 * their entries. Every table is read once, however often it is referred to,
 * so the work is bounded by the size of the file, and memory by 24 bytes an
 * L2 table. A damaged image cannot make it loop.
 */
#ifndef TIDE_QCOW2_FORMAT_LAYOUT_H
#define TIDE_QCOW2_FORMAT_LAYOUT_H

#include <stdint.h>

#include "qcow2/format/bitmaps.h"
#include "qcow2/format/header.h"
#include "qcow2/format/reader.h"
#include "qcow2/format/snapshots.h"

/* In the order of interop documents; the kind map's kinds are the same. */
enum qcow2_section {
	QCOW2_SECTION_HEADER,
	QCOW2_SECTION_L1,
	QCOW2_SECTION_L2,
	QCOW2_SECTION_REFCOUNT_TABLE,
	QCOW2_SECTION_REFCOUNT_BLOCK,
	QCOW2_SECTION_SNAPSHOT_TABLE,
	QCOW2_SECTION_INACTIVE_L1,
	QCOW2_SECTION_INACTIVE_L2,
	QCOW2_SECTION_BITMAP_DIRECTORY,
	QCOW2_SECTION_BITMAP_TABLE,
	QCOW2_SECTION_BITMAP_DATA,
	QCOW2_SECTION_LUKS_HEADER,
	QCOW2_SECTION_COUNT
};

/* "L2 table", ... for people. */
const char *qcow2_section_name(enum qcow2_section section);

/* One place of metadata, and who refers to it. */
struct qcow2_place {
	enum qcow2_section section;
	uint64_t offset_bytes; /* cluster-aligned, within the file */
	uint64_t length_bytes;
	uint32_t owner; /* index: L1 or refcount table, snapshots, bitmaps */
	uint64_t refs; /* how many tables refer to it: L2 only, else 1 */
	uint64_t from; /* file offset of the (first) reference */
};

/* One L2 table, for who wants to see the entries. */
struct qcow2_l2_ref {
	uint64_t offset_bytes;
	uint64_t from; /* file offset of the first reference */
	uint32_t l1_index; /* of the first reference */
	uint32_t active; /* references from the active L1 table */
	uint64_t inactive; /* from those of snapshots */
};

struct qcow2_defect {
	enum qcow2_section section; /* of what is referred to */
	uint64_t from; /* file offset of what is wrong */
	uint64_t value;
	const char *why;
	bool harmless; /* what is meant is known, and counted */
};

struct qcow2_visitor {
	void *opaque;
	/* All return 0, or -errno: that stops the walk, which returns it. */
	/* May be NULL. */
	int (*place)(void *opaque, const struct qcow2_place *place);
	/* May be NULL. After all places; @table is one cluster, as on disk. */
	int (*l2)(void *opaque, const struct qcow2_l2_ref *ref,
		  const uint8_t *table);
	/* May be NULL: then a flaw is an error, -EINVAL. */
	int (*flaw)(void *opaque, const struct qcow2_defect *flaw);
};

/* For a walk after one that reported them. */
int qcow2_ignore_flaw(void *opaque, const struct qcow2_defect *flaw);

int qcow2_visit(const struct qcow2_reader *r, const struct qcow2_header *h,
		const struct qcow2_visitor *visitor, struct tide_error *err);

/*
 * qcow2_layout_walk: every place of metadata, each once for each section
 * that it belongs to (a shared L2 table is both active and inactive).
 * @owner as in struct qcow2_place. -EINVAL: a damaged reference, which @err
 * names. -ENOMEM, or what reading said.
 */
typedef int qcow2_layout_fn(void *opaque, enum qcow2_section section,
			    uint64_t offset_bytes, uint64_t length_bytes,
			    uint32_t owner);
int qcow2_layout_walk(const struct qcow2_reader *r,
		      const struct qcow2_header *h, qcow2_layout_fn *each,
		      void *opaque, struct tide_error *err);

#endif
