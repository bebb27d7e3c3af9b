/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's dispatch of addresses, written afresh to its shape: nodes of 512
 * entries in one array, each entry a section or a node and how many levels to
 * skip to it, chains of single children skipped; the section met last is asked
 * first. A change builds all of it anew, as a new view of the memory is.
 */
#include <stdlib.h>

#include "slotmap.h"

#define BITS 9
#define FAN (1u << BITS)
#define LEVELS 6	/* of 9 bits above 4 KiB pages */
#define NIL ((1u << 26) - 1)

struct entry {
	uint32_t skip : 6; /* levels down to a node; 0: a section */
	uint32_t ptr : 26;
};

struct phys {
	struct slot_array slots; /* section i + 1 is slot i; 0 is none */
	struct entry top;
	struct entry (*node)[FAN];
	uint32_t nodes, room;
	uint32_t last; /* section */
};

static uint32_t new_node(struct phys *p, bool leaf)
{
	if (p->nodes == p->room) {
		p->room = p->room ? 2 * p->room : 16;
		p->node = realloc(p->node, p->room * sizeof(*p->node));
		if (!p->node)
			abort();
	}
	for (uint32_t i = 0; i < FAN; i++)
		p->node[p->nodes][i] = (struct entry){ !leaf,
						       leaf ? 0 : NIL };
	return p->nodes++;
}

/* The entry that leads to @level's node, by number: nodes move. */
struct place {
	uint32_t node, at; /* node NIL: the top */
};

static struct entry *entry_at(struct phys *p, struct place where)
{
	return where.node == NIL ? &p->top : &p->node[where.node][where.at];
}

static void set(struct phys *p, struct place where, int level, uint64_t *page,
		uint64_t *left, uint32_t section)
{
	uint64_t step = UINT64_C(1) << (level * BITS);
	uint32_t node;

	if (entry_at(p, where)->skip && entry_at(p, where)->ptr == NIL) {
		node = new_node(p, level == 0);
		entry_at(p, where)->ptr = node & NIL;
	}
	node = entry_at(p, where)->ptr;
	for (uint32_t i = *page >> (level * BITS) & (FAN - 1); *left && i < FAN;
	     i++) {
		if (!(*page & (step - 1)) && *left >= step) {
			p->node[node][i] = (struct entry){ 0, section & NIL };
			*page += step;
			*left -= step;
		} else {
			set(p, (struct place){ node, i }, level - 1, page, left,
			    section);
		}
	}
}

/* An entry whose node has one child only leads to the child. */
static void compact(struct phys *p, struct entry *e)
{
	uint32_t valid = 0, only = 0;

	if (!e->skip || e->ptr == NIL)
		return;
	for (uint32_t i = 0; i < FAN; i++) {
		struct entry *child = &p->node[e->ptr][i];

		if (child->skip && child->ptr == NIL)
			continue;
		valid++;
		only = i;
		compact(p, child);
	}
	if (valid != 1)
		return;
	*e = (struct entry){
		p->node[e->ptr][only].skip ?
			(e->skip + p->node[e->ptr][only].skip) & 63u : 0,
		p->node[e->ptr][only].ptr
	};
}

static void build(struct phys *p)
{
	p->nodes = 0;
	p->last = 0;
	p->top = (struct entry){ 1, NIL };
	for (uint32_t i = 0; i < p->slots.n; i++) {
		uint64_t page = p->slots.slots[i].gpa_bytes >> 12;
		uint64_t left = p->slots.slots[i].len_bytes >> 12;

		set(p, (struct place){ NIL, 0 }, LEVELS - 1, &page, &left,
		    i + 1);
	}
	compact(p, &p->top);
}

static inline bool covers(const struct phys *p, uint32_t section, uint64_t gpa)
{
	const struct tide_slot *s;

	if (!section)
		return false;
	s = &p->slots.slots[section - 1];
	return gpa - s->gpa_bytes < s->len_bytes;
}

static inline uint32_t walk(const struct phys *p, uint64_t gpa)
{
	struct entry e = p->top;
	uint64_t page = gpa >> 12;

	for (int i = LEVELS; e.skip && (i -= (int)e.skip) >= 0;) {
		if (e.ptr == NIL)
			return 0;
		e = p->node[e.ptr][page >> (i * BITS) & (FAN - 1)];
	}
	/* What was skipped was not looked at. */
	return !e.skip && covers(p, e.ptr, gpa) ? e.ptr : 0;
}

static inline struct slot_span span(void *map, uint64_t gpa)
{
	struct phys *p = map;
	uint32_t section = p->last;
	const struct tide_slot *s;

	if (!covers(p, section, gpa)) {
		section = walk(p, gpa);
		p->last = section;
	}
	if (!section)
		return (struct slot_span){ gpa & ~UINT64_C(4095),
					   gpa | 4095, NULL };
	s = &p->slots.slots[section - 1];
	return (struct slot_span){ s->gpa_bytes,
				   s->gpa_bytes + (s->len_bytes - 1), s };
}

SLOTMAP_LOOKUPS(span)

static void insert(void *map, const struct tide_slot *slot)
{
	slot_array_insert(&((struct phys *)map)->slots, slot);
	build(map);
}

static void remove_slot(void *map, uint64_t gpa)
{
	slot_array_remove(&((struct phys *)map)->slots, gpa);
	build(map);
}

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct phys *p = calloc(1, sizeof(*p));

	if (p && slot_array_init(&p->slots, slots, n)) {
		free(p);
		return NULL;
	}
	if (p)
		build(p);
	return p;
}

static void destroy(void *map)
{
	struct phys *p = map;

	free(p->slots.slots);
	free(p->node);
	free(p);
}

static size_t bytes(const void *map)
{
	const struct phys *p = map;

	return p->nodes * sizeof(*p->node) +
	       p->slots.n * sizeof(struct tide_slot);
}

const struct slotmap slotmap_phys_page = { "QEMU phys_page", create, destroy,
					   find, find_cached, insert,
					   remove_slot, bytes, 0, true };
