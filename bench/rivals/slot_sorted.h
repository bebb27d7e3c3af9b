/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the searches of an array sorted by address share: the array, and the
 * way from "so many slots start at or below gpa" to the answer.
 */
#ifndef BENCH_RIVALS_SLOT_SORTED_H
#define BENCH_RIVALS_SLOT_SORTED_H

#include "slotmap.h"

#define SORTED_LEVELS 8

struct sorted {
	struct tide_slot *slot;
	uint32_t count, room;
	uint64_t *key;		/* in the order of the search; rebuilt */
	uint32_t *rank;		/* Eytzinger: of a key among the sorted */
	size_t key_bytes;
	uint64_t *level[SORTED_LEVELS];	/* B-tree: into key, leaves first */
	unsigned int levels;
};

void *sorted_create(void);
void sorted_destroy(void *map);
int sorted_put(struct sorted *s, const struct tide_slot *slot);
void sorted_drop(struct sorted *s, uint64_t gpa);
size_t sorted_bytes(const void *map);

static inline const struct tide_slot *
sorted_slot(const struct sorted *s, uint32_t count_le, uint64_t gpa)
{
	const struct tide_slot *slot = s->slot + count_le - 1;

	return count_le && gpa - slot->gpa_bytes < slot->len_bytes ? slot
								   : NULL;
}

static inline const struct tide_slot *
sorted_span(const struct sorted *s, uint32_t count_le, uint64_t gpa,
	    struct slot_span *span)
{
	const struct tide_slot *slot = s->slot + count_le - 1;
	uint64_t last = count_le ? slot->gpa_bytes + (slot->len_bytes - 1) : 0;

	span->first = count_le ? last + 1 : 0;
	span->last = count_le < s->count ? s->slot[count_le].gpa_bytes - 1
					 : UINT64_MAX;
	if (!count_le || last < gpa)
		return NULL;
	*span = (struct slot_span){ slot->gpa_bytes, last };
	return slot;
}

#endif
