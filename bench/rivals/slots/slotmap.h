/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One interface for everything that might answer "whose address is this?".
 *
 * A candidate resolves an address to an interval: a slot, or the gap between
 * two. From its `span` two lookups are made: the plain one, and one behind a
 * small cache of intervals that the library's reader has.
 * Both copy the slot out, as the library does. No candidate here knows of
 * threads: each is as fast as it can be alone.
 */
#ifndef BENCH_RIVALS_SLOTMAP_H
#define BENCH_RIVALS_SLOTMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "maps/slots_gate.h"
#include "tidemark/slots.h"

struct slot_span {
	uint64_t first, last; /* both inside */
	const struct tide_slot *slot; /* NULL: a gap */
};

#define SLOTMAP_CACHED 4

/* What a thread that looks up has of its own. */
struct slot_cache {
	struct tide__gate_line line;
	struct tide__gate *gate;
	const uint64_t *generation; /* of the map */
	uint64_t seen; /* the generation of what is cached */
	unsigned int turn;
	struct slot_span span[SLOTMAP_CACHED];
};

struct slotmap {
	const char *name;
	/* @slots sorted by address. NULL: no memory. */
	void *(*create)(const struct tide_slot *slots, uint32_t n);
	void (*destroy)(void *map);
	bool (*find)(void *map, struct slot_cache *cache, uint64_t gpa,
		     struct tide_slot *out);
	bool (*find_cached)(void *map, struct slot_cache *cache, uint64_t gpa,
			    struct tide_slot *out);
	/* Only for slots that fit, and slots that are there. */
	void (*insert)(void *map, const struct tide_slot *slot);
	void (*remove)(void *map, uint64_t gpa);
	size_t (*bytes)(const void *map);
	uint32_t max; /* beyond so many slots it takes too long; 0: any */
	bool afresh; /* written here to another's shape */
};

extern const struct slotmap slotmap_linear, slotmap_binary, slotmap_eytzinger,
	slotmap_btree_simd, slotmap_weighted, slotmap_red_black,
	slotmap_red_black_last, slotmap_phys_page, slotmap_radix;

/* A gate and a generation that all candidates share: nothing changes them. */
struct slot_world {
	struct tide__gate gate;
	uint64_t generation __attribute__((aligned(64)));
};

extern struct slot_world slot_world;

static inline void slot_cache_reset(struct slot_cache *c)
{
	memset(c, 0, sizeof(*c));
	c->gate = &slot_world.gate;
	c->generation = &slot_world.generation;
	for (int i = 0; i < SLOTMAP_CACHED; i++)
		c->span[i] = (struct slot_span){ 1, 0, NULL };
}

/* Make find and find_cached of a candidate out of its span(map, gpa). */
#define SLOTMAP_LOOKUPS(span) SLOTMAP_LOOKUPS_AS(find, find_cached, span)
#define SLOTMAP_LOOKUPS_AS(find, find_cached, SPAN)                            \
	static bool find(void *map, struct slot_cache *c, uint64_t gpa,        \
			 struct tide_slot *out)                                \
	{                                                                      \
		struct slot_span s;                                            \
                                                                               \
		tide__gate_enter_fast(c->gate, &c->line);                      \
		s = SPAN(map, gpa);                                            \
		if (s.slot)                                                    \
			*out = *s.slot;                                        \
		tide__gate_leave(&c->line);                                    \
		return s.slot != NULL;                                         \
	}                                                                      \
	static bool find_cached(void *map, struct slot_cache *c, uint64_t gpa, \
				struct tide_slot *out)                         \
	{                                                                      \
		const struct slot_span *s = c->span;                           \
		int i = SLOTMAP_CACHED;                                        \
                                                                               \
		if (tide__load_acquire(c->generation) == c->seen)              \
			for (i = 0; i < SLOTMAP_CACHED; i++)                   \
				if (gpa >= s[i].first && gpa <= s[i].last)     \
					break;                                 \
		if (i == SLOTMAP_CACHED) {                                     \
			i = (int)(c->turn++ % SLOTMAP_CACHED);                 \
			tide__gate_enter_fast(c->gate, &c->line);              \
			c->span[i] = SPAN(map, gpa);                           \
			tide__gate_leave(&c->line);                            \
		}                                                              \
		if (s[i].slot)                                                 \
			*out = *s[i].slot;                                     \
		return s[i].slot != NULL;                                      \
	}

/* Number of slots in a sorted array that start at or below @gpa. */
static inline uint32_t slot_count_le(const struct tide_slot *slots, uint32_t n,
				     uint64_t gpa)
{
	uint32_t low = 0;

	while (n) {
		uint32_t half = n / 2;

		if (slots[low + half].gpa_bytes <= gpa) {
			low += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return low;
}

/* The interval of @gpa, when @above slots of the array start at or below it. */
static inline struct slot_span slot_span_of(const struct tide_slot *slots,
					    uint32_t n, uint32_t above,
					    uint64_t gpa)
{
	struct slot_span s = { 0, UINT64_MAX, NULL };

	if (above) {
		const struct tide_slot *at = &slots[above - 1];
		uint64_t last = at->gpa_bytes + (at->len_bytes - 1);

		if (gpa <= last)
			return (struct slot_span){ at->gpa_bytes, last, at };
		s.first = last + 1;
	}
	if (above < n)
		s.last = slots[above].gpa_bytes - 1;
	return s;
}

/* A sorted array that candidates derive their own order from. */
struct slot_array {
	struct tide_slot *slots;
	uint32_t n, room;
};

int slot_array_init(struct slot_array *a, const struct tide_slot *slots,
		    uint32_t n);
void slot_array_insert(struct slot_array *a, const struct tide_slot *slot);
void slot_array_remove(struct slot_array *a, uint64_t gpa);

#endif
