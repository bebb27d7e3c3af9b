/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The readers of snapshot table, bitmap directory and layout, on images that
 * the reference tool made, on such that were damaged on purpose, and on
 * random damage.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "qcow2/format/layout.h"
#include "qcow2_sample.h"
#include "seed.h"

struct image {
	struct qcow2_memory m;
	struct qcow2_reader r;
	struct qcow2_header h;
};

static void image_open(struct image *i, const char *name)
{
	struct tide_error err;

	memset(i, 0, sizeof(*i));
	i->m = sample_load(name);
	qcow2_reader_memory(&i->r, &i->m, name);
	assert_int_equal(qcow2_header_read(&i->r, true, &i->h, &err), 0);
}

static void image_close(struct image *i)
{
	qcow2_header_fini(&i->h);
	free((void *)i->m.bytes);
}

static void snapshot_list(void **state)
{
	struct qcow2_snapshots s;
	struct tide_error err;
	struct image i;
	char name[16];

	(void)state;
	image_open(&i, "snap-40");
	assert_int_equal(qcow2_snapshots_read(&i.r, &i.h, false, &s, &err), 0);
	assert_int_equal(s.count, 40);
	for (uint32_t k = 0; k < 40; k++) {
		snprintf(name, sizeof(name), "n%02u", k);
		assert_string_equal(s.items[k].name, name);
		assert_int_equal(s.items[k].disk_size_bytes, 2 << 20);
	}
	qcow2_snapshots_fini(&s);
	image_close(&i);
}

/* One entry's length is wrong: it is known from the entries around it. */
static void snapshot_length(void **state)
{
	struct qcow2_snapshots s;
	struct tide_error err;
	uint32_t guessed = 0;
	struct image i;
	char name[16];

	(void)state;
	image_open(&i, "bad-snapshot-idlen");
	assert_int_equal(qcow2_snapshots_read(&i.r, &i.h, false, &s, &err),
			 -EINVAL);
	assert_int_equal(qcow2_snapshots_read(&i.r, &i.h, true, &s, &err), 0);
	assert_false(s.broken);
	assert_int_equal(s.count, i.h.snapshot_count);
	for (uint32_t k = 0; k < s.count; k++) {
		snprintf(name, sizeof(name), "n%02u", k);
		assert_string_equal(s.items[k].name, name);
		assert_int_equal(atoi(s.items[k].id), k + 1);
		guessed += s.items[k].lengths_guessed;
	}
	assert_int_equal(guessed, 1);
	qcow2_snapshots_fini(&s);
	image_close(&i);
}

/* The file ends in the table: what is before that is kept. */
static void snapshot_broken(void **state)
{
	struct qcow2_snapshots s;
	struct tide_error err;
	struct image i;

	(void)state;
	image_open(&i, "snap-40");
	i.r.size_bytes = i.h.snapshots_offset + 1000;
	assert_int_equal(qcow2_snapshots_read(&i.r, &i.h, false, &s, &err),
			 -EINVAL);
	assert_int_equal(qcow2_snapshots_read(&i.r, &i.h, true, &s, &err), 0);
	assert_true(s.broken);
	assert_in_range(s.count, 10, 20);
	qcow2_snapshots_fini(&s);
	image_close(&i);
}

static void bitmap_list(void **state)
{
	struct qcow2_bitmaps b;
	struct tide_error err;
	struct image i;

	(void)state;
	image_open(&i, "bitmaps-4");
	assert_int_equal(qcow2_bitmaps_read(&i.r, &i.h, false, &b, &err), 0);
	assert_int_equal(b.count, i.h.bitmap_count);
	assert_false(b.broken);
	assert_string_equal(b.items[0].name, "g512");
	assert_int_equal(b.items[0].granularity_bits, 9);
	assert_string_equal(b.items[2].name, "g2m");
	assert_int_equal(b.items[2].granularity_bits, 21);
	qcow2_bitmaps_fini(&b);
	image_close(&i);
}

