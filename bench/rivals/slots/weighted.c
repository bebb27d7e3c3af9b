/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tree in which a slot's depth follows its weight, its pages: a treap whose
 * priorities are drawn as the greatest of `pages` random numbers (Seidel and
 * Aragon, 1996). A slot that holds the share p of all memory is expected at
 * depth 1 + 2 ln(1/p) or above; inserting and removing keep that by rotations
 * alone, which is what the tree proposed in 2011 lacked.
 */
#include <math.h>
#include <stdlib.h>

#include "bench/measure.h"
#include "slotmap.h"
#include "weighted.h"

struct node {
	struct tide_slot slot;
	double priority; /* log of a uniform number, over the weight: <= 0 */
	struct node *child[2];
};

struct tree {
	struct node *root;
	uint64_t seed;
	uint32_t n;
};

static double draw(struct tree *t, uint64_t len_bytes)
{
	double u = (double)((bench_random(&t->seed) >> 11) + 1) * 0x1p-53;

	return log(u) / (double)(len_bytes / TIDE_SLOT_ALIGN_BYTES);
}

static struct node *rotate(struct node *up, int side)
{
	struct node *down = up->child[side];

	up->child[side] = down->child[!side];
	down->child[!side] = up;
	return down;
}

static struct node *add(struct node *at, struct node *new)
{
	int side;

	if (!at)
		return new;
	side = new->slot.gpa_bytes > at->slot.gpa_bytes;
	at->child[side] = add(at->child[side], new);
	return at->child[side]->priority > at->priority ? rotate(at, side) : at;
}

static struct node *drop(struct node *at)
{
	struct node *l = at->child[0], *r = at->child[1];

	if (!l || !r) {
		free(at);
		return l ? l : r;
	}
	if (l->priority > r->priority) {
		at = rotate(at, 0);
		at->child[1] = drop(at->child[1]);
	} else {
		at = rotate(at, 1);
		at->child[0] = drop(at->child[0]);
	}
	return at;
}

static inline struct slot_span span(void *map, uint64_t gpa)
{
	struct slot_span s = { 0, UINT64_MAX, NULL };
	const struct node *at = ((struct tree *)map)->root;

	while (at) {
		uint64_t first = at->slot.gpa_bytes;
		uint64_t last = first + (at->slot.len_bytes - 1);

		if (gpa < first) {
			s.last = first - 1;
			at = at->child[0];
		} else if (gpa > last) {
			s.first = last + 1;
			at = at->child[1];
		} else {
			return (struct slot_span){ first, last, &at->slot };
		}
	}
	return s;
}

SLOTMAP_LOOKUPS(span)

static void insert(void *map, const struct tide_slot *slot)
{
	struct tree *t = map;
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		abort();
	n->slot = *slot;
	n->priority = draw(t, slot->len_bytes);
	t->root = add(t->root, n);
	t->n++;
}

static void remove_slot(void *map, uint64_t gpa)
{
	struct tree *t = map;
	struct node **at = &t->root;

	while ((*at)->slot.gpa_bytes != gpa)
		at = &(*at)->child[gpa > (*at)->slot.gpa_bytes];
	*at = drop(*at);
	t->n--;
}

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct tree *t = calloc(1, sizeof(*t));

	for (uint32_t i = 0; t && i < n; i++)
		insert(t, &slots[i]);
	return t;
}

static void destroy(void *map)
{
	struct tree *t = map;

	while (t->root)
		t->root = drop(t->root);
	free(t);
}

static size_t bytes(const void *map)
{
	return ((const struct tree *)map)->n * sizeof(struct node);
}

uint32_t slotmap_weighted_depth(const void *map, uint64_t gpa)
{
	const struct node *at = ((const struct tree *)map)->root;
	uint32_t depth = 1;

	for (; at && at->slot.gpa_bytes != gpa; depth++)
		at = at->child[gpa > at->slot.gpa_bytes];
	return depth;
}

const struct slotmap slotmap_weighted = { "weight-balanced tree", create,
					  destroy, find, find_cached, insert,
					  remove_slot, bytes, 0 };
