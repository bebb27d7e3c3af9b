/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "seed.h"
#include "tidemark/slots_inline.h"

#define PAGE 4096ull
#define HOST(page) ((void *)(uintptr_t)(0x10000000 + (page) * PAGE))

static void bad_input_changes_nothing(void **state)
{
	static const struct {
		struct tide_slot slot;
		int code;
		const char *says;
	} bad[] = {
		{ { 2, 0, 0, 0, NULL }, -EINVAL, "no length" },
		{ { 2, 0, 100, PAGE, NULL }, -EINVAL, "aligned" },
		{ { 2, 0, 0, 100, NULL }, -EINVAL, "aligned" },
		{ { 2, 0, -PAGE, 2 * PAGE, NULL }, -EINVAL, "wraps" },
		{ { 1, 0, 64 * PAGE, PAGE, NULL }, -EEXIST, "id" },
		{ { 2, 0, 19 * PAGE, PAGE, NULL }, -EEXIST,
		  "slot 1 at 0xa000 to 0x14000" },
		{ { 2, 0, 0, 11 * PAGE, NULL }, -EEXIST, "in the guest" },
		{ { 2, 0, 0, PAGE, HOST(9) }, -EEXIST, "in the host" },
	};
	struct tide_slot first = { 1, 0, 10 * PAGE, 10 * PAGE, HOST(0) };
	struct tide_slots *slots;
	struct tide_error err;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(tide_slots_insert(slots, &first, NULL), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(tide_slots_insert(slots, &bad[i].slot, &err),
				 bad[i].code);
		if (!strstr(err.text, bad[i].says))
			fail_msg("'%s' lacks '%s'", err.text, bad[i].says);
	}
	assert_int_equal(tide_slots_remove(slots, 7, &err), -ENOENT);
	assert_int_equal(tide_slots_generation(slots), 1);
	assert_int_equal(tide_slots_count(slots), 1);
	tide_slots_destroy(slots);
}

static void top_of_the_address_space(void **state)
{
	struct tide_slot last = { 3, 0, -PAGE, PAGE, HOST(0) }, got;
	struct tide_slots *slots;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(tide_slots_insert(slots, &last, NULL), 0);
	assert_true(tide_slots_find_gpa(slots, UINT64_MAX, &got));
	assert_int_equal(got.id, 3);
	assert_false(tide_slots_find_gpa(slots, -PAGE - 1, &got));
	tide_slots_destroy(slots);
}

static void split_follows_slots_and_gaps(void **state)
{
	struct tide_slot a = { 1, 0, 0, 2 * PAGE, HOST(100) };
	struct tide_slot b = { 2, 0, 2 * PAGE, PAGE, HOST(0) };
	struct tide_slot_piece p[4];
	struct tide_slots *slots;
	uint64_t covered;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(tide_slots_insert(slots, &b, NULL), 0);
	assert_int_equal(tide_slots_insert(slots, &a, NULL), 0);
	assert_int_equal(tide_slots_split(slots, 100, 3 * PAGE, p, 4, &covered),
			 2);
	assert_int_equal(covered, 3 * PAGE - 100);
	assert_ptr_equal(p[0].host, (char *)HOST(100) + 100);
	assert_int_equal(p[0].len_bytes, 2 * PAGE - 100);
	assert_ptr_equal(p[1].host, HOST(0));
	assert_int_equal(tide_slots_split(slots, 0, 3 * PAGE, p, 1, &covered),
			 1);
	assert_int_equal(covered, 2 * PAGE);
	assert_int_equal(tide_slots_split(slots, 9 * PAGE, 1, p, 4, &covered),
			 0);
	assert_int_equal(covered, 0);
	tide_slots_destroy(slots);
}

