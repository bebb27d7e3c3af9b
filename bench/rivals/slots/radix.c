/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page-radix tree: nine bits of the address a level, as page tables have it.
 * An entry is a child, or the one slot that covers all of its range, or
 * nothing: a big aligned slot ends high up, a small one at the bottom. Finding
 * a slot is five loads at most; the interval around a miss is as wide as the
 * empty entry that was met, not as the gap.
 */
#include <stdlib.h>

#include "slotmap.h"

#define BITS 9
#define FAN (1u << BITS)
#define TOP_SHIFT (12 + 5 * BITS) /* 57 bits and up at the top */

struct table {
	uintptr_t entry[FAN]; /* 0, a slot, or a table with bit 0 set */
};

struct kept {
	struct tide_slot slot; /* first: entries point here */
	uint32_t at; /* in slots[] */
};

struct radix {
	struct table *top;
	struct kept **slots; /* all, in no order */
	uint32_t n, room;
	size_t tables;
};

static struct table *new_table(struct radix *r, uintptr_t fill)
{
	struct table *t = malloc(sizeof(*t));

	if (!t)
		abort();
	for (uint32_t i = 0; i < FAN; i++)
		t->entry[i] = fill;
	r->tables++;
	return t;
}

/* Let [first, last] of table @t, whose entries span 1 << shift, be @value. */
static void set(struct radix *r, struct table *t, uint32_t shift,
		uint64_t first, uint64_t last, uintptr_t value)
{
	uint64_t span = UINT64_C(1) << shift;

	for (uint64_t at = first; at <= last;) {
		uintptr_t *e = &t->entry[(at >> shift) & (FAN - 1)];
		uint64_t end = at | (span - 1);
		uint64_t stop = end < last ? end : last;

		if ((at & (span - 1)) == 0 && end <= last && !(*e & 1)) {
			*e = value;
		} else {
			if (!(*e & 1))
				*e = (uintptr_t)new_table(r, *e) | 1;
			set(r, (struct table *)(*e & ~(uintptr_t)1),
			    shift - BITS, at, stop, value);
		}
		if (stop == UINT64_MAX)
			break;
		at = stop + 1;
	}
}

static inline struct slot_span span(void *map, uint64_t gpa)
{
	const struct radix *r = map;
	uint32_t shift = TOP_SHIFT;
	uintptr_t e = r->top->entry[gpa >> TOP_SHIFT];
	struct slot_span s = { gpa & ~((UINT64_C(1) << shift) - 1), 0, NULL };

	while (e & 1) {
		shift -= BITS;
		e = ((const struct table *)(e & ~(uintptr_t)1))
			    ->entry[(gpa >> shift) & (FAN - 1)];
	}
	if (e) {
		s.slot = (const struct tide_slot *)e;
		s.first = s.slot->gpa_bytes;
		s.last = s.first + (s.slot->len_bytes - 1);
		return s;
	}
	s.last = gpa | ((UINT64_C(1) << shift) - 1);
	s.first = gpa & ~((UINT64_C(1) << shift) - 1);
	return s;
}

SLOTMAP_LOOKUPS(span)

static void insert(void *map, const struct tide_slot *slot)
{
	struct radix *r = map;
	struct kept *copy = malloc(sizeof(*copy));

	if (r->n == r->room) {
		r->room = r->room ? 2 * r->room : 64;
		r->slots = realloc(r->slots, r->room * sizeof(*r->slots));
	}
	if (!copy || !r->slots)
		abort();
	*copy = (struct kept){ *slot, r->n };
	r->slots[r->n++] = copy;
	set(r, r->top, TOP_SHIFT, slot->gpa_bytes,
	    slot->gpa_bytes + (slot->len_bytes - 1), (uintptr_t)copy);
}

static void remove_slot(void *map, uint64_t gpa)
{
	struct radix *r = map;
	struct kept *k = (struct kept *)(uintptr_t)span(map, gpa).slot;
	struct kept *last = r->slots[--r->n];

	set(r, r->top, TOP_SHIFT, k->slot.gpa_bytes,
	    k->slot.gpa_bytes + (k->slot.len_bytes - 1), 0);
	last->at = k->at;
	r->slots[k->at] = last;
	free(k);
}

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct radix *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->top = new_table(r, 0);
	for (uint32_t i = 0; i < n; i++)
		insert(r, &slots[i]);
	return r;
}

static void drop(struct table *t)
{
	for (uint32_t i = 0; i < FAN; i++)
		if (t->entry[i] & 1)
			drop((struct table *)(t->entry[i] & ~(uintptr_t)1));
	free(t);
}

static void destroy(void *map)
{
	struct radix *r = map;

	drop(r->top);
	for (uint32_t i = 0; i < r->n; i++)
		free(r->slots[i]);
	free(r->slots);
	free(r);
}

static size_t bytes(const void *map)
{
	const struct radix *r = map;

	return r->tables * sizeof(struct table) +
	       r->n * (sizeof(struct kept) + sizeof(void *));
}

const struct slotmap slotmap_radix = { "page radix", create, destroy, find,
				       find_cached, insert, remove_slot, bytes,
				       0 };
