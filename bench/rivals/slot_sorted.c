/* SPDX-License-Identifier: BSD-2-Clause */
#include "slot_sorted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *sorted_create(void)
{
	return calloc(1, sizeof(struct sorted));
}

void sorted_destroy(void *map)
{
	struct sorted *s = map;

	free(s->slot);
	free(s->key);
	free(s->rank);
	free(s);
}

static uint32_t place(const struct sorted *s, uint64_t gpa)
{
	uint32_t low = 0, high = s->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (s->slot[mid].gpa_bytes < gpa)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Room for keys is taken with that for slots: rebuilding cannot fail. */
static int grow(struct sorted *s)
{
	uint32_t room = s->room ? 2 * s->room : 16;
	struct tide_slot *slot = realloc(s->slot, room * sizeof(*slot));
	uint32_t *rank = realloc(s->rank, (room + 1) * sizeof(*rank));
	void *key = NULL;

	if (slot)
		s->slot = slot;
	if (rank)
		s->rank = rank;
	/* A B-tree has at most a quarter more than keys, and one node. */
	if (!slot || !rank ||
	    posix_memalign(&key, 64, (room + room / 4 + 66) * sizeof(*s->key)))
		return -ENOMEM;
	free(s->key);
	s->key = key;
	s->room = room;
	return 0;
}

int sorted_put(struct sorted *s, const struct tide_slot *slot)
{
	uint32_t at = place(s, slot->gpa_bytes);
	int rc = s->count == s->room ? grow(s) : 0;

	if (rc)
		return rc;
	memmove(&s->slot[at + 1], &s->slot[at],
		(s->count++ - at) * sizeof(*slot));
	s->slot[at] = *slot;
	return 0;
}

void sorted_drop(struct sorted *s, uint64_t gpa)
{
	uint32_t at = place(s, gpa);

	memmove(&s->slot[at], &s->slot[at + 1],
		(--s->count - at) * sizeof(*s->slot));
}

size_t sorted_bytes(const void *map)
{
	const struct sorted *s = map;

	return sizeof(*s) + s->count * sizeof(*s->slot) + s->key_bytes;
}