/* Random inserts and removals against one owner per page. */
static void random_script(void **state)
{
	enum { PAGES = 400, IDS = 40 };
	uint64_t rng = seed_of("random_script", 11);
	struct { uint64_t first, count; } model[IDS] = { 0 };
	struct tide_slots *slots;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	for (int step = 0; step < 1000000; step++) {
		uint32_t id = (uint32_t)seed_below(&rng, IDS);
		uint64_t first = seed_below(&rng, PAGES - 20);
		uint64_t count = 1 + seed_below(&rng, 20);
		struct tide_slot slot = { id, 0, first * PAGE, count * PAGE,
					  HOST(first) }, got;
		uint64_t probe = seed_below(&rng, PAGES);
		int owner = -1, clash = model[id].count != 0;

		for (int i = 0; i < IDS; i++) {
			if (model[i].count &&
			    first < model[i].first + model[i].count &&
			    model[i].first < first + count)
				clash = 1;
		}
		if (model[id].count && seed_below(&rng, 2)) {
			assert_int_equal(tide_slots_remove(slots, id, NULL), 0);
			model[id].count = 0;
		} else {
			assert_int_equal(tide_slots_insert(slots, &slot, NULL),
					 clash ? -EEXIST : 0);
			if (!clash) {
				model[id].first = first;
				model[id].count = count;
			}
		}
		for (int i = 0; i < IDS; i++)
			if (probe - model[i].first < model[i].count)
				owner = i;
		assert_int_equal(tide_slots_find_gpa(slots, probe * PAGE, &got),
				 owner >= 0);
		if (owner >= 0)
			assert_int_equal(got.id, owner);
		assert_int_equal(tide_slots_find_host(slots, HOST(probe), &got),
				 owner >= 0);
	}
	tide_slots_destroy(slots);
}

static void many_at_once_or_none(void **state)
{
	struct tide_slot first = { 1, 0, 10 * PAGE, 10 * PAGE, HOST(0) };
	struct tide_slot good[] = {
		{ 9, 0, 40 * PAGE, PAGE, HOST(40) },
		{ 7, 0, 0, 10 * PAGE, HOST(20) },
		{ 8, 0, 20 * PAGE, PAGE, NULL },
	};
	struct tide_slot bad[] = {
		{ 20, 0, 50 * PAGE, PAGE, HOST(50) },
		{ 21, 0, 60 * PAGE, PAGE, HOST(60) },
	};
	struct tide_slots *slots;
	struct tide_slot got;
	struct tide_error err;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(tide_slots_insert(slots, &first, NULL), 0);
	assert_int_equal(tide_slots_insert_many(slots, good, 3, NULL), 0);
	assert_int_equal(tide_slots_generation(slots), 2);
	assert_true(tide_slots_find_gpa(slots, 20 * PAGE, &got));
	assert_int_equal(got.id, 8);
	assert_true(tide_slots_find_host(slots, HOST(29), &got));
	assert_int_equal(got.id, 7);
	bad[1].gpa_bytes = 50 * PAGE;
	assert_int_equal(tide_slots_insert_many(slots, bad, 2, &err), -EEXIST);
	assert_non_null(strstr(err.text, "in the guest it overlaps"));
	bad[1].gpa_bytes = 15 * PAGE;
	assert_int_equal(tide_slots_insert_many(slots, bad, 2, &err), -EEXIST);
	bad[1].gpa_bytes = 60 * PAGE;
	bad[1].id = 7;
	assert_int_equal(tide_slots_insert_many(slots, bad, 2, &err), -EEXIST);
	assert_non_null(strstr(err.text, "its id is that of slot 7"));
	bad[1].id = 21;
	bad[1].host = HOST(25);
	assert_int_equal(tide_slots_insert_many(slots, bad, 2, &err), -EEXIST);
	assert_non_null(strstr(err.text, "in the host"));
	bad[1].len_bytes = 0;
	assert_int_equal(tide_slots_insert_many(slots, bad, 2, &err), -EINVAL);
	assert_int_equal(tide_slots_count(slots), 4);
	assert_int_equal(tide_slots_generation(slots), 2);
	tide_slots_destroy(slots);
}

/* Where a slot of the wide script lies: sizes and places of every order. */
static struct tide_slot wide_slot(uint64_t *rng, uint32_t id, unsigned int bits)
{
	uint64_t len = PAGE << seed_below(rng, 20);
	uint64_t gpa = seed_next(rng) >> (64 - bits);

	if (seed_below(rng, 2))
		len += PAGE * seed_below(rng, 600);
	if (seed_below(rng, 8) == 0)
		gpa = -len >> seed_below(rng, 3);	/* at a border */
	gpa &= -PAGE;
	return (struct tide_slot){ id, 0, gpa, len, NULL };
}

