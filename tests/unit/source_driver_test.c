/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A source that the caller brings. The one here is made up: a guest whose
 * writes are numbers in an array. What the library asks of it, in which order,
 * and what it makes of every failure.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tidemark/source_driver.h"

#define PAGES 256u
#define BIG 4096u	/* of a struct from the future */

struct fake {
	bool written[PAGES];
	bool armed[PAGES];
	uint64_t rearmed_first, rearmed_count;
	unsigned int rearmed, watched, closed;
	uint32_t harvested[8];	/* ids, in order */
	unsigned int harvests;
	int fail_watch_id;	/* 0: none */
	int fail_harvest, fail_unwatch, fail_rearm;
	bool explain;
};

static int maybe(const struct fake *f, int ret, struct tide_error *err)
{
	return ret && f->explain ?
		       tide_error_set(err, ret, "fake", 7, "because") : ret;
}

static int watch(void *o, const struct tide_slot *slot, struct tide_error *err)
{
	struct fake *f = o;

	if (f->fail_watch_id && (uint32_t)f->fail_watch_id == slot->id)
		return maybe(f, -ENODEV, err);
	f->watched++;
	return 0;
}

static int unwatch(void *o, const struct tide_slot *slot,
		   struct tide_error *err)
{
	struct fake *f = o;

	(void)slot;
	f->watched--;
	return maybe(f, f->fail_unwatch, err);
}

/* All slots at once: what was written is reported and forgotten. */
static int harvest_all(void *o, struct tide_set *set, uint64_t *pages,
		       struct tide_error *err)
{
	struct fake *f = o;

	for (uint64_t p = 0; p < PAGES; p++) {
		if (!f->written[p])
			continue;
		f->written[p] = false;
		tide_set_mark(set, p);
		++*pages;
	}
	return maybe(f, f->fail_harvest, err);
}

static int harvest_slot(void *o, const struct tide_slot *slot,
			struct tide_set *set, uint64_t *pages,
			struct tide_error *err)
{
	uint64_t first = slot->gpa_bytes / TIDE_PAGE_BYTES;
	struct fake *f = o;

	f->harvested[f->harvests++ % 8] = slot->id;
	for (uint64_t p = first; p < first + slot->len_bytes / TIDE_PAGE_BYTES;
	     p++) {
		if (!f->written[p])
			continue;
		f->written[p] = false;
		tide_set_mark(set, p);
		++*pages;
	}
	return maybe(f, f->fail_harvest, err);
}

static int rearm(void *o, const struct tide_slot *slot, uint64_t first,
		 uint64_t count, struct tide_error *err)
{
	struct fake *f = o;

	assert_true(first >= slot->gpa_bytes / TIDE_PAGE_BYTES);
	assert_true(first + count <=
		    (slot->gpa_bytes + slot->len_bytes) / TIDE_PAGE_BYTES);
	if (!f->rearmed++)
		f->rearmed_first = first;
	f->rearmed_count += count;
	return maybe(f, f->fail_rearm, err);
}

static void close_it(void *o)
{
	((struct fake *)o)->closed++;
}

static const struct tide_source_driver by_slots = {
	sizeof(by_slots), "fake", watch, unwatch, NULL, harvest_slot, rearm,
	close_it,
};

static const struct tide_source_driver by_guest = {
	sizeof(by_guest), "fake", watch, unwatch, harvest_all, NULL, NULL, NULL,
};

struct world {
	struct fake fake;
	struct tide_slots *slots;
	struct tide_set *set;
	struct tide_source *source;
	struct tide_error err;
};

/* Slots 3 at pages 32 to 64, 1 at 64 to 96, 2 at 128 to 160. */
static void begin(struct world *w, const struct tide_source_driver *driver)
{
	static char memory[PAGES * TIDE_PAGE_BYTES]
	    __attribute__((aligned(TIDE_PAGE_BYTES)));
	const uint32_t id[] = { 3, 1, 2 }, first[] = { 32, 64, 128 };

	memset(w, 0, sizeof(*w));
	assert_int_equal(tide_slots_create(&w->slots, NULL), 0);
	for (int i = 0; i < 3; i++) {
		uint64_t at = (uint64_t)first[i] * TIDE_PAGE_BYTES;
		struct tide_slot s = { id[i], 0, at, 32 * TIDE_PAGE_BYTES,
				       memory + at };

		assert_int_equal(tide_slots_insert(w->slots, &s, NULL), 0);
	}
	assert_int_equal(tide_set_create(&w->set, PAGES, NULL), 0);
	assert_int_equal(tide_source_create_driver(&w->source, driver,
						   &w->fake, &w->err), 0);
}

