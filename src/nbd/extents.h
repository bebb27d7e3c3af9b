/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The answer of a meta context while it is being made: runs of equal flags,
 * from the requested offset onward. Neighbours with equal flags are merged,
 * what reaches past the end is cut off, and where the answer would exceed one
 * message it ends: the client asks again from there.
 */
#ifndef TIDE_NBD_EXTENTS_H
#define TIDE_NBD_EXTENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nbd_extent {
	uint64_t length_bytes;
	uint64_t flags;
};

struct nbd_extents {
	struct nbd_extent *list;
	uint32_t count, room, max;
	uint64_t left_bytes; /* of what was asked for */
	bool no_memory;
};

/* At most @max extents over @length_bytes. */
void nbd_extents_init(struct nbd_extents *x, uint64_t length_bytes,
		      uint32_t max);
void nbd_extents_fini(struct nbd_extents *x);
/*
 * nbd_extents_add: the next @length_bytes have @flags. False: that was the
 * end, no more is wanted.
 */
bool nbd_extents_add(struct nbd_extents *x, uint64_t length_bytes,
		     uint64_t flags);
/* The next @n lengths, with @flags and @others in turns. False: as above. */
bool nbd_extents_add_turns(struct nbd_extents *x, const uint64_t *lengths_bytes,
			   size_t n, uint64_t flags, uint64_t others);

#endif