/*
 * Few slots anywhere in @bits of address, against a list: the index with three,
 * four and five levels, and the search where tables would be too big. Probes
 * go to the borders, through a reader as well.
 */
static void wide_script(uint64_t *rng, unsigned int bits, int steps)
{
	enum { IDS = 24 };
	struct tide_slot model[IDS] = { 0 }, got;
	struct tide_slots_reader *reader;
	struct tide_slots *slots;

	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(tide_slots_reader_create(slots, &reader, NULL), 0);
	for (int step = 0; step < steps; step++) {
		uint32_t id = (uint32_t)seed_below(rng, IDS);
		struct tide_slot s = wide_slot(rng, id, bits);

		if (model[id].len_bytes) {
			assert_int_equal(tide_slots_remove(slots, id, NULL), 0);
			model[id].len_bytes = 0;
		} else if (!tide_slots_insert(slots, &s, NULL)) {
			model[id] = s;
		}
		for (int i = 0; i < 4 * IDS; i++) {
			const struct tide_slot *m = &model[i / 4];
			uint64_t at = i % 2 ? m->gpa_bytes :
					      m->gpa_bytes + m->len_bytes;
			int owner = -1;

			at -= i % 4 / 2;
			for (int k = 0; k < IDS; k++)
				if (at - model[k].gpa_bytes <
				    model[k].len_bytes)
					owner = k;
			assert_int_equal(tide_slots_find_gpa(slots, at, &got),
					 owner >= 0);
			assert_true(owner < 0 || got.id == (uint32_t)owner);
			assert_int_equal((i / 2 % 2 ?
					  tide_slots_reader_find_gpa :
					  tide_slots_inline_find_gpa)(reader,
								      at, &got),
					 owner >= 0);
			assert_true(owner < 0 || got.id == (uint32_t)owner);
		}
	}
	tide_slots_reader_destroy(reader);
	tide_slots_destroy(slots);
}

static void wide_scripts(void **state)
{
	uint64_t rng = seed_of("wide_scripts", 17);

	(void)state;
	wide_script(&rng, 34, 3000);
	wide_script(&rng, 41, 3000);
	wide_script(&rng, 48, 3000);
	wide_script(&rng, 64, 3000);
}

/* Slots that lie too far apart for an index are found all the same. */
static void far_apart(void **state)
{
	enum { N = 2000 };
	struct tide_slot *all = calloc(N, sizeof(*all)), got;
	struct tide_slots *slots;

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		all[i] = (struct tide_slot){ i, 0,
					     (i + 1) * (5ull << 30) + PAGE,
					     PAGE, NULL };
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(tide_slots_insert_many(slots, all, N, NULL), 0);
	assert_in_range(tide_slots_bytes(slots) / N, 1, 200);
	for (uint32_t i = 0; i < N; i++) {
		assert_true(tide_slots_find_gpa(slots, all[i].gpa_bytes, &got));
		assert_int_equal(got.id, i);
		assert_false(tide_slots_find_gpa(slots, all[i].gpa_bytes + PAGE,
						 &got));
	}
	tide_slots_destroy(slots);
	free(all);
}

static void resize_and_move(void **state)
{
	struct tide_slot a = { 1, 0, 0, 4 * PAGE, HOST(0) };
	struct tide_slot b = { 2, 0, 8 * PAGE, PAGE, HOST(8) };
	struct tide_slots *slots;
	struct tide_slot got;
	struct tide_error err;

	(void)state;
	assert_int_equal(tide_slots_create(&slots, NULL), 0);
	assert_int_equal(tide_slots_insert(slots, &a, NULL), 0);
	assert_int_equal(tide_slots_insert(slots, &b, NULL), 0);
	assert_int_equal(tide_slots_resize(slots, 1, 8 * PAGE, NULL), 0);
	assert_true(tide_slots_find_gpa(slots, 7 * PAGE, &got));
	assert_int_equal(tide_slots_resize(slots, 1, 9 * PAGE, &err), -EEXIST);
	assert_non_null(strstr(err.text, "slot 2 at 0x8000 to 0x9000"));
	assert_int_equal(tide_slots_resize(slots, 1, 0, &err), -EINVAL);
	assert_int_equal(tide_slots_resize(slots, 9, PAGE, &err), -ENOENT);
	/* Onto itself, shifted: only others are in the way. */
	assert_int_equal(tide_slots_move(slots, 1, 9 * PAGE, NULL), 0);
	assert_int_equal(tide_slots_move(slots, 1, 12 * PAGE, NULL), 0);
	assert_int_equal(tide_slots_move(slots, 1, PAGE, &err), -EEXIST);
	assert_int_equal(tide_slots_move(slots, 1, 100, &err), -EINVAL);
	assert_int_equal(tide_slots_move(slots, 1, -PAGE, &err), -EINVAL);
	assert_false(tide_slots_find_gpa(slots, 0, NULL));
	assert_true(tide_slots_find_gpa(slots, 19 * PAGE, &got));
	assert_true(tide_slots_find_id(slots, 1, &got));
	assert_int_equal(got.gpa_bytes, 12 * PAGE);
	assert_int_equal(tide_slots_generation(slots), 5);
	tide_slots_destroy(slots);
}

