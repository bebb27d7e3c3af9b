/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A red-black tree by address, as Linux has had since 5.17: here the one that
 * leans left (a red child is a left child), which needs the fewest cases. No
 * way from the root is longer than 2 log2(n + 1).
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "slotmap.h"

struct node {
	struct tide_slot slot;
	struct node *left, *right;
	bool red;
};

struct tree {
	struct node *root;
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
	free_nodes(n->left);
	free_nodes(n->right);
	free(n);
}

static void destroy(void *map)
{
	free_nodes(((struct tree *)map)->root);
	free(map);
}

static bool is_red(const struct node *n)
{
	return n && n->red;
}

static struct node *lean_left(struct node *n)
{
	struct node *up = n->right;

	n->right = up->left;
	up->left = n;
	up->red = n->red;
	n->red = true;
	return up;
}

static struct node *lean_right(struct node *n)
{
	struct node *up = n->left;

	n->left = up->right;
	up->right = n;
	up->red = n->red;
	n->red = true;
	return up;
}

static void flip(struct node *n)
{
	n->red = !n->red;
	n->left->red = !n->left->red;
	n->right->red = !n->right->red;
}

static struct node *mend(struct node *n)
{
	if (is_red(n->right) && !is_red(n->left))
		n = lean_left(n);
	if (is_red(n->left) && is_red(n->left->left))
		n = lean_right(n);
	if (is_red(n->left) && is_red(n->right))
		flip(n);
	return n;
}

static struct node *put(struct node *n, struct node *new)
{
	if (!n)
		return new;
	if (new->slot.gpa_bytes < n->slot.gpa_bytes)
		n->left = put(n->left, new);
	else
		n->right = put(n->right, new);
	return mend(n);
}

static int insert(void *map, const struct tide_slot *slot)
{
	struct tree *t = map;
	struct node *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->slot = *slot;
	n->red = true;
	t->root = put(t->root, n);
	t->root->red = false;
	t->count++;
	return 0;
}

/* Make the left (right) child or a child of it red, for the way down. */
static struct node *redden_left(struct node *n)
{
	flip(n);
	if (!is_red(n->right->left))
		return n;
	n->right = lean_right(n->right);
	n = lean_left(n);
	flip(n);
	return n;
}

static struct node *redden_right(struct node *n)
{
	flip(n);
	if (!is_red(n->left->left))
		return n;
	n = lean_right(n);
	flip(n);
	return n;
}

static struct node *drop_least(struct node *n, struct tide_slot *least)
{
	if (!n->left) {
		*least = n->slot;
		free(n);
		return NULL;
	}
	if (!is_red(n->left) && !is_red(n->left->left))
		n = redden_left(n);
	n->left = drop_least(n->left, least);
	return mend(n);
}

static struct node *take(struct node *n, uint64_t gpa)
{
	if (gpa < n->slot.gpa_bytes) {
		if (!is_red(n->left) && !is_red(n->left->left))
			n = redden_left(n);
		n->left = take(n->left, gpa);
		return mend(n);
	}
	if (is_red(n->left))
		n = lean_right(n);
	if (gpa == n->slot.gpa_bytes && !n->right) {
		free(n);
		return NULL;
	}
	if (!is_red(n->right) && !is_red(n->right->left))
		n = redden_right(n);
	if (gpa == n->slot.gpa_bytes)
		n->right = drop_least(n->right, &n->slot);
	else
		n->right = take(n->right, gpa);
	return mend(n);
}

static void drop(void *map, uint64_t gpa)
{
	struct tree *t = map;

	if (!is_red(t->root->left) && !is_red(t->root->right))
		t->root->red = true;
	t->root = take(t->root, gpa);
	if (t->root)
		t->root->red = false;
	t->count--;
}

static const struct tide_slot *find(const void *map, uint64_t gpa)
{
	const struct node *n = ((const struct tree *)map)->root;

	while (n && gpa - n->slot.gpa_bytes >= n->slot.len_bytes)
		n = gpa < n->slot.gpa_bytes ? n->left : n->right;
	return n ? &n->slot : NULL;
}

static const struct tide_slot *span(const void *map, uint64_t gpa,
				    struct slot_span *span)
{
	const struct node *n = ((const struct tree *)map)->root;

	*span = (struct slot_span){ 0, UINT64_MAX };
	while (n && gpa - n->slot.gpa_bytes >= n->slot.len_bytes) {
		if (gpa < n->slot.gpa_bytes) {
			span->last = n->slot.gpa_bytes - 1;
			n = n->left;
		} else {
			span->first = n->slot.gpa_bytes + n->slot.len_bytes;
			n = n->right;
		}
	}
	if (!n)
		return NULL;
	span->first = n->slot.gpa_bytes;
	span->last = n->slot.gpa_bytes + (n->slot.len_bytes - 1);
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
	left = depth_of(n->left);
	right = depth_of(n->right);
	return 1 + (left > right ? left : right);
}

static unsigned int height(const void *map, unsigned int *bound)
{
	const struct tree *t = map;

	*bound = 2 * (64u - (unsigned int)__builtin_clzll(t->count + 1u));
	return depth_of(t->root);
}

const struct slot_rival slot_redblack = {
	.name = "red-black", .create = create, .destroy = destroy,
	.insert = insert, .remove = drop, .find = find, .span = span,
	.bytes = bytes, .height = height,
};
