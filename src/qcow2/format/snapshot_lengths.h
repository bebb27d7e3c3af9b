/* SPDX-License-Identifier: BSD-2-Clause */
/* Between snapshots.c and snapshot_lengths.c only. */
#ifndef TIDE_QCOW2_FORMAT_SNAPSHOT_LENGTHS_H
#define TIDE_QCOW2_FORMAT_SNAPSHOT_LENGTHS_H

#include "qcow2/format/snapshots.h"

#define SNAPSHOT_MAX_EXTRA_BYTES 1024u

struct snapshot_lengths {
	uint32_t id, name, extra;
	bool guessed;
};

/* An entry's fixed bytes. */
struct snapshot_fixed {
	uint64_t l1_offset;
	uint32_t l1_entries;
	struct snapshot_lengths len;
};

struct snapshot_scan {
	const struct qcow2_reader *r;
	const struct qcow2_header *h;
	bool tolerant;
	bool counted; /* the header's count may be believed */
	uint32_t searches; /* for where an entry ends, that are left */
};

/* False: it is not within the file, or cannot be read. */
bool snapshot_fixed(const struct snapshot_scan *s, uint64_t at,
		    struct snapshot_fixed *f);
/* Does an entry with these lengths lie within the file and the bounds? */
bool snapshot_holds(const struct snapshot_scan *s, uint64_t at,
		    const struct snapshot_lengths *len);
/* With the padding. */
uint64_t snapshot_next(uint64_t at, const struct snapshot_lengths *len);
/*
 * The lengths of the entry at @at, behind which @left more are to come: those
 * in the file, or if they are wrong, those that fit to what is around. False:
 * it cannot be told where the entry ends.
 */
bool snapshot_measure(struct snapshot_scan *s, uint64_t at, uint32_t left,
		      struct snapshot_lengths *len);

#endif
