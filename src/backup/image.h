/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The image of a point while it is written: chunks, compressed or as they are,
 * and what they came to. In a full point a chunk of zeroes is one that is not
 * there; in one that stands on another it must be said, or the image below
 * would show through.
 */
#ifndef TIDE_BACKUP_IMAGE_H
#define TIDE_BACKUP_IMAGE_H

#include "backup/folder.h"
#include "disk/disk.h"
#include "qcow2/driver/compress.h"
#include "transfer/pump.h"

/* How chunks are stored; all zero: zstd, quickly. */
struct backup_compression {
	bool none;
	int level; /* of zstd; 0: 1 */
};

#define BACKUP_MIN_LEVEL (-7)
#define BACKUP_MAX_LEVEL 19

struct backup_image {
	struct tide_disk *disk;
	struct qcow2_packer **packers; /* of each worker; NULL: none */
	uint32_t jobs;
	bool stands; /* on an image below */
	uint64_t data_bytes, zero_bytes, stored_bytes; /* atomic */
};

/* A new file at @path. @parent: whose image is below; NULL: none. */
int backup_image_create(struct backup_image *i, const char *path,
			uint64_t size_bytes, const struct backup_point *parent,
			const struct backup_compression *compression,
			uint32_t jobs, struct tide_error *err);
int backup_image_zero(struct backup_image *i, uint64_t offset_bytes,
		      uint64_t length_bytes, struct tide_error *err);
/*
 * A piece of data, whose chunks say which are zeroes. Workers may do it at
 * once, each under its own number.
 */
int backup_image_put(struct backup_image *i, uint32_t worker,
		     const struct piece *p, const uint8_t *buf,
		     struct tide_error *err);
/* Durable, if all before was well (@ret is 0); *i is empty then. */
int backup_image_close(struct backup_image *i, int ret,
		       struct tide_error *err);
/* What it came to, into @p. */
void backup_image_sums(const struct backup_image *i, struct backup_point *p);

#endif
