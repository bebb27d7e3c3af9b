/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of disk.c, which the queue makes before it starts a request. */
#ifndef TIDE_DISK_DISK_INTERNAL_H
#define TIDE_DISK_DISK_INTERNAL_H

#include "disk/disk.h"

/* 0, or -EINVAL if the range is not in the disk. */
int tide__disk_check_range(const struct tide_disk *d, uint64_t offset_bytes,
			   uint64_t length_bytes, struct tide_error *err);
/* That, and -EROFS if the disk must not be changed. */
int tide__disk_check_change(const struct tide_disk *d, uint64_t offset_bytes,
			    uint64_t length_bytes, struct tide_error *err);

#endif