static void end(struct world *w)
{
	tide_source_destroy(w->source);
	assert_int_equal(w->fake.watched, 0);
	tide_set_destroy(w->set);
	tide_slots_destroy(w->slots);
}

static void is_asked_in_order(void **state)
{
	const uint32_t order[] = { 3, 1, 2 };
	struct tide_source_stats stats;
	struct world w;

	(void)state;
	begin(&w, &by_slots);
	assert_int_equal(tide_source_start(w.source, w.slots, &w.err), 0);
	assert_int_equal(w.fake.watched, 3);
	w.fake.written[33] = w.fake.written[130] = true;
	assert_int_equal(tide_source_harvest(w.source, w.set, &w.err), 0);
	assert_int_equal(w.fake.harvests, 3);
	assert_memory_equal(w.fake.harvested, order, sizeof(order));
	assert_true(tide_set_is_dirty(w.set, 33));
	assert_true(tide_set_is_dirty(w.set, 130));
	assert_int_equal(tide_set_count(w.set), 2);
	/* Of pages 60 to 140 those in slots, cut where they end. */
	assert_int_equal(tide_source_rearm(w.source, 60, 80, &w.err), 0);
	assert_int_equal(w.fake.rearmed, 3);
	assert_int_equal(w.fake.rearmed_first, 60);
	assert_int_equal(w.fake.rearmed_count, 4 + 32 + 12);
	tide_source_get_stats(w.source, &stats);
	assert_int_equal(stats.pages, 2);
	assert_int_equal(stats.harvests, 1);
	assert_int_equal(stats.assumed_dirty, 0);
	assert_int_equal(tide_source_stop(w.source, &w.err), 0);
	assert_int_equal(w.fake.watched, 0);
	assert_int_equal(w.fake.closed, 0);
	end(&w);
	assert_int_equal(w.fake.closed, 1);
}

static void may_know_of_all_slots_at_once(void **state)
{
	struct tide_slot s;
	struct world w;

	(void)state;
	begin(&w, &by_guest);
	assert_int_equal(tide_source_start(w.source, w.slots, &w.err), 0);
	w.fake.written[64] = true;
	assert_int_equal(tide_source_harvest(w.source, w.set, &w.err), 0);
	assert_int_equal(tide_set_count(w.set), 1);
	assert_int_equal(tide_source_rearm(w.source, 64, 1, &w.err), 0);
	/* A slot that comes or goes is marked whole by the library. */
	assert_true(tide_slots_find_id(w.slots, 2, &s));
	assert_int_equal(tide_source_slot_removing(w.source, &s, w.set,
						   &w.err), 0);
	assert_int_equal(w.fake.watched, 2);
	assert_int_equal(tide_set_count(w.set), 1 + 32);
	assert_int_equal(tide_source_slot_removing(w.source, &s, w.set,
						   &w.err), -ENOENT);
	assert_int_equal(tide_source_ring_full(w.source, w.set, &w.err),
			 -EINVAL);
	end(&w);
}

static void loses_nothing_when_it_fails(void **state)
{
	struct tide_source_stats stats;
	struct world w;

	(void)state;
	for (int round = 0; round < 3; round++) {
		begin(&w, round ? &by_guest : &by_slots);
		assert_int_equal(tide_source_start(w.source, w.slots, &w.err),
				 0);
		/* A positive code is an error, too. */
		w.fake.fail_harvest = round == 2 ? 5 : -ENXIO;
		w.fake.explain = round == 1;
		assert_int_equal(tide_source_harvest(w.source, w.set, &w.err),
				 round == 2 ? -EIO : -ENXIO);
		if (round == 1)
			assert_string_equal(w.err.text, "because");
		else
			assert_non_null(strstr(w.err.text, "of source fake"));
		assert_int_equal(tide_set_count(w.set), 3 * 32);
		tide_source_get_stats(w.source, &stats);
		assert_int_equal(stats.assumed_dirty, 3 * 32);
		end(&w);
	}
	begin(&w, &by_slots);
	assert_int_equal(tide_source_start(w.source, w.slots, &w.err), 0);
	w.fake.fail_rearm = -EIO;
	assert_int_equal(tide_source_rearm(w.source, 32, 1, &w.err), -EIO);
	w.fake.fail_unwatch = -EBUSY;
	assert_int_equal(tide_source_stop(w.source, &w.err), -EBUSY);
	assert_non_null(strstr(w.err.text, "unwatch"));
	end(&w);
}

