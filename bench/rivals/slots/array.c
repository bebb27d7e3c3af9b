/* SPDX-License-Identifier: BSD-2-Clause */
/* The sorted array below several candidates, and binary search on it. */
#include <stdlib.h>

#include "slotmap.h"

struct slot_world slot_world;

int slot_array_init(struct slot_array *a, const struct tide_slot *slots,
		    uint32_t n)
{
	a->room = n + n / 4 + 8;
	a->n = n;
	a->slots = malloc(a->room * sizeof(*a->slots));
	if (!a->slots)
		return -1;
	if (n)
		memcpy(a->slots, slots, n * sizeof(*slots));
	return 0;
}

void slot_array_insert(struct slot_array *a, const struct tide_slot *slot)
{
	uint32_t at = slot_count_le(a->slots, a->n, slot->gpa_bytes);

	if (a->n == a->room) {
		a->room *= 2;
		a->slots = realloc(a->slots, a->room * sizeof(*a->slots));
		if (!a->slots)
			abort();
	}
	memmove(a->slots + at + 1, a->slots + at,
		(a->n - at) * sizeof(*a->slots));
	a->slots[at] = *slot;
	a->n++;
}

void slot_array_remove(struct slot_array *a, uint64_t gpa)
{
	uint32_t at = slot_count_le(a->slots, a->n, gpa) - 1;

	a->n--;
	memmove(a->slots + at, a->slots + at + 1,
		(a->n - at) * sizeof(*a->slots));
}

static inline struct slot_span span(void *map, uint64_t gpa)
{
	const struct slot_array *a = map;

	return slot_span_of(a->slots, a->n, slot_count_le(a->slots, a->n, gpa),
			    gpa);
}

SLOTMAP_LOOKUPS(span)

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct slot_array *a = malloc(sizeof(*a));

	if (a && slot_array_init(a, slots, n)) {
		free(a);
		return NULL;
	}
	return a;
}

static void destroy(void *map)
{
	free(((struct slot_array *)map)->slots);
	free(map);
}

static void insert(void *map, const struct tide_slot *slot)
{
	slot_array_insert(map, slot);
}

static void remove_slot(void *map, uint64_t gpa)
{
	slot_array_remove(map, gpa);
}

static size_t bytes(const void *map)
{
	return ((const struct slot_array *)map)->n * sizeof(struct tide_slot);
}

const struct slotmap slotmap_binary = { "binary search", create, destroy,
					find, find_cached, insert,
					remove_slot, bytes, 0 };
