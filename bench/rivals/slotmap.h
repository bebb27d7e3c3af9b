/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rivals of the slot map behind one interface. They have no locks and trust
 * their callers: no overlap, nothing unaligned. What they give back is theirs
 * and holds until the next change.
 *
 * find answers "which slot?"; span also says for which addresses around @gpa
 * the answer is the same, which is what a cache of intervals needs.
 */
#ifndef BENCH_RIVALS_SLOTMAP_H
#define BENCH_RIVALS_SLOTMAP_H

#include "tidemark/slots.h"

struct slot_span {
	uint64_t first, last;		/* both inside */
};

struct slot_rival {
	const char *name;
	void *(*create)(void);
	void (*destroy)(void *map);
	/* 0 or -ENOMEM */
	int (*insert)(void *map, const struct tide_slot *slot);
	/* The slot that starts at @gpa, which is there. */
	void (*remove)(void *map, uint64_t gpa);
	const struct tide_slot *(*find)(const void *map, uint64_t gpa);
	const struct tide_slot *(*span)(const void *map, uint64_t gpa,
					struct slot_span *span);
	/* Memory in use, without what malloc adds. */
	size_t (*bytes)(const void *map);
	/* Trees: longest way from the root in nodes, and its bound; or NULL. */
	unsigned int (*height)(const void *map, unsigned int *bound);
};

extern const struct slot_rival slot_linear, slot_binary, slot_eytzinger,
    slot_btree, slot_weight, slot_redblack, slot_radix;

#define SLOT_RIVALS 7
extern const struct slot_rival *const slot_rivals[SLOT_RIVALS];

/* A cache of the last few intervals in front of any of them. */
#define SLOT_CACHED 4
struct slot_cache {
	const struct slot_rival *rival;
	const void *map;
	unsigned int turn;
	struct slot_span span[SLOT_CACHED];
	const struct tide_slot *slot[SLOT_CACHED];
};

/* Also after every change of the map. */
void slot_cache_init(struct slot_cache *c, const struct slot_rival *rival,
		     const void *map);
const struct tide_slot *slot_cache_find(struct slot_cache *c, uint64_t gpa);

#endif
