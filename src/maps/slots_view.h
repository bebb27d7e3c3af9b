/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One state of the slot map, whole and never changed again: what readers see.
 * Its slots are sorted by guest address; two more orders stand beside it, by
 * host address and by id. A change makes a new view from the old one by
 * copying, so it costs time in proportion to the slots, and lookups nothing.
 */
#ifndef TIDE_MAPS_SLOTS_VIEW_H
#define TIDE_MAPS_SLOTS_VIEW_H

#include "maps/slots_index.h"
#include "tidemark/slots.h"

struct tide__slot_view {
	uint64_t generation;
	struct tide__slot_view *older;	/* in the list of retired views */
	uint64_t retired;	/* generation that replaced it */
	size_t bytes;		/* of this view */
	uint32_t count;
	uint32_t hosts;		/* slots that have a host address */
	struct tide__slot_index index;	/* without cells: search `start` */
	struct tide_slot *slot;	/* [count], by guest address */
	uint64_t *start;	/* [count], their guest addresses */
	uint64_t *host_start;	/* [hosts], sorted */
	uint32_t *host_slot;	/* [hosts], index into slot */
	uint32_t *id;		/* [count], sorted */
	uint32_t *id_slot;	/* [count], index into slot */
};

#define TIDE__NO_SLOT UINT32_MAX

/* Room for @count slots, @hosts of them with a host; NULL: no memory. */
struct tide__slot_view *tide__slot_view_new(uint32_t count, uint32_t hosts);
/* The view of @count slots in order of the guest; NULL: no memory. */
struct tide__slot_view *tide__slot_view_of(const struct tide_slot *sorted,
					   uint32_t count);
/* In order of guest addresses. */
void tide__slots_sort(struct tide_slot *slots, uint32_t count);
/* @old (may be empty) with @slot, which must fit; NULL: no memory. */
struct tide__slot_view *tide__slot_view_with(const struct tide__slot_view *old,
					     const struct tide_slot *slot);
/* @old without its slot @index; NULL: no memory. */
struct tide__slot_view *
tide__slot_view_without(const struct tide__slot_view *old, uint32_t index);

/* Number of keys that are not above @x. */
static inline uint32_t tide__count_le(const uint64_t *key, uint32_t n,
				      uint64_t x)
{
	const uint64_t *base = key;

	if (!n)
		return 0;
	while (n > 1) {
		uint32_t half = n / 2;

		base = base[half] <= x ? base + half : base;
		n -= half;
	}
	return (uint32_t)(base - key) + (*base <= x);
}

static inline uint64_t tide__slot_last(const struct tide_slot *slot)
{
	return slot->gpa_bytes + (slot->len_bytes - 1);
}

/* By searching the starts; for views without an index. */
uint32_t tide__slot_view_search(const struct tide__slot_view *view,
				uint64_t gpa);

/* The number of the interval that holds @gpa: gap 2i, slot i, gap 2i + 2. */
static inline uint32_t tide__slot_view_find(const struct tide__slot_view *view,
					    uint64_t gpa)
{
	return view->index.cell ? tide__slot_index_find(&view->index, gpa) :
				  tide__slot_view_search(view, gpa);
}

/* The slot of an odd number, in as few steps as may be. */
static inline const struct tide_slot *
tide__slot_view_slot(const struct tide__slot_view *view, uint32_t number)
{
	const char *half = (const char *)view->slot - sizeof(*view->slot) / 2;

	return (const struct tide_slot *)
	    (half + (size_t)number * (sizeof(*view->slot) / 2));
}

/* Where gap @number begins and what it extends to, both inside. */
static inline void tide__slot_view_gap(const struct tide__slot_view *view,
				       uint32_t number, uint64_t *first,
				       uint64_t *last)
{
	uint32_t i = number / 2;

	*first = i ? tide__slot_last(&view->slot[i - 1]) + 1 : 0;
	*last = i < view->count ? view->slot[i].gpa_bytes - 1 : UINT64_MAX;
}

/* Build the index; to be called before the view is published. 0 or -ENOMEM. */
int tide__slot_view_finish(struct tide__slot_view *view);
void tide__slot_view_free(struct tide__slot_view *view);
/* Index of the slot that holds @gpa, or else of the next one, or count. */
uint32_t tide__slot_view_from(const struct tide__slot_view *view, uint64_t gpa);
/* Index of the slot with that host address or id, or TIDE__NO_SLOT. */
uint32_t tide__slot_view_host(const struct tide__slot_view *view,
			      uint64_t host);
uint32_t tide__slot_view_id(const struct tide__slot_view *view, uint32_t id);

#endif
