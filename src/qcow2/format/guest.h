/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the bytes of the guest's disk lie in the image, this layer only. */
#ifndef TIDE_QCOW2_FORMAT_GUEST_H
#define TIDE_QCOW2_FORMAT_GUEST_H

#include "qcow2/format/header.h"
#include "qcow2/format/reader.h"

enum qcow2_guest_type {
	QCOW2_GUEST_HOLE, /* the backing file shows through, or zeroes */
	QCOW2_GUEST_ZERO,
	QCOW2_GUEST_DATA,
	QCOW2_GUEST_PACKED,
	QCOW2_GUEST_DAMAGED, /* the entry cannot be followed */
	QCOW2_GUEST_TYPES
};

struct qcow2_guest_run {
	enum qcow2_guest_type type;
	uint64_t guest_bytes; /* offset on the disk */
	uint64_t length_bytes;
	bool has_host;
	uint64_t host_bytes; /* offset in the image or its data file */
};

const char *qcow2_guest_name(enum qcow2_guest_type type);

/*
 * qcow2_guest_walk: runs of one type, in order, without gaps, as long as they
 * can be told in one; compressed clusters have no place. Stops with what @each
 * returns if that is not 0. Reads each L2 table once, keeps one in memory.
 */
typedef int qcow2_guest_fn(void *opaque, const struct qcow2_guest_run *run);
int qcow2_guest_walk(const struct qcow2_reader *r,
		     const struct qcow2_header *h, qcow2_guest_fn *each,
		     void *opaque, struct tide_error *err);

#endif
