/* SPDX-License-Identifier: BSD-2-Clause */
#include "nbd/extents.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 64u

void nbd_extents_init(struct nbd_extents *x, uint64_t length_bytes,
		      uint32_t max)
{
	memset(x, 0, sizeof(*x));
	x->left_bytes = length_bytes;
	x->max = max;
}

void nbd_extents_fini(struct nbd_extents *x)
{
	free(x->list);
	x->list = NULL;
}

static bool make_room(struct nbd_extents *x)
{
	uint32_t room = x->room ? x->room * 2 : FIRST_ROOM;
	struct nbd_extent *list;

	if (x->count < x->room)
		return true;
	if (room > x->max)
		room = x->max;
	list = realloc(x->list, room * sizeof(*list));
	if (!list) {
		x->no_memory = true;
		return false;
	}
	x->list = list;
	x->room = room;
	return true;
}

bool nbd_extents_add(struct nbd_extents *x, uint64_t length_bytes,
		     uint64_t flags)
{
	struct nbd_extent *last = x->count ? &x->list[x->count - 1] : NULL;

	if (length_bytes > x->left_bytes)
		length_bytes = x->left_bytes;
	if (!length_bytes)
		return x->left_bytes;
	if (last && last->flags == flags) {
		last->length_bytes += length_bytes;
	} else {
		/* Full: only now, so that the last one is as long as it is. */
		if (x->count == x->max || !make_room(x))
			return false;
		x->list[x->count++] = (struct nbd_extent){ length_bytes,
							   flags };
	}
	x->left_bytes -= length_bytes;
	return x->left_bytes;
}

/* As many as there is room for, while none of them has to be cut. */
static size_t add_many(struct nbd_extents *x, const uint64_t *lengths_bytes,
		       size_t n, const uint64_t flags[2])
{
	struct nbd_extent *at = x->list + x->count;
	uint64_t left = x->left_bytes;
	size_t i;

	if (n > x->room - x->count)
		n = x->room - x->count;
	for (i = 0; i < n && lengths_bytes[i] < left; i++) {
		at[i] = (struct nbd_extent){ lengths_bytes[i], flags[i % 2] };
		left -= lengths_bytes[i];
	}
	x->left_bytes = left;
	x->count += (uint32_t)i;
	return i;
}

bool nbd_extents_add_turns(struct nbd_extents *x, const uint64_t *lengths_bytes,
			   size_t n, uint64_t flags, uint64_t others)
{
	const uint64_t both[3] = { flags, others, flags };
	size_t i = 0;

	while (i < n) {
		/* The one that may join the last, makes room, or is cut. */
		if (!nbd_extents_add(x, lengths_bytes[i], both[i % 2]))
			return false;
		i++;
		i += add_many(x, lengths_bytes + i, n - i, both + i % 2);
	}
	return true;
}
