/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An intrusive red-black tree: the macros of BSD's sys/tree.h, from libbsd. The
 * second one remembers the slot that was used last, as Linux's KVM does.
 */
#include "slotmap.h"

#ifdef TIDE_HAVE_LIBBSD
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wconversion"
#ifndef __unused /* what libbsd leaves to glibc, which has it not */
#define __unused __attribute__((unused))
#endif
#include <bsd/sys/tree.h>
#include <stdlib.h>

struct node {
	struct tide_slot slot;
	RB_ENTRY(node) link;
};

RB_HEAD(slot_tree, node);

struct tree {
	struct slot_tree head;
	uint32_t n;
	const struct tide_slot *last; /* used; of the second one */
};

static int order(const struct node *a, const struct node *b)
{
	return a->slot.gpa_bytes < b->slot.gpa_bytes ?
		       -1 :
		       a->slot.gpa_bytes > b->slot.gpa_bytes;
}

RB_PROTOTYPE_STATIC(slot_tree, node, link, order)
RB_GENERATE_STATIC(slot_tree, node, link, order)

static inline struct slot_span span(void *map, uint64_t gpa)
{
	struct slot_span s = { 0, UINT64_MAX, NULL };
	struct node *at = RB_ROOT(&((struct tree *)map)->head);

	while (at) {
		uint64_t first = at->slot.gpa_bytes;
		uint64_t last = first + (at->slot.len_bytes - 1);

		if (gpa < first) {
			s.last = first - 1;
			at = RB_LEFT(at, link);
		} else if (gpa > last) {
			s.first = last + 1;
			at = RB_RIGHT(at, link);
		} else {
			return (struct slot_span){ first, last, &at->slot };
		}
	}
	return s;
}

static inline struct slot_span span_last(void *map, uint64_t gpa)
{
	struct tree *t = map;
	const struct tide_slot *last = t->last;
	struct slot_span s;

	if (last && gpa - last->gpa_bytes < last->len_bytes)
		return (struct slot_span){
			last->gpa_bytes,
			last->gpa_bytes + (last->len_bytes - 1), last };
	s = span(map, gpa);
	if (s.slot)
		t->last = s.slot;
	return s;
}

SLOTMAP_LOOKUPS(span)
SLOTMAP_LOOKUPS_AS(find_last, find_last_cached, span_last)

static void insert(void *map, const struct tide_slot *slot)
{
	struct tree *t = map;
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		abort();
	n->slot = *slot;
	slot_tree_RB_INSERT(&t->head, n);
	t->n++;
}

static void remove_slot(void *map, uint64_t gpa)
{
	struct tree *t = map;
	struct node key = { .slot = { .gpa_bytes = gpa } };
	struct node *n = slot_tree_RB_FIND(&t->head, &key);

	slot_tree_RB_REMOVE(&t->head, n);
	free(n);
	t->n--;
	t->last = NULL;
}

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (t)
		RB_INIT(&t->head);
	for (uint32_t i = 0; t && i < n; i++)
		insert(t, &slots[i]);
	return t;
}

static void destroy(void *map)
{
	struct tree *t = map;
	struct node *n;

	while ((n = RB_ROOT(&t->head))) {
		slot_tree_RB_REMOVE(&t->head, n);
		free(n);
	}
	free(t);
}

static size_t bytes(const void *map)
{
	return ((const struct tree *)map)->n * sizeof(struct node);
}

const struct slotmap slotmap_red_black = { "red-black tree", create, destroy,
					   find, find_cached, insert,
					   remove_slot, bytes, 0, false };
const struct slotmap slotmap_red_black_last = {
	"red-black, last used", create, destroy, find_last, find_last_cached,
	insert, remove_slot, bytes, 0, true };
#else
/* no name: libbsd is missing */
const struct slotmap slotmap_red_black, slotmap_red_black_last;
#endif
