/* SPDX-License-Identifier: BSD-2-Clause */
#include "maps/slots_radix.h"

#include <string.h>

const struct tide__record tide__nothing __attribute__((aligned(64)));

static bool is_table(tide__cell cell)
{
	return !(cell & TIDE__IS_SLOT);
}

static bool is_record(tide__cell cell)
{
	return (cell & TIDE__IS_SLOT) && cell != TIDE__EMPTY;
}

static struct tide__table *table_of(tide__cell cell)
{
	return is_table(cell) ? (struct tide__table *)cell : NULL;
}

static struct tide__pages pages_of(const struct tide__radix *tree,
				   tide__cell cell)
{
	return tide__pages_of(tree->key, &tide__cell_record(cell)->slot);
}

static uint64_t mask_of(const struct tide__radix *tree)
{
	return (UINT64_C(1) << tree->bits) - 1;
}

void *tide__make(struct tide__change *change, enum tide__thing what,
		 size_t offset)
{
	struct tide__pool *pool = &change->pool[what];
	char *thing = tide__pool_take(pool);
	struct tide__old *old;

	if (!thing) {
		change->failed = true;
		return NULL;
	}
	old = (struct tide__old *)(thing + offset);
	*old = (struct tide__old){ .made = change->number & (UINT64_MAX >> 4),
				   .pool = what & 15,
				   .dropped = UINT64_MAX,
				   .fresh = change->fresh };
	change->fresh = old;
	change->bytes += pool->bytes;
	return thing;
}

static void drop(struct tide__change *c, struct tide__old *old)
{
	/* No reader looks at this link, so it may be written already. */
	old->next = c->dropped;
	c->dropped = old;
	c->bytes -= c->pool[old->pool].bytes;
}

/* A table of this change's own like @from, or an empty one. */
static struct tide__table *own(struct tide__change *c,
			       const struct tide__radix *tree,
			       struct tide__table *from)
{
	struct tide__table *t;

	if (from && from->old.made == c->number)
		return from;
	t = tide__make(c, tree->key == TIDE__BY_GUEST ? TIDE__GUEST_TABLES
						      : TIDE__OTHER_TABLES, 0);
	if (!t)
		return NULL;
	if (from)
		memcpy(t->cell, from->cell, sizeof(*t->cell) << tree->bits);
	for (uint64_t i = 0; !from && i <= mask_of(tree); i++)
		t->cell[i] = TIDE__EMPTY;
	if (from)
		drop(c, &from->old);
	return t;
}

struct tide__record *tide__record_new(struct tide__change *change,
				      const struct tide_slot *slot)
{
	struct tide__record *r = tide__make(change, TIDE__RECORDS,
					    offsetof(struct tide__record, old));

	if (r)
		r->slot = *slot;
	return r;
}

void tide__record_drop(struct tide__change *change, struct tide__record *r)
{
	drop(change, &r->old);
}

static tide__cell put(struct tide__change *c, const struct tide__radix *tree,
		      tide__cell cell, uint64_t first, unsigned int shift,
		      tide__cell record);

/* @record into every cell of @t that it has pages in; @first: that of @t. */
static void put_in_table(struct tide__change *c, const struct tide__radix *tree,
			 struct tide__table *t, uint64_t first,
			 unsigned int shift, tide__cell record)
{
	struct tide__pages p = pages_of(tree, record);
	unsigned int below = shift - tree->bits;
	uint64_t from = 0, to = mask_of(tree);

	if (p.first > first)
		from = (p.first - first) >> below;
	if ((p.last - first) >> below < to)
		to = (p.last - first) >> below;
	for (uint64_t i = from; i <= to && !c->failed; i++)
		t->cell[i] = put(c, tree, t->cell[i], first + (i << below),
				 below, record);
}

/* What @cell, of 2^shift pages from @first on, becomes with @record in it. */
static tide__cell put(struct tide__change *c, const struct tide__radix *tree,
		      tide__cell cell, uint64_t first, unsigned int shift,
		      tide__cell record)
{
	struct tide__table *t;

	if (cell == TIDE__EMPTY)
		return record;
	t = own(c, tree, table_of(cell));
	if (!t)
		return TIDE__EMPTY;
	if (is_record(cell))
		put_in_table(c, tree, t, first, shift, cell);
	put_in_table(c, tree, t, first, shift, record);
	return (tide__cell)t;
}

/* High enough for page @last. A lone slot needs no table for that. */
static void raise_to(struct tide__change *c, struct tide__radix *tree,
		     uint64_t last)
{
	while (tree->shift < TIDE__PAGE_BITS && last >> tree->shift) {
		if (is_table(tree->root)) {
			struct tide__table *t = own(c, tree, NULL);

			if (!t)
				return;
			t->cell[0] = tree->root;
			tree->root = (tide__cell)t;
		}
		tree->shift += tree->bits;
	}
}

void tide__radix_put(struct tide__change *change, struct tide__radix *tree,
		     struct tide__record *record)
{
	tide__cell cell = (tide__cell)record | TIDE__IS_SLOT;

	if (!is_table(tree->root)) {
		tree->shift = tree->bits;
		if (is_record(tree->root))
			raise_to(change, tree,
				 pages_of(tree, tree->root).last);
	}
	raise_to(change, tree, pages_of(tree, cell).last);
	if (!change->failed)
		tree->root = put(change, tree, tree->root, 0, tree->shift,
				 cell);
}

