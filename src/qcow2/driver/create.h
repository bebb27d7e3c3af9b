/* SPDX-License-Identifier: BSD-2-Clause */
/* Making a new image. */
#ifndef TIDE_QCOW2_DRIVER_CREATE_H
#define TIDE_QCOW2_DRIVER_CREATE_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct qcow2_create_options {
	uint64_t size_bytes;
	uint32_t cluster_bits; /* 9 to 21; 0: 16 */
	uint32_t version; /* 2 or 3; 0: 3 */
	uint32_t refcount_order; /* log2 of bits, 0 to 6 */
	bool default_refcounts; /* refcount_order is not set: 16 bits */
	bool extended_l2; /* version 3, clusters of 16 KiB or more */
	bool zstd; /* compression type of clusters to come; version 3 */
	bool lazy_refcounts; /* version 3: allow other writers to be lazy */
	const char *backing_name, *backing_format; /* NULL: none, not said */
	const char *data_file; /* NULL: guest data is in the image */
};

/*
 * qcow2_create: a new image at @path, which must not exist, durable when the
 * call returns. 0; -EEXIST, -EINVAL (options that exclude each other, or that
 * the format does not allow), -EFBIG, or what writing said: then no file is
 * left. A data file is created, or must be as long as the disk.
 */
int qcow2_create(const char *path, const struct qcow2_create_options *options,
		 struct tide_error *err);

#endif
