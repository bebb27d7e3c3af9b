/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Building the index of a view: count what it takes, allocate once, fill.
 *
 * A table is needed wherever a border of an interval lies inside what a cell
 * of the level above stands for; borders come in order, so distinct tables are
 * counted by comparing neighbours. Intervals are then filled in, in order.
 */
#include "maps/slots_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define LEAF_SHIFT 12u
#define FAN 512u
#define MASK ((uint64_t)(FAN - 1) << 32)
#define LEVELS 6
#define BIG_PAGE (UINT64_C(2) << 20)

/* Up to so many bytes of tables, and so many more for each slot. */
#define FREE_BYTES (1u << 20)
#define SLOT_BYTES 256u

struct plan {
	uint32_t top_shift;
	uint64_t top_cells;
	uint64_t tables;	/* of cells, below the top */
	uint64_t leaves;	/* tables of leaf cells */
	uint64_t end_cells;	/* for intervals that end above the leaves */
	uint64_t end_leaves;
};

struct build {
	struct tide__slot_index *index;
	uint64_t next_cell, next_leaf;
	/* The cell of the present interval at each level that leads to it. */
	uint32_t end_of[LEVELS];
	uint32_t interval;
};

/* Three levels reach 4 TiB, four 4 PiB, five everything. */
static void choose_top(struct plan *p, uint64_t last)
{
	p->top_shift = 30;
	if (last >> 42)
		p->top_shift = 39;
	if (last >> 52)
		p->top_shift = 48;
	p->top_cells = (last >> p->top_shift) + 1;
}

/* The border between two intervals at @at: tables that it is the first in. */
static void count_border(struct plan *p, uint64_t at, uint64_t previous)
{
	for (uint32_t shift = p->top_shift; shift > LEAF_SHIFT; shift -= 9) {
		uint64_t inside = at & ((UINT64_C(1) << shift) - 1);

		if (!inside)
			return;
		/* The border before was in the same cell: already counted. */
		if (previous >> shift == at >> shift &&
		    previous & ((UINT64_C(1) << shift) - 1))
			continue;
		*(shift - 9 == LEAF_SHIFT ? &p->leaves : &p->tables) += 1;
	}
}

/* [first, last] fills cells of some levels alone: one chain of ends. */
static void count_ends(struct plan *p, uint64_t first, uint64_t last)
{
	for (uint32_t shift = LEAF_SHIFT + 9; shift <= p->top_shift;
	     shift += 9) {
		uint64_t span = UINT64_C(1) << shift;
		uint64_t start = (first + span - 1) & ~(span - 1);

		if (start < first || start > last || last - start < span - 1)
			return;
		*(shift == LEAF_SHIFT + 9 ? &p->end_leaves : &p->end_cells) +=
			1;
	}
}

static struct plan make_plan(const struct tide_slot *slot, uint32_t count)
{
	struct plan p = { 0 };
	uint64_t before = 0;

	choose_top(&p, count ? slot[count - 1].gpa_bytes +
				       (slot[count - 1].len_bytes - 1) :
			       0);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t end = slot[i].gpa_bytes + slot[i].len_bytes;

		count_border(&p, slot[i].gpa_bytes, before);
		if (slot[i].gpa_bytes > before)
			count_ends(&p, before, slot[i].gpa_bytes - 1);
		count_border(&p, end, slot[i].gpa_bytes);
		count_ends(&p, slot[i].gpa_bytes, end - 1);
		before = end;
	}
	/* The last gap always has a chain from the top. */
	p.end_cells += (p.top_shift - LEAF_SHIFT) / 9;
	p.end_leaves++;
	return p;
}

/*
 * A value for a cell that stands for 1 << @shift bytes of the present interval
 * alone: a chain of cells without a mask, made once for each interval.
 */
static uint64_t ends_here(struct build *b, uint32_t shift)
{
	uint32_t level = (shift - LEAF_SHIFT) / 9;
	uint32_t *end = &b->end_of[level];
	uint64_t below;

	if (*end != UINT32_MAX)
		return *end;
	if (level == 1) {
		b->index->leaf[b->next_leaf] = b->interval;
		*end = (uint32_t)b->next_leaf++;
		return *end;
	}
	below = ends_here(b, shift - 9);
	b->index->cell[b->next_cell] = below;
	*end = (uint32_t)b->next_cell++;
	return *end;
}

/* The table below @cell; made if there is none. */
static uint64_t table_below(struct build *b, uint64_t *cell, uint32_t shift)
{
	uint64_t *next = shift - 9 == LEAF_SHIFT ? &b->next_leaf :
						   &b->next_cell;

	if (!(*cell & MASK)) {
		*cell = *next | MASK;
		*next += FAN;
	}
	return (uint32_t)*cell;
}

