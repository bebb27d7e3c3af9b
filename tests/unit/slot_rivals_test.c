/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rivals of bench/rivals and the shipped map against each other and
 * against one owner per page: a benchmark of wrong answers measures nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "bench/rivals/slotmap.h"
#include "seed.h"

#define PAGE 4096ull
#define FAR (-2048 * PAGE)	/* the script also plays at the top of 2^64 */

struct world {
	void *map[SLOT_RIVALS];
	struct slot_cache cache[SLOT_RIVALS];
	struct tide_slots *slots;
	struct tide_slots_reader *reader;
};

static void open_world(struct world *w)
{
	assert_int_equal(tide_slots_create(&w->slots, NULL), 0);
	assert_int_equal(tide_slots_reader_create(w->slots, &w->reader, NULL),
			 0);
	for (int i = 0; i < SLOT_RIVALS; i++) {
		w->map[i] = slot_rivals[i]->create();
		assert_non_null(w->map[i]);
		slot_cache_init(&w->cache[i], slot_rivals[i], w->map[i]);
	}
}

static void close_world(struct world *w)
{
	tide_slots_reader_destroy(w->reader);
	tide_slots_destroy(w->slots);
	for (int i = 0; i < SLOT_RIVALS; i++)
		slot_rivals[i]->destroy(w->map[i]);
}

static void change(struct world *w, const struct tide_slot *slot, bool add)
{
	if (add)
		assert_int_equal(tide_slots_insert(w->slots, slot, NULL), 0);
	else
		assert_int_equal(tide_slots_remove(w->slots, slot->id, NULL),
				 0);
	for (int i = 0; i < SLOT_RIVALS; i++) {
		const struct slot_rival *r = slot_rivals[i];

		if (add)
			assert_int_equal(r->insert(w->map[i], slot), 0);
		else
			r->remove(w->map[i], slot->gpa_bytes);
		slot_cache_init(&w->cache[i], r, w->map[i]);
	}
}

/* The span must hold @gpa and be true at both of its ends. */
static void check_span(const struct slot_rival *r, const void *map,
		       uint64_t gpa, uint32_t id)
{
	struct slot_span span, at;
	const struct tide_slot *s = r->span(map, gpa, &span);

	if ((s ? s->id : 0) != id || gpa < span.first || gpa > span.last)
		fail_msg("%s: span of 0x%" PRIx64, r->name, gpa);
	s = r->span(map, span.first, &at);
	if ((s ? s->id : 0) != id)
		fail_msg("%s: span of 0x%" PRIx64 " begins early", r->name,
			 gpa);
	s = r->span(map, span.last, &at);
	if ((s ? s->id : 0) != id)
		fail_msg("%s: span of 0x%" PRIx64 " ends late", r->name, gpa);
}

/* Slot ids begin at 1; 0 is no slot. */
static void probe(struct world *w, uint64_t gpa, uint32_t id)
{
	struct tide_slot got = { .id = 0 };

	for (int i = 0; i < SLOT_RIVALS; i++) {
		const struct slot_rival *r = slot_rivals[i];
		const struct tide_slot *s = r->find(w->map[i], gpa);

		if ((s ? s->id : 0) != id)
			fail_msg("%s: 0x%" PRIx64 " is of slot %u", r->name,
				 gpa, id);
		s = slot_cache_find(&w->cache[i], gpa);
		if ((s ? s->id : 0) != id)
			fail_msg("%s, cached: 0x%" PRIx64 " is of slot %u",
				 r->name, gpa, id);
		check_span(r, w->map[i], gpa, id);
	}
	assert_int_equal(tide_slots_find_gpa(w->slots, gpa, &got), id != 0);
	assert_int_equal(got.id, id);
	got.id = 0;
	assert_int_equal(tide_slots_reader_find_gpa(w->reader, gpa, &got),
			 id != 0);
	assert_int_equal(got.id, id);
}

static void check_heights(struct world *w)
{
	for (int i = 0; i < SLOT_RIVALS; i++) {
		unsigned int bound, is;

		if (!slot_rivals[i]->height)
			continue;
		is = slot_rivals[i]->height(w->map[i], &bound);
		if (is > bound)
			fail_msg("%s is %u high, above %u",
				 slot_rivals[i]->name, is, bound);
	}
}

