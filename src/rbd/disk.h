/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Images of a Ceph cluster as disks, for all who open disks by name, and new
 * ones of a name that no other sees until they are whole.
 */
#ifndef TIDE_RBD_DISK_H
#define TIDE_RBD_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/disk.h"

/* From then on tide_disk_open knows rbd: names. Once for the process. */
void ceph_disk_register(void);

/*
 * As the driver's open: -ENOENT, -EBUSY: another client has the image to
 * itself, -ENOTSUP: there is no librbd.
 */
int ceph_disk_open(const char *path, const struct tide_disk_options *options,
		   struct tide_disk **out, struct tide_error *err);

/* A new image, or one that is written over. */
struct ceph_target;

/*
 * One of @size_bytes at @path; -EEXIST: it is there, and not @force, -EBUSY:
 * and in use. *fresh: it is new, and reads as zeroes. After an error *disk is
 * NULL.
 */
int ceph_target_open(const char *path, uint64_t size_bytes, bool force,
		     struct ceph_target **out, struct tide_disk **disk,
		     bool *fresh, struct tide_error *err);
/* After its disk was closed. @whole: it gets its name; else it is removed. */
int ceph_target_close(struct ceph_target *t, bool whole,
		      struct tide_error *err);

#endif
