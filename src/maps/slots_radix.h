/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A copy-on-write radix tree from ranges of page numbers to slots: never
 * changed once readers see it.
 *
 * A table cuts the pages it covers into cells of equal size. A cell is empty,
 * or names the one slot that has pages in it, some or all, or names the table
 * that cuts it further: only where two slots meet. So a large slot is found
 * near the root, and a lone one, however small, where it is alone.
 *
 * A change copies the tables on its way from the root and shares all others
 * with the tree before it; copies of its own it writes in place. What it
 * replaced is listed as old, with the numbers of the changes between which it
 * was in use: slots_gate.h says when that is freed. If memory runs out the
 * copies are freed, and nothing has happened.
 */
#ifndef TIDE_MAPS_SLOTS_RADIX_H
#define TIDE_MAPS_SLOTS_RADIX_H

#include <stdbool.h>

#include "maps/slots_pool.h"
#include "tidemark/slots.h"

#define TIDE__PAGE_BITS 52u	/* of a page number */

/* Head of all that trees share: made by one change, dropped by another. */
struct tide__old {
	uint64_t made : 60, pool : 4;	/* pool: where it came from */
	uint64_t dropped;
	struct tide__old *next;		/* in a list of old ones */
	struct tide__old *fresh;	/* in the list of a change's own */
};

struct tide__record {
	struct tide_slot slot;
	struct tide__old old;
};

/* A cell: a table, or a record with this bit; an empty one has `nothing`. */
typedef uintptr_t tide__cell;
#define TIDE__IS_SLOT ((tide__cell)1)

/* A record without a page: so a search need not ask whether it found any. */
extern const struct tide__record tide__nothing;
#define TIDE__EMPTY ((tide__cell)&tide__nothing + TIDE__IS_SLOT)

struct tide__table {
	struct tide__old old;
	tide__cell cell[] __attribute__((aligned(64)));
};

/* Where things come from; all of them have a head. */
enum tide__thing {
	TIDE__GUEST_TABLES, TIDE__OTHER_TABLES, TIDE__RECORDS, TIDE__VIEWS,
	TIDE__POOLS
};

/* What a tree is by: which pages are a slot's? */
enum tide__key { TIDE__BY_GUEST, TIDE__BY_HOST, TIDE__BY_ID };

/* The tables of the lookup that counts are few and large. */
#define TIDE__GUEST_BITS 9u
#define TIDE__OTHER_BITS 6u

struct tide__radix {
	tide__cell root;	/* covers pages 0 to 2^shift */
	unsigned int shift;
	unsigned int bits;	/* log2 of the cells of a table */
	enum tide__key key;
};

/* A change while it is made. */
struct tide__change {
	struct tide__pool *pool;	/* [TIDE__POOLS] */
	uint64_t number;
	struct tide__old *fresh, *dropped;
	uint64_t bytes;		/* made less dropped, modulo 2^64 */
	bool failed;		/* no memory */
};

struct tide__pages {
	uint64_t first, last;
};

static inline const struct tide__record *tide__cell_record(tide__cell cell)
{
	return (const struct tide__record *)(cell - TIDE__IS_SLOT);
}

static inline struct tide__pages tide__pages_of(enum tide__key key,
						const struct tide_slot *slot)
{
	uint64_t at = key == TIDE__BY_GUEST ? slot->gpa_bytes
					    : (uintptr_t)slot->host;

	if (key == TIDE__BY_ID)
		return (struct tide__pages){ slot->id, slot->id };
	return (struct tide__pages){ at >> 12,
				     (at + (slot->len_bytes - 1)) >> 12 };
}

/*
 * The cell at which the search for @page ends, a slot's or an empty one, and
 * the size of it, 2^*@shift pages. Inline and with @bits known: the lookup.
 * @page is below 2^*@shift.
 */
static inline __attribute__((always_inline)) tide__cell
tide__radix_walk_in(tide__cell cell, unsigned int bits, uint64_t page,
		    unsigned int *shift)
{
	unsigned int s = *shift;

	while (!(cell & TIDE__IS_SLOT)) {
		const struct tide__table *t = (const struct tide__table *)cell;

		s -= bits;
		cell = t->cell[page >> s & ((1u << bits) - 1)];
	}
	*shift = s;
	return cell;
}

/* The same for any page. */
static inline tide__cell tide__radix_walk(tide__cell cell, unsigned int bits,
					  uint64_t page, unsigned int *shift)
{
	if (*shift < TIDE__PAGE_BITS && page >> *shift)
		return TIDE__EMPTY;
	return tide__radix_walk_in(cell, bits, page, shift);
}

/* The slot that holds @gpa, or NULL; @root, @shift: of a tree by guest. */
static inline const struct tide__record *
tide__radix_find_gpa(tide__cell root, unsigned int shift, uint64_t gpa)
{
	const struct tide__record *r = tide__cell_record(
	    tide__radix_walk(root, TIDE__GUEST_BITS, gpa >> 12, &shift));

	return gpa - r->slot.gpa_bytes < r->slot.len_bytes ? r : NULL;
}

const struct tide__record *tide__radix_find(const struct tide__radix *tree,
					    uint64_t page);
/* The record that holds @page, or the first one after it, or NULL. */
const struct tide__record *tide__radix_next(const struct tide__radix *tree,
					    uint64_t page);
const struct tide__record *tide__radix_last(const struct tide__radix *tree);

/*
 * Add @record, whose pages are nobody's, or take it out. On failure @change
 * says so and @tree is lost.
 */
void tide__radix_put(struct tide__change *change, struct tide__radix *tree,
		     struct tide__record *record);
void tide__radix_take(struct tide__change *change, struct tide__radix *tree,
		      const struct tide__record *record);

struct tide__record *tide__record_new(struct tide__change *change,
				      const struct tide_slot *slot);
void tide__record_drop(struct tide__change *change, struct tide__record *r);
/* Undo: what the change made is freed. */
void tide__change_undo(struct tide__change *change);

/* Something of @change's own, with its head at @offset; NULL: failed. */
void *tide__make(struct tide__change *change, enum tide__thing what,
		 size_t offset);
void tide__pools_init(struct tide__pool pool[TIDE__POOLS], size_t view_bytes);
void tide__pools_fini(struct tide__pool pool[TIDE__POOLS]);
/* Nobody has it any more. */
void tide__old_free(struct tide__pool pool[TIDE__POOLS], struct tide__old *old);

#endif
