/* SPDX-License-Identifier: BSD-2-Clause */
/* Large zeroed mappings, backed by memory only where they are written. */
#ifndef TIDE_BASE_MEMORY_H
#define TIDE_BASE_MEMORY_H

#include <stddef.h>
#include <sys/mman.h>

/*
 * NORESERVE: what a set over terabytes could use must not count against the
 * host's commit limit. NULL: no address space. munmap() gives it back.
 */
static inline void *tide__map_sparse(size_t bytes)
{
	void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);

	return mapping == MAP_FAILED ? NULL : mapping;
}

#endif
