/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Binary search without a branch, keys in breadth-first order (Eytzinger): the
 * first levels share cache lines, and the line of four levels down can be
 * fetched ahead. The rank of the answer is kept beside each key.
 */
#include <stdlib.h>

#include "slotmap.h"

struct eytzinger {
	struct slot_array a;
	uint64_t *key; /* [n + 1], from 1 */
	uint32_t *rank; /* [n + 1]: index in the array */
};

static uint32_t lay(struct eytzinger *e, uint32_t next, uint32_t node)
{
	if (node > e->a.n)
		return next;
	next = lay(e, next, 2 * node);
	e->key[node] = e->a.slots[next].gpa_bytes;
	e->rank[node] = next++;
	return lay(e, next, 2 * node + 1);
}

static void rebuild(struct eytzinger *e)
{
	free(e->key);
	free(e->rank);
	if (posix_memalign((void **)&e->key, 64, (e->a.n + 1) * 8))
		abort();
	e->rank = malloc((e->a.n + 1) * 4);
	if (!e->rank)
		abort();
	e->key[0] = 0;
	e->rank[0] = e->a.n;
	lay(e, 0, 1);
}

static inline struct slot_span span(void *map, uint64_t gpa)
{
	const struct eytzinger *e = map;
	uint32_t node = 1, n = e->a.n;

	while (node <= n) {
		__builtin_prefetch(e->key + 8ull * node);
		node = 2 * node + (e->key[node] <= gpa);
	}
	/* Undo the right turns at the end: the first key above gpa, or 0. */
	node >>= __builtin_ffs((int)~node);
	return slot_span_of(e->a.slots, n, e->rank[node], gpa);
}

SLOTMAP_LOOKUPS(span)

static void *create(const struct tide_slot *slots, uint32_t n)
{
	struct eytzinger *e = calloc(1, sizeof(*e));

	if (!e || slot_array_init(&e->a, slots, n)) {
		free(e);
		return NULL;
	}
	rebuild(e);
	return e;
}

static void destroy(void *map)
{
	struct eytzinger *e = map;

	free(e->a.slots);
	free(e->key);
	free(e->rank);
	free(e);
}

static void insert(void *map, const struct tide_slot *slot)
{
	slot_array_insert(&((struct eytzinger *)map)->a, slot);
	rebuild(map);
}

static void remove_slot(void *map, uint64_t gpa)
{
	slot_array_remove(&((struct eytzinger *)map)->a, gpa);
	rebuild(map);
}

static size_t bytes(const void *map)
{
	return ((const struct eytzinger *)map)->a.n *
	       (sizeof(struct tide_slot) + 12);
}

const struct slotmap slotmap_eytzinger = { "Eytzinger", create, destroy,
					   find, find_cached, insert,
					   remove_slot, bytes, 0 };
