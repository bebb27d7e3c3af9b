/* SPDX-License-Identifier: BSD-2-Clause */
/* An array sorted by size, largest first, searched from its begin (2011). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "slotmap.h"

struct linear {
	struct tide_slot *slot;
	uint32_t count, room;
};

static void *create(void)
{
	return calloc(1, sizeof(struct linear));
}

static void destroy(void *map)
{
	struct linear *l = map;

	free(l->slot);
	free(l);
}

static int insert(void *map, const struct tide_slot *slot)
{
	struct linear *l = map;
	uint32_t at = 0;

	if (l->count == l->room) {
		uint32_t room = l->room ? 2 * l->room : 8;
		struct tide_slot *more = realloc(l->slot, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		l->slot = more;
		l->room = room;
	}
	while (at < l->count && l->slot[at].len_bytes >= slot->len_bytes)
		at++;
	memmove(&l->slot[at + 1], &l->slot[at],
		(l->count++ - at) * sizeof(*slot));
	l->slot[at] = *slot;
	return 0;
}

static void drop(void *map, uint64_t gpa)
{
	struct linear *l = map;
	uint32_t at = 0;

	while (l->slot[at].gpa_bytes != gpa)
		at++;
	memmove(&l->slot[at], &l->slot[at + 1],
		(--l->count - at) * sizeof(*l->slot));
}

static const struct tide_slot *find(const void *map, uint64_t gpa)
{
	const struct linear *l = map;

	for (uint32_t i = 0; i < l->count; i++)
		if (gpa - l->slot[i].gpa_bytes < l->slot[i].len_bytes)
			return &l->slot[i];
	return NULL;
}

/* A miss looks at every slot, and so learns how wide the gap is. */
static const struct tide_slot *span(const void *map, uint64_t gpa,
				    struct slot_span *span)
{
	const struct linear *l = map;

	*span = (struct slot_span){ 0, UINT64_MAX };
	for (uint32_t i = 0; i < l->count; i++) {
		const struct tide_slot *s = &l->slot[i];
		uint64_t last = s->gpa_bytes + (s->len_bytes - 1);

		if (gpa - s->gpa_bytes < s->len_bytes) {
			*span = (struct slot_span){ s->gpa_bytes, last };
			return s;
		}
		if (last < gpa && last >= span->first)
			span->first = last + 1;
		if (s->gpa_bytes > gpa && s->gpa_bytes <= span->last)
			span->last = s->gpa_bytes - 1;
	}
	return NULL;
}

static size_t bytes(const void *map)
{
	const struct linear *l = map;

	return sizeof(*l) + l->count * sizeof(*l->slot);
}

const struct slot_rival slot_linear = {
	.name = "linear by size", .create = create, .destroy = destroy,
	.insert = insert, .remove = drop, .find = find, .span = span,
	.bytes = bytes,
};
