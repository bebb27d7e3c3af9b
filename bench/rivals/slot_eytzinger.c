/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starts in the order in which a binary search meets them: node k has its
 * children at 2k and 2k+1. No branches; the line three steps ahead is fetched
 * early. Rebuilt at every change.
 */
#include "slot_sorted.h"

static uint32_t fill(struct sorted *s, uint32_t next, uint32_t k)
{
	if (k > s->count)
		return next;
	next = fill(s, next, 2 * k);
	s->key[k] = s->slot[next].gpa_bytes;
	s->rank[k] = next++;
	return fill(s, next, 2 * k + 1);
}

static void rebuild(struct sorted *s)
{
	fill(s, 0, 1);
	s->rank[0] = s->count;		/* no key above gpa */
	s->key_bytes = (s->count + 1) * (sizeof(*s->key) + sizeof(*s->rank));
}

static uint32_t count_le(const struct sorted *s, uint64_t gpa)
{
	uint64_t k = 1;

	if (!s->count)
		return 0;
	while (k <= s->count) {
		__builtin_prefetch(s->key + 8 * k);
		k = 2 * k + (s->key[k] <= gpa);
	}
	/* Back over the steps to the right, and the last one to the left. */
	k >>= __builtin_ctzll(~k) + 1;
	return s->rank[k];
}

static int insert(void *map, const struct tide_slot *slot)
{
	int rc = sorted_put(map, slot);

	if (!rc)
		rebuild(map);
	return rc;
}

static void drop(void *map, uint64_t gpa)
{
	sorted_drop(map, gpa);
	rebuild(map);
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

const struct slot_rival slot_eytzinger = {
	.name = "eytzinger", .create = sorted_create,
	.destroy = sorted_destroy, .insert = insert, .remove = drop,
	.find = find, .span = span, .bytes = sorted_bytes,
};
