/* SPDX-License-Identifier: BSD-2-Clause */
/* Compressed clusters for an image that is open for writing. */
#ifndef TIDE_QCOW2_DRIVER_COMPRESS_H
#define TIDE_QCOW2_DRIVER_COMPRESS_H

#include <stdint.h>

#include "disk/disk.h"

struct qcow2_packer;

/*
 * qcow2_packer_create: what one thread needs to compress for @d, a qcow2 image
 * as tide_disk_open made it; by its compression type, zlib or zstd. @level: 0
 * for the usual one (zstd 1, zlib's default). Any number of packers may write
 * to one image at once, beside plain requests. -ENOTSUP: not a qcow2 image, or
 * its data is in another file. Destroy it before the disk is closed; NULL is
 * fine.
 */
int qcow2_packer_create(struct tide_disk *d, int level,
			struct qcow2_packer **out, struct tide_error *err);
void qcow2_packer_destroy(struct qcow2_packer *p);

/*
 * qcow2_packer_write: one whole cluster of the guest (at the end of the disk:
 * what there is of it), as tide_disk_write. It is stored plainly when that is
 * not longer. *stored_bytes: what it takes in the file. Blocks.
 */
int qcow2_packer_write(struct qcow2_packer *p, uint64_t offset,
		       const void *buf, uint64_t length_bytes,
		       uint64_t *stored_bytes, struct tide_error *err);

#endif