static void bitmap_name_size(void **state)
{
	struct qcow2_bitmaps b;
	struct tide_error err;
	struct image i;

	(void)state;
	image_open(&i, "bad-bitmap-name-size");
	assert_int_equal(qcow2_bitmaps_read(&i.r, &i.h, false, &b, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "'g512'"));
	assert_int_equal(qcow2_bitmaps_read(&i.r, &i.h, true, &b, &err), 0);
	assert_int_equal(b.count, 4);
	assert_int_equal(b.lost, 0);
	assert_string_equal(b.items[0].name, "g512");
	assert_string_equal(b.items[0].broken, "wrong name length");
	assert_null(b.items[1].broken);
	qcow2_bitmaps_fini(&b);
	image_close(&i);
}

static void bitmap_double(void **state)
{
	struct qcow2_bitmaps b;
	struct tide_error err;
	struct image i;
	uint32_t broken = 0;

	(void)state;
	image_open(&i, "bad-bitmap-dup-name");
	assert_int_equal(qcow2_bitmaps_read(&i.r, &i.h, true, &b, &err), 0);
	for (uint32_t k = 0; k < b.count; k++)
		broken += b.items[k].broken != NULL;
	assert_int_equal(b.count, 4);
	assert_int_equal(broken, 1);
	qcow2_bitmaps_fini(&b);
	image_close(&i);
}

struct tally {
	uint64_t file_bytes;
	uint64_t places[QCOW2_SECTION_COUNT];
};

static int count_place(void *opaque, enum qcow2_section section,
		       uint64_t offset, uint64_t bytes, uint32_t owner)
{
	struct tally *t = opaque;

	(void)owner;
	assert_true(section < QCOW2_SECTION_COUNT);
	assert_true(offset < t->file_bytes && bytes > 0);
	t->places[section]++;
	return 0;
}

static void layout_sections(void **state)
{
	struct tide_error err;
	struct tally t = { 0 };
	struct image i;

	(void)state;
	image_open(&i, "snap-40");
	t.file_bytes = i.m.size_bytes;
	assert_int_equal(qcow2_layout_walk(&i.r, &i.h, count_place, &t, &err),
			 0);
	assert_int_equal(t.places[QCOW2_SECTION_HEADER], 1);
	assert_int_equal(t.places[QCOW2_SECTION_L1], 1);
	assert_int_equal(t.places[QCOW2_SECTION_SNAPSHOT_TABLE], 1);
	assert_int_equal(t.places[QCOW2_SECTION_INACTIVE_L1], 40);
	assert_true(t.places[QCOW2_SECTION_INACTIVE_L2] > 0);
	assert_int_equal(t.places[QCOW2_SECTION_BITMAP_DATA], 0);
	image_close(&i);
	image_open(&i, "bitmaps-4");
	t = (struct tally){ .file_bytes = i.m.size_bytes };
	assert_int_equal(qcow2_layout_walk(&i.r, &i.h, count_place, &t, &err),
			 0);
	assert_int_equal(t.places[QCOW2_SECTION_BITMAP_TABLE], 4);
	assert_int_equal(t.places[QCOW2_SECTION_BITMAP_DIRECTORY], 1);
	assert_true(t.places[QCOW2_SECTION_BITMAP_DATA] > 0);
	image_close(&i);
}

/* An L1 entry that is no cluster is named by its place in the file. */
static void layout_refuses(void **state)
{
	struct tide_error err;
	struct tally t = { 0 };
	struct image i;

	(void)state;
	image_open(&i, "snap-40");
	t.file_bytes = i.m.size_bytes;
	tide__put_be((uint8_t *)i.m.bytes + i.h.l1_offset,
		     1ull << 63 | 1ull << 40, 8);
	assert_int_equal(qcow2_layout_walk(&i.r, &i.h, count_place, &t, &err),
			 -EINVAL);
	assert_int_equal(err.offset, i.h.l1_offset);
	assert_non_null(strstr(err.text, "past the end"));
	image_close(&i);
}

static int any_place(void *opaque, const struct qcow2_place *p)
{
	return count_place(opaque, p->section, p->offset_bytes,
			   p->length_bytes, p->owner);
}