/*
 * Readers against a writer: the slot they ask for is resized all the time, in
 * one step. Whoever sees the map whole always finds it, with the host address
 * that fits. `make tsan` runs this too.
 */
struct race {
	struct tide_slots *slots;
	int stop, wrong;
	uint64_t lookups, at_work;
};

static void *read_on(void *opaque)
{
	struct race *race = opaque;
	struct tide_slots_reader *reader;
	uint64_t rng = (uintptr_t)&reader, n = 0;

	if (tide_slots_reader_create(race->slots, &reader, NULL))
		return NULL;
	while (!tide__load_relaxed(&race->stop)) {
		uint64_t page = seed_below(&rng, 16);
		struct tide_slot got = { .id = 99 };
		bool found = n % 4 ?
		    tide_slots_inline_find_gpa(reader, page * PAGE, &got) :
		    tide_slots_find_gpa(race->slots, page * PAGE, &got);

		if (!found ||
		    (char *)got.host + (page * PAGE - got.gpa_bytes) !=
			    (char *)HOST(page))
			tide__store_relaxed(&race->wrong, 1);
		if (++n == 1000)
			tide__add_relaxed(&race->at_work, 1);
	}
	tide_slots_reader_destroy(reader);
	tide__add_relaxed(&race->lookups, n);
	return NULL;
}

static void readers_see_it_whole(void **state)
{
	struct tide_slot all = { 1, 0, 0, 16 * PAGE, HOST(0) };
	struct race race = { 0 };
	pthread_t thread[3];
	uint64_t rng = seed_of("readers_see_it_whole", 5);
	uint64_t until = tide__now_ns() + 1000000000;
	uint64_t changes = 0;

	(void)state;
	assert_int_equal(tide_slots_create(&race.slots, NULL), 0);
	assert_int_equal(tide_slots_insert(race.slots, &all, NULL), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, read_on,
						&race), 0);
	/* On a loaded host a second may pass before they run at all. */
	while (tide__now_ns() < until ||
	       tide__load_relaxed(&race.at_work) < 3) {
		/* A far slot comes and goes; the near one is resized there. */
		uint32_t id = 2 + (uint32_t)seed_below(&rng, 30);
		struct tide_slot far = { id, 0, (100 + id) * PAGE, PAGE,
					 HOST(100 + id) };

		if (tide_slots_insert(race.slots, &far, NULL))
			assert_int_equal(tide_slots_remove(race.slots, id,
							   NULL), 0);
		assert_int_equal(tide_slots_resize(race.slots, 1,
		    (16 + seed_below(&rng, 9)) * PAGE, NULL), 0);
		changes += 2;
	}
	tide__store_relaxed(&race.stop, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	print_message("# %llu lookups during %llu changes\n",
		      (unsigned long long)race.lookups,
		      (unsigned long long)changes);
	assert_int_equal(race.wrong, 0);
	assert_true(race.lookups >= 3000);
	tide_slots_destroy(race.slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_input_changes_nothing),
		cmocka_unit_test(top_of_the_address_space),
		cmocka_unit_test(split_follows_slots_and_gaps),
		cmocka_unit_test(random_script),
		cmocka_unit_test(many_at_once_or_none),
		cmocka_unit_test(wide_scripts),
		cmocka_unit_test(far_apart),
		cmocka_unit_test(resize_and_move),
		cmocka_unit_test(readers_see_it_whole),
	};

	return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