/* Is [first, +count) free? */
static bool is_free(const uint32_t *owner, uint64_t first, uint64_t count)
{
	for (uint64_t p = first; p < first + count; p++)
		if (owner[p])
			return false;
	return true;
}

static void play(uint64_t base, int steps, uint64_t seed)
{
	enum { PAGES = 2048, IDS = 300 };
	static uint32_t owner[PAGES];
	struct { uint64_t first, count; } slot[IDS + 1] = { 0 };
	struct world w;

	open_world(&w);
	for (int p = 0; p < PAGES; p++)
		owner[p] = 0;
	for (int step = 0; step < steps; step++) {
		uint32_t id = 1 + (uint32_t)seed_below(&seed, IDS);
		uint64_t at = seed_below(&seed, PAGES);
		uint64_t len = 1 + seed_below(&seed, 1u << seed_below(&seed, 9));
		struct tide_slot s = { .id = id };

		if (slot[id].count) {
			s.gpa_bytes = base + slot[id].first * PAGE;
			change(&w, &s, false);
			for (uint64_t p = 0; p < slot[id].count; p++)
				owner[slot[id].first + p] = 0;
			slot[id].count = 0;
		} else if (at + len <= PAGES && is_free(owner, at, len)) {
			s.gpa_bytes = base + at * PAGE;
			s.len_bytes = len * PAGE;
			change(&w, &s, true);
			for (uint64_t p = 0; p < len; p++)
				owner[at + p] = id;
			slot[id].first = at;
			slot[id].count = len;
		}
		for (int i = 0; i < 4; i++) {
			at = seed_below(&seed, PAGES);
			probe(&w, base + at * PAGE + seed_below(&seed, PAGE),
			      owner[at]);
		}
		probe(&w, base + PAGES * PAGE - 1, owner[PAGES - 1]);
		probe(&w, base ? 0 : UINT64_MAX, 0);
		if (step % 1000 == 0)
			check_heights(&w);
	}
	close_world(&w);
}

static void all_agree(void **state)
{
	(void)state;
	play(0, 10000, seed_of("all_agree", 21));
}

static void all_agree_at_the_top(void **state)
{
	(void)state;
	play(FAR, 10000, seed_of("all_agree_at_the_top", 22));
}

/* Trees for 10^6 random changes: exact, and never higher than their bound. */
static void heights_hold(void **state)
{
	enum { PLACES = 4096 };
	uint64_t seed = seed_of("heights_hold", 23);
	static bool there[PLACES];

	(void)state;
	for (int i = 0; i < SLOT_RIVALS; i++) {
		const struct slot_rival *r = slot_rivals[i];
		unsigned int highest = 0, is, bound = 0;
		void *map;

		if (!r->height)
			continue;
		map = r->create();
		for (int p = 0; p < PLACES; p++)
			there[p] = false;
		for (int step = 0; step < 1000000; step++) {
			uint64_t p = seed_below(&seed, PLACES), q;
			/* A few are very large. */
			struct tide_slot s = {
				.id = (uint32_t)p + 1, .gpa_bytes = p << 32,
				.len_bytes = PAGE << (p % 64 ? p % 4 : 18),
			};

			if (there[p])
				r->remove(map, s.gpa_bytes);
			else
				assert_int_equal(r->insert(map, &s), 0);
			there[p] = !there[p];
			q = seed_below(&seed, PLACES);
			assert_int_equal(!!r->find(map, q << 32), there[q]);
			if (step % 5000)
				continue;
			is = r->height(map, &bound);
			if (is > bound)
				fail_msg("%s: %u high, above %u, at step %d",
					 r->name, is, bound, step);
			highest = is > highest ? is : highest;
		}
		print_message("# %s: at most %u high, bound %u\n", r->name,
			      highest, bound);
		r->destroy(map);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_agree),
		cmocka_unit_test(all_agree_at_the_top),
		cmocka_unit_test(heights_hold),
	};

	return cmocka_run_group_tests_name("slot_rivals", tests, NULL, NULL);
}
