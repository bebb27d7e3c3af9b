/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Power cuts at every write to the store, with what was not synced dropped,
 * torn and reordered: what was written after a point was made is dirty.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cbt_world.h"
#include "seed.h"

/* What the store's file may be if power goes after @prefix world_records. */
static void make_cut(const struct world *w, size_t prefix)
{
	size_t synced = 0;
	int fd = open(w->store, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	for (size_t i = 0; i < prefix; i++)
		if (!world_records[i].bytes)
			synced = i;
	for (size_t i = 0; i < prefix; i++) {
		const struct record *r = &world_records[i];
		size_t from = 0, length = r->length;

		if (!r->bytes)
			continue;
		if (i > synced && !r->durable) {
			/* Dropped, or torn at a sector: front or back. */
			if (below(3) == 0)
				continue;
			if (below(3) == 0 && length > 512) {
				size_t at = 512 * below((uint32_t)length / 512);

				from = below(2) ? at : 0;
				length = from ? length - at : at;
			}
		}
		world_put(fd, r->bytes + from, length, r->offset + from);
	}
	close(fd);
}

/* What must be dirty after it, for a point that was there. */
static bool expect_after(const struct world *w, size_t prefix, int point,
			 uint8_t *dirty)
{
	bool there = false;

	memset(dirty, 0, UNITS);
	for (size_t i = 0; i < w->spy.count; i++) {
		const struct event *e = &w->spy.events[i];

		if (e->position > prefix)
			continue;
		if (e->point == point) {
			there = e->created;
			memset(dirty, 0, UNITS);
		} else if (e->point < 0 && there) {
			memset(dirty + e->start, 1, e->end - e->start);
		}
	}
	return there;
}

static void judge_cut(struct world *w, size_t prefix)
{
	static uint8_t must[UNITS], got[UNITS];
	uint64_t units = tide_disk_size(&w->spy.disk) / 512;
	struct tide_error err = { 0 };

	for (int k = 0; k < POINTS; k++) {
		char name[8];
		struct answer a = { got, 0 };

		if (!expect_after(w, prefix, k, must))
			continue;
		snprintf(name, sizeof(name), "k%d", k);
		memset(got, 0, UNITS);
		if (cbt_changes(w->c, name, NULL, 0, units * 512,
				world_take_run, &a, &err))
			fail_msg("prefix %zu: %s", prefix, err.text);
		for (uint64_t i = 0; i < units; i++)
			if (must[i] && !got[i])
				fail_msg("prefix %zu of %zu: %s lost block "
					 "%llu", prefix, world_record_count,
					 name,
					 (unsigned long long)i);
	}
}

/* Writes and checkpoints in power mode, all that reaches the store kept. */
static size_t play(struct world *w, uint32_t steps)
{
	static uint8_t buf[65536];
	bool there[POINTS] = { 0 };
	size_t first;

	world_recording = true;
	world_open(w);
	first = world_record_count;
	w->spy.keep = true;
	for (uint32_t i = 0; i < steps; i++) {
		int k = (int)below(POINTS);
		struct event e = { .point = k, .created = !there[k] };
		char name[8];

		if (below(12)) {
			uint64_t length = 512 * (1 + (uint64_t)below(128));
			uint64_t at = 512 * (uint64_t)below(UNITS - 128);

			assert_int_equal(tide_disk_write(w->d, at, buf, length,
							 NULL), 0);
			continue;
		}
		snprintf(name, sizeof(name), "k%d", k);
		if (there[k]) /* from here it may be gone */
			world_add_event(&w->spy, &e);
		if (there[k])
			assert_int_equal(cbt_checkpoint_delete(w->c, name,
							       NULL), 0);
		else
			assert_int_equal(cbt_checkpoint_create(&w->c, 1, name,
							       false, NULL),
					 0);
		if (!there[k]) /* from here it must be there */
			world_add_event(&w->spy, &e);
		there[k] = !there[k];
	}
	w->spy.keep = false;
	world_recording = false;
	return first;
}

static void cut_everywhere(uint64_t seed, uint32_t each)
{
	struct world w;
	size_t first, count;

	world_rng = seed;
	world_init(&w, MAX_BYTES);
	w.o.durability = CBT_POWER;
	w.o.region_shift = 16 + below(4);
	w.o.shift = 12 + below(5);
	w.o.bound_bytes = UINT64_C(6) << w.o.region_shift;
	first = play(&w, 150);
	world_kill(&w);
	count = world_record_count;
	for (size_t prefix = first; prefix <= count; prefix += each) {
		make_cut(&w, prefix);
		memset(w.boot, 8 + (int)(prefix & 1), 16);
		world_open(&w);
		judge_cut(&w, prefix);
		world_kill(&w);
	}
	world_forget_records();
	world_fini(&w);
}

static void test_power_cuts(void **state)
{
	uint64_t seed = seed_of("cbt", 11);

	(void)state;
	for (uint32_t i = 0; i < campaign(4, 20); i++)
		cut_everywhere(seed + i, campaign(3, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
