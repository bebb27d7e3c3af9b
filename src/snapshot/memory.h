/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading another process's memory, by page numbers through all its areas.
 * Shared memory is read from its file where that can be had: what was never
 * touched stays so.
 */
#ifndef TIDE_SNAPSHOT_MEMORY_H
#define TIDE_SNAPSHOT_MEMORY_H

#include "attach/ram.h"
#include "snapshot/format.h"

struct snap_memory {
	int pid;
	uint32_t areas;
	struct snap_area area[TIDE__RAM_MAX];
	int fd[TIDE__RAM_MAX];	/* of what it maps; -1: by address */
	uint64_t pages;
};

void snap_memory_open(struct snap_memory *m, int pid,
		      const struct tide__ram *ram);
void snap_memory_close(struct snap_memory *m);
/* Pages [@page, +@count), which lie in one area or more. 0 or -errno. */
int snap_memory_read(const struct snap_memory *m, uint64_t page,
		     uint64_t count, unsigned char *to,
		     struct tide_error *err);
/* How many pages from @page on (at most @count) hold nothing for certain. */
uint64_t snap_memory_holes(const struct snap_memory *m, uint64_t page,
			   uint64_t count);

/*
 * Shared memory of process @pid that nobody needs any more is emptied: each of
 * its pages will be a fault again. 0 or -errno.
 */
int snap_memory_empty(int pid, const struct tide__ram *ram,
		      struct tide_error *err);

#endif
