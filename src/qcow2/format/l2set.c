/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots share L2 tables, so a table is met as often as there are
 * snapshots. A hash table with open addressing keeps each once: an image that
 * refers to one table a million times costs one slot and one read.
 */
#include "qcow2/format/l2set.h"

#include <errno.h>
#include <stdlib.h>

static struct qcow2_l2_ref *find(struct qcow2_l2_ref *slots, uint64_t room,
				 uint64_t offset)
{
	uint64_t at = (offset >> 9) * UINT64_C(0x9e3779b97f4a7c15);

	for (at >>= 20;; at++) {
		struct qcow2_l2_ref *s = &slots[at & (room - 1)];

		if (!s->offset_bytes || s->offset_bytes == offset)
			return s;
	}
}

static int grow(struct qcow2_l2set *set)
{
	uint64_t room = set->room ? set->room * 2 : 64;
	struct qcow2_l2_ref *more = calloc(room, sizeof(*more));

	if (!more)
		return -ENOMEM;
	for (uint64_t i = 0; i < set->room; i++)
		if (set->slots[i].offset_bytes)
			*find(more, room, set->slots[i].offset_bytes) =
				set->slots[i];
	free(set->slots);
	set->slots = more;
	set->room = room;
	return 0;
}

int qcow2_l2set_add(struct qcow2_l2set *set, uint64_t offset_bytes,
		    bool active, uint32_t l1_index, uint64_t from)
{
	struct qcow2_l2_ref *s;

	if (set->count * 2 >= set->room && grow(set))
		return -ENOMEM;
	s = find(set->slots, set->room, offset_bytes);
	if (!s->offset_bytes) {
		s->offset_bytes = offset_bytes;
		s->l1_index = l1_index;
		s->from = from;
		set->count++;
	}
	if (active)
		s->active++;
	else
		s->inactive++;
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	uint64_t x = ((const struct qcow2_l2_ref *)a)->offset_bytes;
	uint64_t y = ((const struct qcow2_l2_ref *)b)->offset_bytes;

	return (x > y) - (x < y);
}

void qcow2_l2set_sort(struct qcow2_l2set *set)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < set->room; i++)
		if (set->slots[i].offset_bytes)
			set->slots[n++] = set->slots[i];
	if (n)
		qsort(set->slots, n, sizeof(*set->slots), by_offset);
}

void qcow2_l2set_fini(struct qcow2_l2set *set)
{
	free(set->slots);
	*set = (struct qcow2_l2set){ 0 };
}
