/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log of an epoch against the tree: whatever is asked of one, the other
 * must answer the same. And a log that turns out too small during a cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dirty/protocol.h"
#include "dirty/ranges.h"
#include "dirty/set.h"
#include "seed.h"

struct pair {
	struct tide__tree tree;
	struct tide__log log;
	const struct tide__kernels *kernels;
	uint64_t pages, rng;
};

static void check_ranges(struct pair *p)
{
	uint64_t from = seed_below(&p->rng, 3) ? seed_below(&p->rng, p->pages)
					       : 0, cursor = from;
	size_t max = 1 + seed_below(&p->rng, 70), n;
	struct tide_range a[70], b[70];

	do {
		n = tide__tree_ranges(&p->tree, p->kernels, true, &from, a,
				      max);
		assert_int_equal(tide__log_ranges(&p->log, p->kernels, &cursor,
						  b, max),
				 n);
		assert_memory_equal(a, b, n * sizeof(*a));
		assert_int_equal(from, cursor);
	} while (n);
}

static void check_pages(struct pair *p)
{
	for (int i = 0; i < 30; i++) {
		uint64_t page = seed_below(&p->rng, p->pages);

		assert_int_equal(tide__log_has(&p->log, page),
				 p->tree.level[0][page / 64] >> page % 64 & 1);
		assert_int_equal(tide__log_next_clear(&p->log, page),
				 tide__tree_next_clear(&p->tree, page));
	}
}

static void clear_some(struct pair *p)
{
	uint64_t first = seed_below(&p->rng, p->pages);
	uint64_t count = 1 + seed_below(&p->rng, 200);

	if (seed_below(&p->rng, 4) == 0)
		first = 0;	/* the beginning of a log is special */
	if (count > p->pages - first)
		count = p->pages - first;
	assert_int_equal(tide__log_clear(&p->log, first, count),
			 tide__tree_clear(&p->tree, first, count));
}

/* Few words, many of them neighbours, some full. */
static void fill_both(struct pair *p)
{
	uint64_t words = p->tree.words[0], word = seed_below(&p->rng, words);

	for (; word < words; word += 1 + seed_below(&p->rng, 3) *
					     seed_below(&p->rng, 40)) {
		uint64_t bits = seed_next(&p->rng);

		if (seed_below(&p->rng, 3) == 0)
			bits = ~UINT64_C(0) << seed_below(&p->rng, 8);
		if (word == words - 1 && p->pages % 64)
			bits &= (UINT64_C(1) << p->pages % 64) - 1;
		if (!bits || !tide__log_add(&p->log, word, bits))
			continue;
		p->tree.level[0][word] = bits;
		tide__tree_raise(&p->tree, word);
	}
}

static void log_equals_tree(void **state)
{
	uint64_t rng = seed_of("log_equals_tree", 12);

	(void)state;
	for (int round = 0; round < 1500; round++) {
		struct pair p = { .rng = seed_next(&rng),
				  .kernels = tide__kernels_pick() };

		p.pages = 1 + seed_below(&p.rng, round % 2 ? 300 : 100000);
		assert_int_equal(tide__tree_init(&p.tree, p.pages, false), 0);
		assert_int_equal(tide__log_init(&p.log, p.pages), 0);
		fill_both(&p);
		for (int i = 0; i < 6; i++) {
			check_ranges(&p);
			check_pages(&p);
			clear_some(&p);
		}
		tide__log_clear(&p.log, 0, p.pages);
		assert_int_equal(p.log.first, p.log.count);
		tide__log_fini(&p.log);
		tide__tree_fini(&p.tree);
	}
}

static uint64_t check_taken(const struct tide_set *set,
			    const unsigned char *model)
{
	uint64_t cursor = 0, pages = 0;
	struct tide_range r;

	while (tide_epoch_next(&set->epoch, &cursor, &r, 1)) {
		for (uint64_t i = 0; i < r.count; i++)
			assert_true(model[r.first + i]);
		pages += r.count;
	}
	return pages;
}

