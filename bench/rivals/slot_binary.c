/* SPDX-License-Identifier: BSD-2-Clause */
/* Binary search of the slots themselves, with branches, as Linux did (2014). */
#include "slot_sorted.h"

static uint32_t count_le(const struct sorted *s, uint64_t gpa)
{
	uint32_t low = 0, high = s->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (s->slot[mid].gpa_bytes <= gpa)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int insert(void *map, const struct tide_slot *slot)
{
	return sorted_put(map, slot);
}

static void drop(void *map, uint64_t gpa)
{
	sorted_drop(map, gpa);
}

static const struct tide_slot *find(const void *map, uint64_t gpa)
{
	return sorted_slot(map, count_le(map, gpa), gpa);
}

static const struct tide_slot *span(const void *map, uint64_t gpa,
				    struct slot_span *span)
{
	return sorted_span(map, count_le(map, gpa), gpa, span);
}

const struct slot_rival slot_binary = {
	.name = "binary search", .create = sorted_create,
	.destroy = sorted_destroy, .insert = insert, .remove = drop,
	.find = find, .span = span, .bytes = sorted_bytes,
};
