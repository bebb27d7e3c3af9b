/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A slab allocator: things of one size, at multiples of 64 bytes, from blocks
 * that grow up to big pages: so the tables that a lookup walks lie together,
 * and need few translations. Nothing is given back to the system before the
 * end. For one thread at a time.
 */
#ifndef TIDE_MAPS_SLOTS_POOL_H
#define TIDE_MAPS_SLOTS_POOL_H

#include <stddef.h>

struct tide__block;

struct tide__pool {
	size_t bytes;		/* of a thing */
	size_t block_bytes;	/* of the next block */
	void *unused;		/* list of things that were put back */
	char *next;		/* of the newest block */
	size_t left;		/* bytes there */
	struct tide__block *blocks;
};

void tide__pool_init(struct tide__pool *pool, size_t bytes);
void tide__pool_fini(struct tide__pool *pool);
/* NULL: no memory. */
void *tide__pool_take(struct tide__pool *pool);
void tide__pool_put(struct tide__pool *pool, void *thing);

#endif
