/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Meta bitmaps. Followers of bitmaps and checkpoints that take, at each round,
 * only the chunks that they are told of, have at the end of it what the point
 * says, bit by bit, whatever was done to it in between (SEED=n to repeat one).
 * That they are not told of more than changed, and the known faults of others,
 * are cases of their own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cbt/meta.h"
#include "cbt_world.h"
#include "seed.h"

#define FOLLOWERS 5

struct follower {
	struct cbt_meta *m; /* NULL: none */
	char name[24];
	uint8_t *copy; /* serialised, as it was sent */
	uint64_t bits;
};

/* One bit of an image's serialised form, a byte at a time. */
static uint8_t byte_of(const struct cbt_image *m, uint64_t at)
{
	size_t page = (size_t)(at * 8 / CBT_PAGE_BITS);
	uint64_t word = at * 8 % CBT_PAGE_BITS / 64;
	uint64_t left = m->bits - at * 8;
	uint8_t mask = (uint8_t)(left < 8 ? (1u << left) - 1 : 0xff);

	if (page >= m->page_count || !m->pages[page])
		return 0;
	return mask & (uint8_t)(m->pages[page]->words[word] >> at % 8 * 8);
}

/* Takes what changed, and must have it all then. */
static uint64_t follow(struct follower *f)
{
	struct cbt_image bits;
	struct cbt_chunks changed;
	uint64_t chunk_bytes, sent = 0;
	struct tide_error err = { 0 };

	if (cbt_meta_round(f->m, &bits, &changed, &err))
		fail_msg("%s", err.text);
	chunk_bytes = changed.bits_a_chunk / 8;
	f->copy = realloc(f->copy, (size_t)(bits.bits / 8 + 1));
	f->bits = bits.bits;
	for (uint64_t c = 0; c < changed.count; c++) {
		uint64_t at = c * chunk_bytes;

		if (!cbt_chunks_has(&changed, c))
			continue;
		sent++;
		for (uint64_t i = 0; i < cbt_chunk_length(&changed, c); i++)
			f->copy[at + i] = byte_of(&bits, at + i);
	}
	assert_int_equal(sent, cbt_chunks_count(&changed));
	for (uint64_t i = 0; i < (bits.bits + 7) / 8; i++)
		if (f->copy[i] != byte_of(&bits, i))
			fail_msg("byte %llu of '%s' was not sent",
				 (unsigned long long)i, f->name);
	cbt_image_fini(&bits);
	cbt_chunks_fini(&changed);
	return sent;
}

static void begin(struct follower *f, struct world *w, const char *name,
		  uint32_t chunk_bytes)
{
	snprintf(f->name, sizeof(f->name), "%s", name);
	assert_int_equal(cbt_meta_create(w->c, name, chunk_bytes, &f->m, NULL),
			 0);
}

static void end(struct follower *f)
{
	cbt_meta_destroy(f->m);
	free(f->copy);
	memset(f, 0, sizeof(*f));
}

/* --- the oracle ----------------------------------------------------------- */

static void do_write(struct world *w)
{
	static uint8_t buf[300000];
	uint64_t size = tide_disk_size(w->d);
	uint64_t length = 1 + below(below(6) ? 4096 : sizeof(buf));

	if (length > size)
		length = size;
	assert_int_equal(tide_disk_write(w->d, below((uint32_t)(size - length +
						     1)), buf, length, NULL),
			 0);
}

static void do_verb(struct world *w, char names[][24], int count)
{
	const char *one = names[below((uint32_t)count)];
	const char *two = names[below((uint32_t)count)];
	bool bitmap = *one == 'b';

	switch (below(7)) {
	case 0:
		if (bitmap)
			cbt_bitmap_clear(w->c, one, NULL);
		break;
	case 1:
		if (bitmap)
			cbt_bitmap_enable(w->c, one, below(3), NULL);
		break;
	case 2:
		if (bitmap)
			cbt_bitmap_merge(w->c, one, w->c, two, NULL);
		break;
	case 3:
		tide_disk_resize(w->d, 512 * (uint64_t)(1 + below(UNITS)),
				 NULL);
		break;
	case 4:
		cbt_checkpoint_create(&w->c, 1, "passing", true, NULL);
		break;
	case 5:
		cbt_checkpoint_finish(w->c, "passing", false, NULL);
		break;
	default:
		cbt_checkpoint_finish(w->c, "passing", true, NULL);
		cbt_checkpoint_delete(w->c, "passing", NULL);
	}
}

