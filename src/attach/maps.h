/* SPDX-License-Identifier: BSD-2-Clause */
/* The mappings of a process, read from /proc/PID/maps. */
#ifndef TIDE_ATTACH_MAPS_H
#define TIDE_ATTACH_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tidemark/error.h"

enum tide__map_kind {
	TIDE__MAP_ANONYMOUS,	/* private, no file below */
	TIDE__MAP_SHMEM,	/* memfd, /dev/shm, shared anonymous */
	TIDE__MAP_HUGETLB,
	TIDE__MAP_FILE,		/* a file on a disk: cannot be tracked */
	TIDE__MAP_OTHER,	/* stacks, vdso, devices */
};

struct tide__map {
	uint64_t start, end, offset_bytes, inode;
	uint64_t device;
	bool readable, writable, executable, shared;
	enum tide__map_kind kind;
	char name[128];	/* as the kernel shows it, cut off */
};

struct tide__maps {
	struct tide__map *map;
	size_t count;
};

/* Fill @maps, by address; tide__maps_free gives it back. 0 or -errno. */
int tide__maps_read(struct tide__maps *maps, int pid, struct tide_error *err);
void tide__maps_free(struct tide__maps *maps);
/* One line of the file; false: it is none. */
bool tide__maps_parse(const char *line, struct tide__map *map);

#endif
