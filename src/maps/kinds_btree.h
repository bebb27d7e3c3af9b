/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A B+ tree of two levels, copied on write: a sorted array cut into leaves,
 * each an allocation of its own, under one directory.
 *
 * Elements are one or two words, sorted by the first, all different. A leaf
 * holds up to 512 words in exactly as much memory as they need; a directory of
 * first words leads to it. A search costs the same as in one array. A change
 * writes new leaves for those it touches before it unlinks the old ones: it
 * moves 4 KiB, not the whole array, and is atomic. The directory is an array,
 * too; for the largest image (42 million runs) it takes 1 MiB, and is moved
 * about once in 256 insertions.
 *
 * Leaves have no fixed borders: even an image built so that its references lie
 * far apart costs 8 bytes a run.
 */
#ifndef TIDE_MAPS_KINDS_BTREE_H
#define TIDE_MAPS_KINDS_BTREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIDE__LEAF_WORDS 512u

struct tide__leaf {
	uint64_t words;		/* in use, and allocated */
	uint64_t v[];
};

struct tide__btree {
	uint32_t shift;		/* an element is 1 << shift words */
	uint32_t leaves, room;
	uint64_t *first;	/* first word of each leaf */
	struct tide__leaf **leaf;
	uint64_t words;		/* in all leaves */
};

/* A position between elements; it reads the element after it. */
struct tide__cursor {
	uint32_t leaf, at;	/* @at counts words */
};

/* A range replaced by another: prepared, but not yet visible. */
struct tide__replace {
	uint32_t from, removed;	/* leaves to be unlinked */
	uint32_t n;		/* leaves to be linked */
	struct tide__leaf **fresh;
	struct tide__leaf *small[3];	/* @fresh, if they fit */
};

void tide__btree_init(struct tide__btree *s, uint32_t shift);
void tide__btree_fini(struct tide__btree *s);
uint64_t tide__btree_bytes(const struct tide__btree *s);

/* Of @n sorted elements of 1 << @shift words, how many are below @key? */
static inline size_t tide__below(const uint64_t *v, size_t n, uint32_t shift,
				 uint64_t key)
{
	size_t low = 0, high = n;

	/* Branches: those of writes near the last one are foreseen. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (v[middle << shift] < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The last element below @key, or NULL; elements of one word. */
static inline const uint64_t *tide__btree_last(const struct tide__btree *s,
					       uint64_t key)
{
	size_t w = tide__below(s->first, s->leaves, 0, key);
	const struct tide__leaf *leaf;

	if (!w)
		return NULL;
	leaf = s->leaf[w - 1];
	return leaf->v + tide__below(leaf->v, leaf->words, 0, key) - 1;
}

/* The lower bound: a cursor at the first element not below @key. */
struct tide__cursor tide__btree_find(const struct tide__btree *s, uint64_t key);
/* The element at *@p, or NULL at the end; may move *@p to the next leaf. */
const uint64_t *tide__btree_get(const struct tide__btree *s,
				struct tide__cursor *p);

/*
 * Replaces the elements from @a up to @b by the @words words at @v, in two
 * phases: -ENOMEM, or 0, after which commit cannot fail; or abort. At most one
 * prepared replacement a tree.
 */
int tide__replace_prepare(struct tide__btree *s, struct tide__replace *r,
			  struct tide__cursor a, struct tide__cursor b,
			  const uint64_t *v, size_t words);
void tide__replace_commit(struct tide__btree *s, struct tide__replace *r);
void tide__replace_abort(struct tide__replace *r);

#endif
