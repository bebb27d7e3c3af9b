/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An array sorted by size, biggest first, searched from its start: what KVM
 * did until 2014. RAM is found at once, a miss looks at every slot. The
 * interval around a miss is not known from the first look: the cached lookup
 * collects it on the way.
 */
#include <stdlib.h>

#include "slotmap.h"

struct linear {
	struct slot_array by_gpa; /* to insert and remove */
	struct tide_slot *by_size;
};

static int by_size(const void *x, const void *y)
{
	const struct tide_slot *a = x, *b = y;

	if (a->len_bytes != b->len_bytes)
		return a->len_bytes > b->len_bytes ? -1 : 1;
	return a->gpa_bytes < b->gpa_bytes ? -1 : 1;
}

static void sort(struct linear *l)
{
	l->by_size = realloc(l->by_size,
			     (l->by_gpa.n + 1) * sizeof(*l->by_size));
	if (!l->by_size)
		abort();
	memcpy(l->by_size, l->by_gpa.slots,
	       l->by_gpa.n * sizeof(*l->by_size));
	qsort(l->by_size, l->by_gpa.n, sizeof(*l->by_size), by_size);
}

static bool find(void *map, struct slot_cache *c, uint64_t gpa,
		 struct tide_slot *out)
{
	const struct linear *l = map;
	bool found = false;

	tide__gate_enter_fast(c->gate, &c->line);
	for (uint32_t i = 0; !found && i < l->by_gpa.n; i++)
		if (gpa - l->by_size[i].gpa_bytes < l->by_size[i].len_bytes) {
			*out = l->by_size[i];
			found = true;
		}
	tide__gate_leave(&c->line);
	return found;
}

static struct slot_span span(void *map, uint64_t gpa)
{
	const struct linear *l = map;
	struct slot_span s = { 0, UINT64_MAX, NULL };

	for (uint32_t i = 0; i < l->by_gpa.n; i++) {
		const struct tide_slot *at = &l->by_size[i];
		uint64_t last = at->gpa_bytes + (at->len_bytes - 1);

		if (gpa - at->gpa_bytes < at->len_bytes)
			return (struct slot_span){ at->gpa_bytes, last, at };
		if (at->gpa_bytes > gpa && at->gpa_bytes - 1 < s.last)
			s.last = at->gpa_bytes - 1;
		if (last < gpa && last + 1 > s.first)
			s.first = last + 1;
	}
	return s;
}

#define find plain_find /* ours above does not need the gap */
static bool plain_find(void *map, struct slot_cache *c, uint64_t gpa,
		       struct tide_slot *out) __attribute__((unused));
SLOTMAP_LOOKUPS(span)
#undef find

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct linear *l = calloc(1, sizeof(*l));

	if (!l || slot_array_init(&l->by_gpa, slots, n)) {
		free(l);
		return NULL;
	}
	sort(l);
	return l;
}

static void destroy(void *map)
{
	struct linear *l = map;

	free(l->by_gpa.slots);
	free(l->by_size);
	free(l);
}

static void insert(void *map, const struct tide_slot *slot)
{
	struct linear *l = map;

	slot_array_insert(&l->by_gpa, slot);
	sort(l);
}

static void remove_slot(void *map, uint64_t gpa)
{
	struct linear *l = map;

	slot_array_remove(&l->by_gpa, gpa);
	sort(l);
}

static size_t bytes(const void *map)
{
	return ((const struct linear *)map)->by_gpa.n *
	       sizeof(struct tide_slot);
}

const struct slotmap slotmap_linear = { "linear by size", create, destroy,
					find, find_cached, insert,
					remove_slot, bytes, 512 };