static void fill_leaves(struct build *b, uint64_t table, uint64_t from,
			uint64_t to)
{
	uint32_t *leaf = b->index->leaf + table;

	for (uint64_t i = (from >> LEAF_SHIFT) & (FAN - 1),
		      n = (to >> LEAF_SHIFT) & (FAN - 1);
	     i <= n; i++)
		leaf[i] = b->interval;
}

/* The present interval has [from, to], both inside, of the table at @table. */
static void fill(struct build *b, uint64_t table, uint32_t shift, uint64_t from,
		 uint64_t to)
{
	uint64_t span = UINT64_C(1) << shift;
	uint64_t mask = shift == b->index->top_shift ? UINT64_MAX : FAN - 1;

	for (uint64_t at = from;;) {
		uint64_t *cell = &b->index->cell[table + ((at >> shift) & mask)];
		uint64_t end = at | (span - 1);
		uint64_t stop = end < to ? end : to;

		if (!(at & (span - 1)) && stop == end) {
			*cell = ends_here(b, shift);
		} else if (shift - 9 == LEAF_SHIFT) {
			fill_leaves(b, table_below(b, cell, shift), at, stop);
		} else {
			uint64_t below = table_below(b, cell, shift);

			fill(b, below, shift - 9, at, stop);
		}
		if (stop == to)
			return;
		at = stop + 1;
	}
}

/* The interval @number is [first, last]. */
static void fill_one(struct build *b, uint32_t number, uint64_t first,
		     uint64_t last)
{
	b->interval = number;
	memset(b->end_of, 0xff, sizeof(b->end_of));
	fill(b, 0, b->index->top_shift, first, last);
}

static void fill_all(struct build *b, const struct tide_slot *slot,
		     uint32_t count)
{
	const struct tide__slot_index *index = b->index;
	/* The last byte that the top cells stand for; may be 2^64 - 1. */
	uint64_t reach = (index->top_cells << index->top_shift) - 1;
	uint64_t next = 0;	/* first byte that is not filled; 0: past 2^64 */
	bool wrapped = false;

	for (uint32_t i = 0; i < count; i++) {
		if (slot[i].gpa_bytes > next)
			fill_one(b, 2 * i, next, slot[i].gpa_bytes - 1);
		next = slot[i].gpa_bytes + slot[i].len_bytes;
		wrapped = next == 0;
		fill_one(b, 2 * i + 1, slot[i].gpa_bytes, next - 1);
	}
	b->interval = 2 * count;
	memset(b->end_of, 0xff, sizeof(b->end_of));
	b->index->cell[index->top_cells] = ends_here(b, index->top_shift);
	if (!wrapped && next <= reach)
		fill(b, 0, index->top_shift, next, reach);
}

/* Big ones on big pages, so that a lookup misses no translation. */
static void *get_memory(uint64_t *bytes)
{
	uint64_t align = *bytes < BIG_PAGE / 2 ? 64 : BIG_PAGE;
	void *memory;

	*bytes = (*bytes + align - 1) & ~(align - 1);
	if (posix_memalign(&memory, align, *bytes))
		return NULL;
	if (align == BIG_PAGE)
		madvise(memory, *bytes, MADV_HUGEPAGE);
	return memset(memory, 0, *bytes);
}

int tide__slot_index_init(struct tide__slot_index *index,
			  const struct tide_slot *slot, uint32_t count)
{
	struct plan p = make_plan(slot, count);
	uint64_t cells = p.top_cells + 1 + p.tables * FAN + p.end_cells;
	uint64_t leaves = p.leaves * FAN + p.end_leaves;
	uint64_t tables = (p.top_cells + p.tables * FAN) * 8 +
			  p.leaves * FAN * 4;
	struct build b = { .index = index, .next_cell = p.top_cells + 1 };

	memset(index, 0, sizeof(*index));
	if (tables > FREE_BYTES + (uint64_t)SLOT_BYTES * count)
		return 0;
	index->bytes = cells * 8 + leaves * 4;
	index->cell = get_memory(&index->bytes);
	if (!index->cell)
		return -ENOMEM;
	index->leaf = (uint32_t *)(index->cell + cells);
	index->top_shift = p.top_shift;
	index->top_cells = p.top_cells;
	fill_all(&b, slot, count);
	return 0;
}

void tide__slot_index_fini(struct tide__slot_index *index)
{
	free(index->cell);
	index->cell = NULL;
}
