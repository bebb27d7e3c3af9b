/* SPDX-License-Identifier: BSD-2-Clause */
/* Which mappings of a process are a guest's memory. */
#ifndef TIDE_ATTACH_RAM_H
#define TIDE_ATTACH_RAM_H

#include "attach/maps.h"
#include "attach/target.h"

#define TIDE__RAM_MAX 32

struct tide__ram_area {
	uint64_t start, len_bytes;	/* in the process */
	enum tide__map_kind kind;
	uint64_t offset_bytes;	/* in what it maps */
	uint64_t inode, device;	/* of shared memory; else 0 */
	char name[64];
};

struct tide__ram {
	struct tide__ram_area area[TIDE__RAM_MAX];	/* by address */
	size_t count;
	uint64_t bytes;		/* together */
};

/*
 * tide__ram_find: writable memory in one piece of @least_bytes or more; with
 * @least_bytes 0 that is an eighth of the largest, and 1 MiB. What can be
 * executed is none (translated code). 0; -ENOENT nothing; -EOPNOTSUPP: such a
 * piece maps a file on a disk, which cannot be tracked.
 */
int tide__ram_find(struct tide__ram *ram, const struct tide__maps *maps,
		   uint64_t min_bytes, struct tide_error *err);

#endif
