/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzz targets share: a small image of 512-byte clusters, of which a
 * target lets the fuzzer write one part, and the questions asked of any image.
 *
 * Beside not crashing, two things are held against the code: a repair must not
 * make an image more dangerous than it was, and an image that a check calls
 * clean is one whose layout can be walked without complaint.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "qcow2/check/check.h"
#include "qcow2/format/reader.h"

#define FUZZ_CLUSTER 512u
#define FUZZ_CLUSTERS 96u
#define FUZZ_BYTES (FUZZ_CLUSTER * FUZZ_CLUSTERS)

/* Clusters of the small image. */
enum {
	AT_REFTABLE = 1,
	AT_REFBLOCK = 2,
	AT_L1 = 3,
	AT_L2 = 4, /* four tables */
	AT_SNAPSHOTS = 8, /* two */
	AT_INACTIVE_L1 = 10,
	AT_DIRECTORY = 11, /* two */
	AT_BITMAP = 13,
	AT_BITMAP_DATA = 14,
	AT_DATA = 16,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A clean image with a snapshot and a bitmap, refcounts of 1 << @order bits. */
void fuzz_image(uint8_t image[FUZZ_BYTES], uint32_t order);

/* Header, lists, layout, check, repair and check again; traps on a lie. */
void fuzz_ask(const uint8_t *bytes, size_t size);

/* The same for the parts. */
void fuzz_lists(const struct qcow2_reader *r, const struct qcow2_header *h);

#endif
