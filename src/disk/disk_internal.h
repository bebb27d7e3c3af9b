/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What disk.c does with a request in two steps, of which the queue takes the
 * first on its own thread and the second on a worker's.
 */
#ifndef TIDE_DISK_DISK_INTERNAL_H
#define TIDE_DISK_DISK_INTERNAL_H

#include "disk/disk.h"

/* 0, or -EINVAL if the range is not in the disk. */
int tide__disk_check_range(const struct tide_disk *d, uint64_t offset_bytes,
			   uint64_t length_bytes, struct tide_error *err);
/* That, and -EROFS if the disk must not be changed. */
int tide__disk_check_change(const struct tide_disk *d, uint64_t offset_bytes,
			    uint64_t length_bytes, struct tide_error *err);

/* *own: what @theirs says, which may be NULL, or of another version. */
int tide__disk_options_take(struct tide_disk_options *own, const char *path,
			    const struct tide_disk_options *theirs,
			    struct tide_error *err);

/* What was checked, and is not empty. */
int tide__disk_run_read(struct tide_disk *d, uint64_t offset_bytes,
			const struct tide_vec *to, struct tide_error *err);
int tide__disk_run_write(struct tide_disk *d, uint64_t offset_bytes,
			 const struct tide_vec *from, uint32_t flags,
			 struct tide_error *err);

#endif