/* What the look before the cut cannot see: marks that come during it. */
static void spills_when_full(void **state)
{
	enum { PAGES = 400000, MARKS = 300 };
	static unsigned char model[PAGES];
	uint64_t rng = seed_of("spills_when_full", 5);
	struct tide_set *set;
	uint64_t usual, words;

	(void)state;
	assert_int_equal(tide_set_create(&set, PAGES, NULL), 0);
	usual = set->epoch.log.room;
	for (uint64_t room = 0; room < MARKS + 10; room += 7) {
		uint64_t marks = 0, taken;

		memset(model, 0, sizeof(model));
		for (int i = 0; i < MARKS; i++) {
			uint64_t page = seed_below(&rng, PAGES);

			tide_set_mark(set, page);
			marks += !model[page];
			model[page] = 1;
		}
		words = 0;
		for (uint64_t i = 0; i < set->live.words[0]; i++)
			words += set->live.level[0][i] != 0;
		set->epoch.log.room = room;
		set->epoch.open = true;
		taken = tide__take_log(&set->live, &set->epoch.log,
				       &set->epoch.tree, set->kernels);
		assert_int_equal(taken, marks);
		set->epoch.pages_left = taken;
		assert_int_equal(set->epoch.log.room, room);
		assert_int_equal(set->epoch.log.count,
				 words <= room ? words : 0);
		assert_int_equal(check_taken(set, model), marks);
		assert_int_equal(tide_set_count(set), 0);
		set->epoch.log.room = usual;
		tide_epoch_commit(&set->epoch);
		assert_int_equal(tide_set_cut_begin(set, NULL), 0);
		/* Look for what a commit left, whatever the count says. */
		set->epoch.pages_left = 1;
		assert_int_equal(check_taken(set, model), 0);
		tide_epoch_commit(&set->epoch);
	}
	tide_set_destroy(set);
}

/* A guess: near the truth where marks are spread, exact where few are. */
static void sparse_is_seen(void **state)
{
	static const uint64_t marks[] = { 1, 100, 3000, 60000, 400000 };
	const uint64_t pages = UINT64_C(1) << 26, room = pages / 64 / 8;
	uint64_t rng = seed_of("sparse_is_seen", 8);

	(void)state;
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++) {
		struct tide_set *set;

		assert_int_equal(tide_set_create(&set, pages, NULL), 0);
		for (uint64_t k = 0; k < marks[i]; k++)
			tide_set_mark(set, seed_below(&rng, pages));
		/* 400,000 of 1,048,576 words are too many, 60,000 are not. */
		assert_int_equal(tide__is_sparse(&set->live, set->kernels,
						 room),
				 marks[i] < room);
		tide_set_destroy(set);
	}
}

static void set_in_both(struct tide__tree *tree, unsigned char *model,
			uint64_t first, uint64_t count)
{
	tide__tree_set(tree, first, count);
	memset(model + first, 1, count);
}

/* Trees of both shapes, with and without summaries, and spurious bits. */
static void searches(void **state)
{
	static const uint64_t sizes[] = { 1, 64, 4095, 65536, 65537, 300000,
					  1000001 };
	uint64_t rng = seed_of("searches", 21);
	unsigned char *model = calloc(1000001, 1);

	(void)state;
	for (unsigned int i = 0; i < 2 * sizeof(sizes) / sizeof(*sizes); i++) {
		uint64_t pages = sizes[i / 2], word;
		struct tide__tree tree;

		memset(model, 0, pages);
		assert_int_equal(tide__tree_init(&tree, pages, i % 2), 0);
		for (int k = 0; k < 30; k++) {
			uint64_t first = seed_below(&rng, pages), max = 70;

			if (max > pages - first)
				max = pages - first;
			set_in_both(&tree, model, first,
				    1 + seed_below(&rng, max));
			tide__tree_raise(&tree,
					 seed_below(&rng, tree.words[0]));
		}
		for (uint64_t page = 0; page < pages; page++) {
			if (page % 97 && !model[page])
				continue;
			word = page;
			while (word < pages && !model[word])
				word++;
			assert_int_equal(tide__tree_next_set(&tree, page),
					 word);
			for (word = page; word < pages && model[word]; word++)
				;
			assert_int_equal(tide__tree_next_clear(&tree, page),
					 word);
		}
		tide__tree_fini(&tree);
	}
	free(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(searches),
		cmocka_unit_test(sparse_is_seen),
		cmocka_unit_test(log_equals_tree),
		cmocka_unit_test(spills_when_full),
	};

	return cmocka_run_group_tests_name("dirty_log", tests, NULL, NULL);
}
