/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A radix tree of page numbers, 512 entries a table, as page tables are: an
 * entry that one slot covers points to the slot (bit 0 set), else to a table.
 * It is as high as the highest slot needs. A table that is empty again is kept.
 */
#include <errno.h>
#include <stdlib.h>

#include "slotmap.h"

#define BITS 9u
#define ENTRIES (1u << BITS)

struct table {
	uintptr_t entry[ENTRIES];
};

struct radix {
	struct table *root;
	unsigned int levels;	/* 0: no slot was ever there */
	uint32_t count, tables;
};

static void *create(void)
{
	return calloc(1, sizeof(struct radix));
}

/* Each slot is freed with the entry of its last page, or by drop. */
static void free_table(struct table *t, unsigned int level, uint64_t first)
{
	for (uint64_t i = 0; i < ENTRIES; i++) {
		uint64_t page = first + (i << (BITS * level));
		uint64_t last = page + (UINT64_C(1) << (BITS * level)) - 1;
		struct tide_slot *slot = (void *)(t->entry[i] & ~1ull);

		if (!t->entry[i])
			continue;
		if (!(t->entry[i] & 1))
			free_table((struct table *)t->entry[i], level - 1,
				   page);
		else if ((slot->gpa_bytes + (slot->len_bytes - 1)) >> 12 ==
			 last)
			free(slot);
	}
	free(t);
}

static void destroy(void *map)
{
	struct radix *r = map;

	if (r->root)
		free_table(r->root, r->levels - 1, 0);
	free(r);
}

static struct table *new_table(struct radix *r)
{
	void *t;

	if (posix_memalign(&t, 64, sizeof(struct table)))
		return NULL;
	r->tables++;
	return __builtin_memset(t, 0, sizeof(struct table));
}

/* Pages [first, last] inside @t, whose entries cover 512^level pages. */
static int set(struct radix *r, struct table *t, unsigned int level,
	       uint64_t first, uint64_t last, uintptr_t value)
{
	uint64_t size = UINT64_C(1) << (BITS * level);

	for (uint64_t page = first; page <= last && page >= first;) {
		uintptr_t *e = &t->entry[page / size % ENTRIES];
		uint64_t end = page | (size - 1);
		int rc;

		if (end > last)
			end = last;
		if (end - page == size - 1 && (!*e || *e & 1)) {
			*e = value;
		} else {
			if (!*e && value)
				*e = (uintptr_t)new_table(r);
			if (!*e)
				return -ENOMEM;
			rc = set(r, (struct table *)*e, level - 1, page, end,
				 value);
			if (rc)
				return rc;
		}
		if (end == UINT64_MAX >> 12)
			break;
		page = end + 1;
	}
	return 0;
}

static int raise_to(struct radix *r, uint64_t last)
{
	if (!r->root) {
		r->root = new_table(r);
		r->levels = 1;
	}
	while (r->root && BITS * r->levels < 52 &&
	       last >> (BITS * r->levels)) {
		struct table *t = new_table(r);

		if (!t)
			return -ENOMEM;
		t->entry[0] = (uintptr_t)r->root;
		r->root = t;
		r->levels++;
	}
	return r->root ? 0 : -ENOMEM;
}

static int insert(void *map, const struct tide_slot *slot)
{
	struct radix *r = map;
	struct tide_slot *copy = malloc(sizeof(*copy));
	uint64_t first = slot->gpa_bytes >> 12;
	uint64_t last = first + (slot->len_bytes >> 12) - 1;

	if (!copy || raise_to(r, last)) {
		free(copy);
		return -ENOMEM;
	}
	*copy = *slot;
	r->count++;
	return set(r, r->root, r->levels - 1, first, last, (uintptr_t)copy | 1);
}

static inline uintptr_t walk(const struct radix *r, uint64_t page,
			     unsigned int *shift)
{
	unsigned int s = BITS * r->levels;
	uintptr_t e = (uintptr_t)r->root;

	while (e && !(e & 1)) {
		s -= BITS;
		e = ((struct table *)e)->entry[page >> s & (ENTRIES - 1)];
	}
	*shift = s;
	return e;
}

static void drop(void *map, uint64_t gpa)
{
	struct radix *r = map;
	unsigned int shift;
	struct tide_slot *slot =
	    (void *)(walk(r, gpa >> 12, &shift) & ~(uintptr_t)1);

	set(r, r->root, r->levels - 1, gpa >> 12,
	    (gpa + (slot->len_bytes - 1)) >> 12, 0);
	r->count--;
	free(slot);
}

static const struct tide_slot *find(const void *map, uint64_t gpa)
{
	const struct radix *r = map;
	uint64_t page = gpa >> 12;
	unsigned int shift;

	if (BITS * r->levels < 52 && page >> (BITS * r->levels))
		return NULL;
	return (void *)(walk(r, page, &shift) & ~(uintptr_t)1);
}

/* Of a gap, the tree knows only the empty entry it came to. */
static const struct tide_slot *span(const void *map, uint64_t gpa,
				    struct slot_span *span)
{
	const struct radix *r = map;
	uint64_t page = gpa >> 12;
	unsigned int shift = BITS * r->levels;
	const struct tide_slot *slot;

	if (shift < 52 && page >> shift) {
		*span = (struct slot_span){ UINT64_C(1) << (12 + shift),
					    UINT64_MAX };
		return NULL;
	}
	slot = (void *)(walk(r, page, &shift) & ~(uintptr_t)1);
	if (slot) {
		span->first = slot->gpa_bytes;
		span->last = slot->gpa_bytes + (slot->len_bytes - 1);
		return slot;
	}
	span->first = shift < 52 ? page >> shift << shift << 12 : 0;
	span->last = span->first +
		     (shift < 52 ? (UINT64_C(4096) << shift) - 1 : UINT64_MAX);
	return NULL;
}

static size_t bytes(const void *map)
{
	const struct radix *r = map;

	return sizeof(*r) + r->count * sizeof(struct tide_slot) +
	       r->tables * sizeof(struct table);
}

const struct slot_rival slot_radix = {
	.name = "page radix", .create = create, .destroy = destroy,
	.insert = insert, .remove = drop, .find = find, .span = span,
	.bytes = bytes,
};