static int any_defect(void *opaque, const struct qcow2_defect *d)
{
	(void)opaque;
	assert_non_null(d->why);
	return 0;
}

static int any_l2(void *opaque, const struct qcow2_l2_ref *ref,
		  const uint8_t *table)
{
	(void)opaque;
	(void)table;
	assert_true(ref->active + ref->inactive > 0);
	return 0;
}

/* Random damage where metadata lies: the walk ends, within the file. */
static void layout_noise(void **state)
{
	static const char *const names[] = { "snap-40", "bitmaps-4",
					     "snap2-v2", "c512-rb16-v3" };
	uint64_t rng = seed_of("layout", 11), at;
	struct qcow2_visitor v = { NULL, any_place, any_l2, any_defect };
	struct tide_error err;
	struct tally t;
	struct image i;
	uint8_t *bytes;

	(void)state;
	v.opaque = &t;
	for (int round = 0; round < 400; round++) {
		image_open(&i, names[round % 4]);
		bytes = (uint8_t *)i.m.bytes;
		t = (struct tally){ .file_bytes = i.m.size_bytes };
		for (int k = 0; k < 20; k++) {
			at = seed_below(&rng, i.m.size_bytes);
			if (k & 1)
				at = seed_below(&rng, 4096);
			if (k % 4 == 2)
				at = i.m.size_bytes - 1 -
				     seed_below(&rng, 4096);
			bytes[at] = (uint8_t)seed_next(&rng);
		}
		qcow2_header_fini(&i.h);
		if (!qcow2_header_read(&i.r, true, &i.h, &err))
			assert_int_equal(qcow2_visit(&i.r, &i.h, &v, &err), 0);
		image_close(&i);
	}
}

/* Found by fuzzing: an image of no size has no tables to sort. */
static void found_no_tables(void **state)
{
	static uint8_t bytes[4 * 512];
	struct qcow2_memory m = { bytes, sizeof(bytes) };
	struct qcow2_header h = {
		.version = 3, .cluster_bits = 9, .reftable_offset = 512,
		.reftable_clusters = 1, .refcount_order = 4,
		.header_bytes = 104,
	};
	struct tally t = { .file_bytes = sizeof(bytes) };
	struct tide_error err;
	struct qcow2_reader r;

	(void)state;
	assert_int_equal(qcow2_header_encode(&h, bytes, 512, &err), 0);
	qcow2_reader_memory(&r, &m, "x");
	assert_int_equal(qcow2_layout_walk(&r, &h, count_place, &t, &err), 0);
	assert_int_equal(t.places[QCOW2_SECTION_L2], 0);
	assert_int_equal(t.places[QCOW2_SECTION_REFCOUNT_TABLE], 1);
}

/* Found by fuzzing: a directory longer than its entries was "clean". */
static void found_trailing_directory(void **state)
{
	struct qcow2_visitor v = { NULL, any_place, NULL, any_defect };
	struct tide_error err;
	struct qcow2_bitmaps b;
	struct tally t;
	struct image i;

	(void)state;
	image_open(&i, "bitmaps-4");
	i.h.bitmap_count--;
	assert_int_equal(qcow2_bitmaps_read(&i.r, &i.h, false, &b, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "behind its last entry"));
	assert_int_equal(qcow2_bitmaps_read(&i.r, &i.h, true, &b, &err), 0);
	assert_true(b.broken && b.trailing);
	qcow2_bitmaps_fini(&b);
	t = (struct tally){ .file_bytes = i.m.size_bytes };
	v.opaque = &t;
	assert_int_equal(qcow2_visit(&i.r, &i.h, &v, &err), 0);
	image_close(&i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snapshot_list),
		cmocka_unit_test(snapshot_length),
		cmocka_unit_test(snapshot_broken),
		cmocka_unit_test(bitmap_list),
		cmocka_unit_test(bitmap_name_size),
		cmocka_unit_test(bitmap_double),
		cmocka_unit_test(layout_sections),
		cmocka_unit_test(layout_refuses),
		cmocka_unit_test(layout_noise),
		cmocka_unit_test(found_no_tables),
		cmocka_unit_test(found_trailing_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
