/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a point is restored to: a new raw or qcow2 file, a block device, an
 * image of a Ceph cluster, or an export of an NBD server. What is new has its
 * name only when it is whole.
 */
#ifndef TIDE_BACKUP_TARGET_H
#define TIDE_BACKUP_TARGET_H

#include "transfer/nbd_client.h"
#include "disk/disk.h"

struct backup_target {
	struct tide_disk *disk; /* or */
	struct nbd_client *nbd;
	struct ceph_target *ceph; /* what @disk is in; NULL: a file */
	char *path, *beside; /* beside: its name until it is whole */
	bool fresh; /* reads as zeroes where nothing was written */
	bool force;
};

/*
 * @to: a path, an rbd: name, or an NBD URI. @format: "raw", "qcow2". -EEXIST: a
 * file or image is there, and not @force; -ENOSPC: device or export are smaller
 * than @size_bytes.
 */
int target_open(struct backup_target *t, const char *to, const char *format,
		uint64_t size_bytes, uint32_t jobs, bool force,
		struct tide_error *err);
int target_write(struct backup_target *t, uint32_t worker, uint64_t offset,
		 const void *buf, uint64_t length, struct tide_error *err);
int target_zero(struct backup_target *t, uint32_t worker, uint64_t offset,
		uint64_t length, struct tide_error *err);
int target_read(struct backup_target *t, uint32_t worker, uint64_t offset,
		void *buf, uint64_t length, struct tide_error *err);
int target_flush(struct backup_target *t, struct tide_error *err);
/* @whole: it is what it shall be. 0 or the first error. */
int target_close(struct backup_target *t, bool whole, struct tide_error *err);

#endif
