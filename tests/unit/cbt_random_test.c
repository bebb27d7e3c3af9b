/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tracker against an oracle, through random scripts of writes, verbs,
 * resizes, clean closes and kills (SEED=n to repeat one).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cbt_world.h"
#include "seed.h"

static struct expected *pick(struct world *w, bool there)
{
	for (int tries = 0; tries < 30; tries++) {
		struct expected *e = &w->points[below(POINTS)];

		if (e->there == there)
			return e;
	}
	return NULL;
}

static void do_write(struct world *w)
{
	static uint8_t buf[1u << 20];
	uint64_t size = tide_disk_size(w->d);
	uint64_t length = 1 + below(below(8) ? 8192 : sizeof(buf));
	uint64_t offset;

	if (length > size)
		length = size;
	offset = below((uint32_t)(size - length + 1));
	switch (below(4)) {
	case 0:
		assert_int_equal(tide_disk_zero(w->d, offset, length, 0, NULL),
				 0);
		break;
	case 1:
		assert_int_equal(tide_disk_discard(w->d, offset, length, NULL),
				 0);
		break;
	default:
		assert_int_equal(tide_disk_write(w->d, offset, buf, length,
						 NULL), 0);
	}
	world_expect_dirty(w, offset, length);
}

static void do_create(struct world *w, bool bitmap)
{
	struct expected *e = pick(w, false);

	if (!e)
		return;
	snprintf(e->name, sizeof(e->name), "%s%u", bitmap ? "b" : "k",
		 w->names++);
	e->shift = 9 + (int)below(12);
	e->records = !bitmap || below(3);
	if (bitmap)
		assert_int_equal(cbt_bitmap_add(w->c, e->name,
						UINT64_C(1) << e->shift,
						e->records, NULL), 0);
	else
		assert_int_equal(cbt_checkpoint_create(&w->c, 1, e->name,
						       below(2), NULL), 0);
	e->there = true;
	memset(e->dirty, 0, 2 * UNITS);
}

static void do_remove(struct world *w)
{
	struct expected *e = pick(w, true);

	if (!e)
		return;
	if (*e->name == 'b')
		assert_int_equal(cbt_bitmap_remove(w->c, e->name, NULL), 0);
	else
		assert_int_equal(cbt_checkpoint_delete(w->c, e->name, NULL),
				 0);
	e->there = false;
}

static void do_bitmap(struct world *w)
{
	struct expected *e = pick(w, true), *from = pick(w, true);
	char name[24];

	if (!e || !from || *e->name != 'b')
		return;
	switch (below(4)) {
	case 0:
		assert_int_equal(cbt_bitmap_clear(w->c, e->name, NULL), 0);
		memset(e->dirty, 0, 2 * UNITS);
		break;
	case 1:
		e->records = !e->records;
		assert_int_equal(cbt_bitmap_enable(w->c, e->name, e->records,
						   NULL), 0);
		break;
	case 2:
		assert_int_equal(cbt_bitmap_merge(w->c, e->name, w->c,
						  from->name, NULL), 0);
		for (uint32_t i = 0; i < 2 * UNITS; i++)
			e->dirty[i] |= from->dirty[i];
		break;
	default:
		snprintf(name, sizeof(name), "b%u", w->names++);
		assert_int_equal(cbt_rename(w->c, e->name, name, NULL), 0);
		strcpy(e->name, name);
	}
}

static void do_resize(struct world *w)
{
	uint64_t size = tide_disk_size(w->d);
	uint64_t to = 512 * (uint64_t)(1 + below(UNITS));

	assert_int_equal(tide_disk_resize(w->d, to, NULL), 0);
	if (to > size)
		world_expect_dirty(w, size, to - size);
	for (int i = 0; i < POINTS; i++)
		memset(w->points[i].dirty + to / 512, 0, UNITS - to / 512);
}

static void step(struct world *w)
{
	uint32_t what = below(100);

	if (what < 70)
		do_write(w);
	else if (what < 76)
		do_create(w, below(2));
	else if (what < 80)
		do_remove(w);
	else if (what < 90)
		do_bitmap(w);
	else if (what < 92)
		do_resize(w);
	else if (what < 95)
		world_reopen(w, below(2));
	else
		world_check_all(w);
}

static void run_script(uint64_t seed, enum cbt_durability durability)
{
	struct world w;

	world_rng = seed;
	world_init(&w, 512 * (uint64_t)(1 + below(UNITS)));
	w.o.durability = durability;
	w.o.region_shift = 16 + below(5);
	w.o.bound_bytes = UINT64_C(8) << w.o.region_shift;
	w.o.shift = 9 + below(12);
	world_open(&w);
	for (int i = 0; i < 400; i++)
		step(&w);
	world_check_all(&w);
	assert_int_equal(tide_disk_close(w.d, NULL), 0);
	world_fini(&w);
}

static void test_random(void **state)
{
	uint64_t seed = seed_of("cbt", 11);

	(void)state;
	for (uint32_t i = 0; i < campaign(8, 60); i++)
		run_script(seed + i, i % 2 ? CBT_POWER : CBT_PROCESS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