static void step(struct world *w, struct follower *all, char names[][24])
{
	struct follower *f = &all[below(FOLLOWERS)];
	uint32_t what = below(100);

	if (what < 60)
		do_write(w);
	else if (what < 75)
		do_verb(w, names, 4);
	else if (what < 79 && f->m)
		end(f);
	else if (!f->m)
		begin(f, w, names[below(4)], CBT_MIN_CHUNK << below(6));
	else
		follow(f);
}

static void run_script(uint64_t seed, enum cbt_durability durability)
{
	struct follower all[FOLLOWERS] = { { NULL } };
	char names[4][24] = { "b0", "b1", "b2", "kept" };
	struct world w;

	world_rng = seed;
	world_init(&w, 512 * (uint64_t)(1 + below(UNITS)));
	w.o.durability = durability;
	w.o.shift = 9 + below(8);
	world_open(&w);
	for (int i = 0; i < 3; i++)
		assert_int_equal(cbt_bitmap_add(w.c, names[i], UINT64_C(512) <<
						below(6), below(2), NULL), 0);
	assert_int_equal(cbt_checkpoint_create(&w.c, 1, "kept", false, NULL),
			 0);
	for (int i = 0; i < 250; i++)
		step(&w, all, names);
	for (int i = 0; i < FOLLOWERS; i++)
		if (all[i].m) {
			follow(&all[i]);
			end(&all[i]);
		}
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

/* 20,000 steps; CAMPAIGN=1: 10^5. */
static void test_random(void **state)
{
	uint64_t seed = seed_of("meta", 5);

	(void)state;
	for (uint32_t i = 0; i < campaign(80, 400); i++)
		run_script(seed + i, i % 4 == 3 ? CBT_POWER : CBT_PROCESS);
}

/* --- named cases ---------------------------------------------------------- */

/* A disk of 16 MiB, a bitmap of 4 KiB blocks in chunks of 32 bytes: 1 MiB. */
static void small(struct world *w, struct follower *f)
{
	world_init(w, 16u << 20);
	w->o.shift = 12;
	world_open(w);
	assert_int_equal(cbt_bitmap_add(w->c, "b", 4096, true, NULL), 0);
	begin(f, w, "b", 32);
	assert_int_equal(follow(f), 16);
	assert_int_equal(follow(f), 0);
}

static void large(struct world *w, struct follower *f)
{
	end(f);
	assert_int_equal(tide_disk_close(w->d, NULL), 0);
	world_fini(w);
}

static void write_at(struct world *w, uint64_t offset, uint64_t length)
{
	static uint8_t buf[8u << 20];

	assert_int_equal(tide_disk_write(w->d, offset, buf, length, NULL), 0);
}

/* The patch of 2015 did not mark what was cleared. */
static void test_clear(void **state)
{
	struct follower f = { NULL };
	struct world w;

	(void)state;
	small(&w, &f);
	write_at(&w, 3u << 20, 4096);
	write_at(&w, 9u << 20, 4096);
	assert_int_equal(follow(&f), 2);
	assert_int_equal(cbt_bitmap_clear(w.c, "b", NULL), 0);
	assert_int_equal(follow(&f), 2);
	assert_int_equal(cbt_bitmap_clear(w.c, "b", NULL), 0);
	assert_int_equal(follow(&f), 0);
	large(&w, &f);
}

/*
 * QEMU's: words 0 and 2 are full, word 1 has a bit; setting all three changes
 * word 1 alone, and is not reported.
 */
static void test_middle_word(void **state)
{
	struct follower f = { NULL };
	struct world w;

	(void)state;
	small(&w, &f);
	write_at(&w, 0, 64 * 4096);
	write_at(&w, 64 * 4096, 4096);
	write_at(&w, 128 * 4096, 64 * 4096);
	assert_int_equal(follow(&f), 1);
	write_at(&w, 0, 192 * 4096);
	assert_int_equal(follow(&f), 1);
	large(&w, &f);
}

/* QEMU's deserialising marks nothing. */
static void test_import(void **state)
{
	struct follower f = { NULL };
	struct cbt_image bits;
	struct world w;

	(void)state;
	small(&w, &f);
	assert_int_equal(cbt_image_init(&bits, 4096, 12), 0);
	assert_int_equal(cbt_image_set(&bits, 5 * 256, 6 * 256 + 1), 0);
	assert_int_equal(cbt_bitmap_add_bits(w.c, "b", &bits, NULL), 0);
	assert_int_equal(follow(&f), 2);
	assert_int_equal(cbt_bitmap_add_bits(w.c, "b", &bits, NULL), 0);
	assert_int_equal(follow(&f), 0);
	cbt_image_fini(&bits);
	large(&w, &f);
}

static void test_resize(void **state)
{
	struct follower f = { NULL };
	struct world w;

	(void)state;
	small(&w, &f);
	/* What is new is dirty, and the chunk that was shorter is longer. */
	assert_int_equal(tide_disk_resize(w.d, (16u << 20) + 4096, NULL), 0);
	assert_int_equal(follow(&f), 1);
	assert_int_equal(tide_disk_resize(w.d, 18u << 20, NULL), 0);
	assert_int_equal(follow(&f), 2);
	assert_int_equal(tide_disk_resize(w.d, (2u << 20) + 512, NULL), 0);
	assert_int_equal(follow(&f), 1);
	large(&w, &f);
}

/* Two at a time, each at its own pace; a third that goes does no harm. */
static void test_several(void **state)
{
	struct follower f = { NULL }, slow = { NULL }, gone = { NULL };
	struct world w;

	(void)state;
	small(&w, &f);
	begin(&slow, &w, "b", 64);
	begin(&gone, &w, "b", 1u << 20);
	assert_int_equal(follow(&slow), 8);
	assert_int_equal(follow(&gone), 1);
	write_at(&w, 0, 4096);
	assert_int_equal(follow(&f), 1);
	write_at(&w, 8u << 20, 4096);
	end(&gone);
	assert_int_equal(follow(&f), 1);
	assert_int_equal(follow(&slow), 2);
	assert_int_equal(follow(&f), 0);
	end(&slow);
	large(&w, &f);
}

static void test_refused(void **state)
{
	struct follower f = { NULL };
	struct cbt_meta *m = NULL;
	struct cbt_chunks changed;
	struct cbt_image bits;
	struct tide_error err;
	struct world w;

	(void)state;
	small(&w, &f);
	for (uint32_t bad = 0; bad < 3; bad++)
		assert_int_equal(cbt_meta_create(w.c, "b", (const uint32_t[]){
			16, 48, 2u << 20 }[bad], &m, &err), -EINVAL);
	assert_non_null(strstr(err.text, "a power of two from 32"));
	assert_int_equal(cbt_meta_create(w.c, "none", 32, &m, NULL), -ENOENT);
	assert_null(m);
	assert_int_equal(cbt_bitmap_remove(w.c, "b", NULL), 0);
	assert_int_equal(cbt_bitmap_add(w.c, "b", 4096, true, NULL), 0);
	assert_int_equal(cbt_meta_round(f.m, &bits, &changed, &err), -ESTALE);
	large(&w, &f);
}

/* A store that fails, and memory that runs out: the next round has it all. */
static void test_failures(void **state)
{
	struct follower f = { NULL };
	struct cbt_chunks changed;
	struct cbt_image bits;
	struct world w;

	(void)state;
	small(&w, &f);
	write_at(&w, 5u << 20, 4096);
	world_fail_with = ENOSPC;
	assert_int_equal(cbt_meta_round(f.m, &bits, &changed, NULL), -ENOSPC);
	world_fail_with = 0;
	write_at(&w, 6u << 20, 4096);
	for (int left = 0, ret = -1; ret; left++) {
		world_allocations_left = left;
		ret = cbt_meta_round(f.m, &bits, &changed, NULL);
		world_allocations_left = -1;
		if (!ret) {
			assert_int_equal(cbt_chunks_count(&changed), 2);
			assert_true(cbt_chunks_has(&changed, 5) &&
				    cbt_chunks_has(&changed, 6));
			cbt_image_fini(&bits);
			cbt_chunks_fini(&changed);
		}
	}
	large(&w, &f);
}

/* The table of 2015, and its last row. */
static void test_span(void **state)
{
	static const uint64_t rows[][2] = {
		{ 1u << 20, UINT64_C(512) << 30 },
		{ 128u << 10, UINT64_C(64) << 30 },
		{ 32u << 10, UINT64_C(16) << 30 },
		{ 2048, UINT64_C(1) << 30 }, { 1024, 512u << 20 },
		{ 512, 256u << 20 }, { 256, 128u << 20 }, { 32, 16u << 20 },
		{ 2, 1u << 20 }, /* it said that 1 byte is 1 MiB */
		{ 1, 512u << 10 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_int_equal(cbt_chunk_span_bytes(rows[i][0], 65536),
				 rows[i][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_span),
		cmocka_unit_test(test_clear),
		cmocka_unit_test(test_middle_word),
		cmocka_unit_test(test_import),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