/* The one slot in @t; or empty; or @t: there is more than one. */
static tide__cell only_one(const struct tide__radix *tree,
			   const struct tide__table *t)
{
	tide__cell one = TIDE__EMPTY;

	for (uint64_t i = 0; i <= mask_of(tree); i++) {
		tide__cell cell = t->cell[i];

		if (cell == TIDE__EMPTY || cell == one)
			continue;
		if (one != TIDE__EMPTY || is_table(cell))
			return (tide__cell)t;
		one = cell;
	}
	return one;
}

/* What @cell, of 2^shift pages from @first on, becomes without @record. */
static tide__cell take(struct tide__change *c, const struct tide__radix *tree,
		       tide__cell cell, uint64_t first, unsigned int shift,
		       tide__cell record)
{
	struct tide__pages p = pages_of(tree, record);
	unsigned int below = shift - tree->bits;
	uint64_t from = 0, to = mask_of(tree);
	struct tide__table *t;
	tide__cell left;

	if (cell == record)
		return TIDE__EMPTY;
	t = own(c, tree, table_of(cell));
	if (!t)
		return TIDE__EMPTY;
	if (p.first > first)
		from = (p.first - first) >> below;
	if ((p.last - first) >> below < to)
		to = (p.last - first) >> below;
	for (uint64_t i = from; i <= to && !c->failed; i++)
		t->cell[i] = take(c, tree, t->cell[i], first + (i << below),
				  below, record);
	left = only_one(tree, t);
	if (left != (tide__cell)t)
		drop(c, &t->old);
	return left;
}

void tide__radix_take(struct tide__change *change, struct tide__radix *tree,
		      const struct tide__record *record)
{
	tree->root = take(change, tree, tree->root, 0, tree->shift,
			  (tide__cell)record | TIDE__IS_SLOT);
	/* No higher than it must be. */
	while (is_table(tree->root) && !change->failed) {
		struct tide__table *t = table_of(tree->root);

		for (uint64_t i = 1; i <= mask_of(tree); i++)
			if (t->cell[i] != TIDE__EMPTY)
				return;
		tree->root = t->cell[0];
		tree->shift -= tree->bits;
		drop(change, &t->old);
	}
}

const struct tide__record *tide__radix_find(const struct tide__radix *tree,
					    uint64_t page)
{
	unsigned int shift = tree->shift;
	tide__cell cell = tide__radix_walk(tree->root, tree->bits, page,
					   &shift);
	struct tide__pages p;

	if (cell == TIDE__EMPTY)
		return NULL;
	p = pages_of(tree, cell);
	return page - p.first <= p.last - p.first ? tide__cell_record(cell)
						  : NULL;
}

static tide__cell next(const struct tide__radix *tree, tide__cell cell,
		       uint64_t first, unsigned int shift, uint64_t page)
{
	const struct tide__table *t = table_of(cell);
	unsigned int below = shift - tree->bits;
	uint64_t i = page > first ? (page - first) >> below : 0;

	if (!t)
		return is_record(cell) && pages_of(tree, cell).last >= page
			   ? cell : TIDE__EMPTY;
	for (; i <= mask_of(tree); i++) {
		tide__cell found = next(tree, t->cell[i], first + (i << below),
					below, page);

		if (found != TIDE__EMPTY)
			return found;
	}
	return TIDE__EMPTY;
}

static const struct tide__record *record_or_null(tide__cell cell)
{
	return cell == TIDE__EMPTY ? NULL : tide__cell_record(cell);
}

const struct tide__record *tide__radix_next(const struct tide__radix *tree,
					    uint64_t page)
{
	if (tree->shift < TIDE__PAGE_BITS && page >> tree->shift)
		return NULL;
	return record_or_null(next(tree, tree->root, 0, tree->shift, page));
}

const struct tide__record *tide__radix_last(const struct tide__radix *tree)
{
	tide__cell cell = tree->root;

	while (is_table(cell)) {
		uint64_t i = mask_of(tree);

		/* Two at least are not empty. */
		while (table_of(cell)->cell[i] == TIDE__EMPTY)
			i--;
		cell = table_of(cell)->cell[i];
	}
	return record_or_null(cell);
}

void tide__pools_init(struct tide__pool pool[TIDE__POOLS], size_t view_bytes)
{
	const size_t table = sizeof(struct tide__table);

	tide__pool_init(&pool[TIDE__GUEST_TABLES],
			table + (sizeof(tide__cell) << TIDE__GUEST_BITS));
	tide__pool_init(&pool[TIDE__OTHER_TABLES],
			table + (sizeof(tide__cell) << TIDE__OTHER_BITS));
	tide__pool_init(&pool[TIDE__RECORDS], sizeof(struct tide__record));
	tide__pool_init(&pool[TIDE__VIEWS], view_bytes);
}

void tide__pools_fini(struct tide__pool pool[TIDE__POOLS])
{
	for (int i = 0; i < TIDE__POOLS; i++)
		tide__pool_fini(&pool[i]);
}

/* Heads lie in the first 64 bytes of things, and those at multiples of 64. */
void tide__old_free(struct tide__pool pool[TIDE__POOLS], struct tide__old *old)
{
	tide__pool_put(&pool[old->pool],
		       (void *)((uintptr_t)old & ~(uintptr_t)63));
}

void tide__change_undo(struct tide__change *change)
{
	while (change->fresh) {
		struct tide__old *old = change->fresh;

		change->fresh = old->fresh;
		tide__old_free(change->pool, old);
	}
}
