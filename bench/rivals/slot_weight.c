/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tree by address in which large slots sit near the root: a heap by rank,
 * where a slot's rank is log2 of its pages plus a geometric random number (so
 * that a slot of w pages is as high as w slots of one page would be). Insert
 * and remove rotate until the heap is one again; there is nothing to compact.
 * A slot with a share p of all pages lies about log2(1/p) deep, whatever the
 * order of changes; the bound that height gives fails once in 2^40 or so.
 */
#include <errno.h>
#include <stdlib.h>

#include "slotmap.h"

struct node {
	uint64_t first, len;
	struct node *child[2];
	uint64_t rank;
	struct tide_slot slot;
};

struct tree {
	struct node *root;
	uint64_t seed, pages;
	uint32_t count;
};

static void *create(void)
{
	return calloc(1, sizeof(struct tree));
}

static void free_nodes(struct node *n)
{
	if (!n)
		return;
	free_nodes(n->child[0]);
	free_nodes(n->child[1]);
	free(n);
}

static void destroy(void *map)
{
	free_nodes(((struct tree *)map)->root);
	free(map);
}

static unsigned int log2_of(uint64_t x)
{
	return 63u - (unsigned int)__builtin_clzll(x | 1);
}

/* Rank above, chance below, so that equal ranks are seldom. */
static uint64_t draw(struct tree *t, uint64_t pages)
{
	uint64_t z = (t->seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return (uint64_t)(log2_of(pages) + (uint32_t)__builtin_ctzll(
			      z | UINT64_C(1) << 40)) << 40 | z >> 24;
}

/* The child on @side comes up. */
static struct node *rotate(struct node *n, int side)
{
	struct node *up = n->child[side];

	n->child[side] = up->child[!side];
	up->child[!side] = n;
	return up;
}

static struct node *put(struct node *n, struct node *new)
{
	int side;

	if (!n)
		return new;
	side = new->first > n->first;
	n->child[side] = put(n->child[side], new);
	return n->child[side]->rank > n->rank ? rotate(n, side) : n;
}

static int insert(void *map, const struct tide_slot *slot)
{
	struct tree *t = map;
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->first = slot->gpa_bytes;
	n->len = slot->len_bytes;
	n->slot = *slot;
	n->rank = draw(t, slot->len_bytes / 4096);
	t->root = put(t->root, n);
	t->pages += slot->len_bytes / 4096;
	t->count++;
	return 0;
}

static struct node *merge(struct node *low, struct node *high)
{
	if (!low || !high)
		return low ? low : high;
	if (low->rank > high->rank) {
		low->child[1] = merge(low->child[1], high);
		return low;
	}
	high->child[0] = merge(low, high->child[0]);
	return high;
}

static void drop(void *map, uint64_t gpa)
{
	struct tree *t = map;
	struct node **at = &t->root, *n;

	while ((*at)->first != gpa)
		at = &(*at)->child[gpa > (*at)->first];
	n = *at;
	*at = merge(n->child[0], n->child[1]);
	t->pages -= n->len / 4096;
	t->count--;
	free(n);
}

static const struct tide_slot *find(const void *map, uint64_t gpa)
{
	const struct node *n = ((const struct tree *)map)->root;

	while (n && gpa - n->first >= n->len)
		n = n->child[gpa > n->first];
	return n ? &n->slot : NULL;
}

static const struct tide_slot *span(const void *map, uint64_t gpa,
				    struct slot_span *span)
{
	const struct node *n = ((const struct tree *)map)->root;

	*span = (struct slot_span){ 0, UINT64_MAX };
	while (n && gpa - n->first >= n->len) {
		if (gpa < n->first)
			span->last = n->first - 1;
		else
			span->first = n->first + n->len;
		n = n->child[gpa > n->first];
	}
	if (!n)
		return NULL;
	*span = (struct slot_span){ n->first, n->first + (n->len - 1) };
	return &n->slot;
}

static size_t bytes(const void *map)
{
	const struct tree *t = map;

	return sizeof(*t) + t->count * sizeof(struct node);
}

static unsigned int depth_of(const struct node *n)
{
	unsigned int left, right;

	if (!n)
		return 0;
	left = depth_of(n->child[0]);
	right = depth_of(n->child[1]);
	return 1 + (left > right ? left : right);
}

static unsigned int height(const void *map, unsigned int *bound)
{
	const struct tree *t = map;

	*bound = 4 * (log2_of(t->pages) + 1) + 24;
	return depth_of(t->root);
}

const struct slot_rival slot_weight = {
	.name = "weight-balanced", .create = create, .destroy = destroy,
	.insert = insert, .remove = drop, .find = find, .span = span,
	.bytes = bytes, .height = height,
};