static void starts_all_or_nothing(void **state)
{
	struct world w;

	(void)state;
	begin(&w, &by_slots);
	w.fake.fail_watch_id = 2;
	assert_int_equal(tide_source_start(w.source, w.slots, &w.err), -ENODEV);
	assert_int_equal(w.fake.watched, 0);
	w.fake.fail_watch_id = 0;
	assert_int_equal(tide_source_start(w.source, w.slots, &w.err), 0);
	assert_int_equal(tide_source_start(w.source, w.slots, &w.err), -EBUSY);
	end(&w);
}

static void refused(const struct tide_source_driver *driver, const char *why)
{
	struct tide_source *source = (void *)1;
	struct fake fake = { 0 };
	struct tide_error err;

	assert_int_equal(tide_source_create_driver(&source, driver, &fake,
						   &err), -EINVAL);
	assert_non_null(strstr(err.text, why));
	assert_ptr_equal(source, (void *)1);
	assert_int_equal(fake.closed, 0);
}

static void is_refused_when_incomplete(void **state)
{
	struct tide_source_driver d = by_slots;

	(void)state;
	d.watch = NULL;
	refused(&d, "watch");
	d = by_slots;
	d.unwatch = NULL;
	refused(&d, "unwatch");
	d = by_slots;
	d.name = NULL;
	refused(&d, "name");
	d = by_slots;
	d.harvest_slot = NULL;
	refused(&d, "harvest");
	d = by_slots;
	d.struct_size = 0;
	refused(&d, "struct_size");
	d.struct_size = sizeof(d) - 1;
	refused(&d, "struct_size");
}

/* A caller of another version: of the driver, and of what is said of the VM. */
static void takes_structs_of_other_versions(void **state)
{
	union {
		struct tide_source_driver driver;
		struct tide_source_vm vm;
		char bytes[BIG];
	} big = { .driver = by_slots };
	struct tide_source *source;
	struct fake fake = { 0 };
	struct tide_error err;
	int ret;

	(void)state;
	big.driver.struct_size = BIG;
	assert_int_equal(tide_source_create_driver(&source, &big.driver, &fake,
						   &err), 0);
	tide_source_destroy(source);
	assert_int_equal(fake.closed, 1);
	big.bytes[BIG - 1] = 1;
	refused(&big.driver, "does not know");

	memset(&big, 0, sizeof(big));
	big.vm.vm_fd = -1;
	big.vm.struct_size = 8;
	assert_int_equal(tide_source_create(&source, TIDE_SOURCE_UFFD, &big.vm,
					    &err), -EINVAL);
	big.vm.struct_size = BIG;
	big.bytes[sizeof(big.vm)] = 1;
	assert_int_equal(tide_source_create(&source, TIDE_SOURCE_UFFD, &big.vm,
					    &err), -EINVAL);
	big.bytes[sizeof(big.vm)] = 0;
	ret = tide_source_create(&source, TIDE_SOURCE_UFFD, &big.vm, &err);
	assert_int_not_equal(ret, -EINVAL);
	if (!ret)
		tide_source_destroy(source);
	/* It is no kind to be made by number. */
	assert_int_equal(tide_source_create(&source, TIDE_SOURCE_DRIVER,
					    &big.vm, &err), -EINVAL);
	assert_string_equal(tide_source_kind_name(TIDE_SOURCE_DRIVER), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_asked_in_order),
		cmocka_unit_test(may_know_of_all_slots_at_once),
		cmocka_unit_test(loses_nothing_when_it_fails),
		cmocka_unit_test(starts_all_or_nothing),
		cmocka_unit_test(is_refused_when_incomplete),
		cmocka_unit_test(takes_structs_of_other_versions),
	};

	return cmocka_run_group_tests_name("source_driver", tests, NULL, NULL);
}
