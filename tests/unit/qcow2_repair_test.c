/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Repair when the power goes: whatever prefix of its writes reached the disk,
 * and whatever part of what was written since the last sync, the image is no
 * more corrupt than it was, and a second repair ends clean.
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
#include "qcow2/check/repair.h"
#include "qcow2_sample.h"
#include "seed.h"

struct op {
	uint64_t offset, bytes; /* bytes 0: extend to offset */
	uint8_t *data;
	unsigned int epoch; /* how many syncs came before */
};

#define MAX_OPS 4096

struct disk {
	struct qcow2_memory m;
	struct qcow2_reader r;
	struct op ops[MAX_OPS];
	unsigned int op_count, syncs;
	int fail_at; /* this write fails, -1: none */
};

static void disk_init(struct disk *d, const struct qcow2_memory *from)
{
	uint8_t *bytes = calloc(1, SAMPLE_MAX_BYTES);

	memset(d, 0, sizeof(*d));
	assert_non_null(bytes);
	memcpy(bytes, from->bytes, from->size_bytes);
	d->m = (struct qcow2_memory){ bytes, from->size_bytes };
	qcow2_reader_memory(&d->r, &d->m, "x");
	d->fail_at = -1;
}

static void disk_fini(struct disk *d)
{
	for (unsigned int i = 0; i < d->op_count; i++)
		free(d->ops[i].data);
	free((void *)d->m.bytes);
}

static void apply(struct disk *d, const struct op *o)
{
	uint64_t end = o->offset + o->bytes;

	assert_true(end <= SAMPLE_MAX_BYTES);
	if (o->bytes)
		memcpy((uint8_t *)d->m.bytes + o->offset, o->data, o->bytes);
	if (end > d->m.size_bytes)
		d->m.size_bytes = end;
	d->r.size_bytes = d->m.size_bytes;
}

static int record(struct disk *d, uint64_t offset, const void *buf,
		  uint64_t bytes, struct tide_error *err)
{
	struct op *o = &d->ops[d->op_count];

	if ((int)d->op_count == d->fail_at)
		return tide_error_set(err, -EIO, "test", offset, "no luck");
	assert_true(d->op_count < MAX_OPS);
	o->offset = offset;
	o->bytes = bytes;
	o->epoch = d->syncs;
	if (bytes) {
		o->data = malloc(bytes);
		assert_non_null(o->data);
		memcpy(o->data, buf, bytes);
	}
	d->op_count++;
	apply(d, o);
	return 0;
}

/* As a file is: what is written behind the end must have been made room for. */
static int mem_write(void *opaque, uint64_t offset, const void *buf,
		     uint64_t bytes, struct tide_error *err)
{
	assert_true(offset + bytes <= ((struct disk *)opaque)->m.size_bytes);
	return record(opaque, offset, buf, bytes, err);
}

static int mem_sync(void *opaque, struct tide_error *err)
{
	struct disk *d = opaque;

	(void)err;
	d->syncs++;
	return 0;
}

static int mem_extend(void *opaque, uint64_t size_bytes,
		      struct tide_error *err)
{
	return record(opaque, size_bytes, NULL, 0, err);
}

/* What endangers data: a missing COPIED flag only costs a copy. */
static uint64_t dangers(struct disk *d, bool all)
{
	struct qcow2_header h;
	struct qcow2_check c;
	struct tide_error err;

	assert_int_equal(qcow2_header_read(&d->r, 1, &h, &err), 0);
	assert_int_equal(qcow2_check(&d->r, &h, NULL, NULL, &c, NULL, &err),
			 0);
	qcow2_header_fini(&h);
	return qcow2_check_corruptions(&c) - (all ? 0 : c.copied_harmless);
}

static uint64_t corruptions(struct disk *d)
{
	return dangers(d, true);
}

static int repair(struct disk *d, struct tide_error *err)
{
	struct qcow2_writer w = { mem_write, mem_sync, mem_extend, d };
	struct qcow2_repair_options options = { .accept_loss = true };

	return qcow2_repair(&d->r, &w, &options, NULL, NULL, err);
}

/* Entry @i of the first L2 table; @value 0: that table itself. */
static void bend(struct qcow2_memory *m, uint64_t i, uint64_t value)
{
	uint8_t *b = (uint8_t *)m->bytes;
	uint64_t l1 = tide__get_be(b + 40, 8);
	uint64_t l2 = tide__get_be(b + l1, 8) & QCOW2_OFFSET_MASK;

	assert_true(l2 && l2 + 8 * i + 8 <= m->size_bytes);
	tide__put_be(b + l2 + 8 * i, value ? value : 1ull << 63 | l2, 8);
}

/*
 * A sample, or one that is bent: an entry that names its own table, one that
 * cannot be followed, one with reserved bits.
 */
static struct qcow2_memory start_of(const char *name)
{
	struct qcow2_memory m;

	if (strcmp(name, "bent"))
		return sample_load(name);
	m = sample_load("snap-40");
	bend(&m, 5, 0);
	bend(&m, 7, 1ull << 63 | 0x200);
	bend(&m, 9, 1ull << 63 | 1ull << 58);
	return m;
}

static const char *const samples[] = {
	"lazy-killed",	      "bad-bitmap-name-size", "bad-bitmap-dup-name",
	"bad-snapshot-idlen", "bad-l1-to-reftable",   "bad-shared-cluster",
	"bad-refcount-high",  "bent",
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

/* Ops before @cut, and of those since the sync before it only some. */
static void crash(const struct qcow2_memory *start, const struct disk *whole,
		  unsigned int cut, uint64_t *rng, uint64_t max)
{
	unsigned int epoch = cut ? whole->ops[cut - 1].epoch : 0;
	struct disk d;
	struct tide_error err;

	disk_init(&d, start);
	for (unsigned int i = 0; i < cut; i++)
		if (!rng || whole->ops[i].epoch < epoch || seed_next(rng) & 1)
			apply(&d, &whole->ops[i]);
	assert_true(dangers(&d, false) <= max);
	assert_int_equal(repair(&d, &err), 0);
	assert_int_equal(corruptions(&d), 0);
	disk_fini(&d);
}

static void crashes(void **state)
{
	uint64_t rng = seed_of("crashes", 3), max;
	struct qcow2_memory start;
	static struct disk whole;
	struct tide_error err;

	(void)state;
	for (size_t s = 0; s < SAMPLES; s++) {
		start = start_of(samples[s]);
		disk_init(&whole, &start);
		max = corruptions(&whole);
		assert_int_equal(repair(&whole, &err), 0);
		assert_int_equal(corruptions(&whole), 0);
		print_message("# %s: %u writes, %u syncs\n", samples[s],
			      whole.op_count, whole.syncs);
		assert_true(whole.op_count > 0);
		for (unsigned int cut = 0; cut <= whole.op_count; cut++) {
			crash(&start, &whole, cut, NULL, max);
			for (int k = 0; k < 4; k++)
				crash(&start, &whole, cut, &rng, max);
		}
		disk_fini(&whole);
		free((void *)start.bytes);
	}
}

/* Each write fails once: the error comes out, the image is no worse. */
static void failing_writes(void **state)
{
	struct qcow2_memory start;
	static struct disk d;
	struct tide_error err;
	uint64_t max;
	int ret;

	(void)state;
	for (size_t s = 0; s < SAMPLES; s++) {
		start = start_of(samples[s]);
		for (int at = 0;; at++) {
			disk_init(&d, &start);
			max = corruptions(&d);
			d.fail_at = at;
			ret = repair(&d, &err);
			if (ret)
				assert_int_equal(ret, -EIO);
			assert_true(dangers(&d, false) <= max);
			disk_fini(&d);
			if (!ret)
				break;
		}
		free((void *)start.bytes);
	}
}

/* Found by fuzzing: a table that the end of the file cuts is repaired. */
static void found_cut_table(void **state)
{
	struct qcow2_memory start = sample_load("bad-l1-to-reftable");
	static struct disk d;
	struct tide_error err;

	(void)state;
	/* The L1 entry of old, and the file ends within its table. */
	((uint8_t *)start.bytes)[3 * 65536 + 5] = 4;
	start.size_bytes = 4 * 65536 + 1000;
	disk_init(&d, &start);
	assert_true(corruptions(&d) > 0);
	assert_int_equal(repair(&d, &err), 0);
	assert_int_equal(corruptions(&d), 0);
	disk_fini(&d);
	free((void *)start.bytes);
}

/* A good image is not written to. */
static void nothing_to_do(void **state)
{
	static const char *const good[] = { "snap-40", "snap2-v2", "bitmaps-4",
					    "extl2-c64k", "c4k-rb1-v3" };
	struct qcow2_memory start;
	static struct disk d;
	struct tide_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		start = sample_load(good[i]);
		disk_init(&d, &start);
		assert_int_equal(repair(&d, &err), 0);
		assert_int_equal(d.op_count, 0);
		disk_fini(&d);
		free((void *)start.bytes);
	}
}

/* Random damage of metadata: repair ends, and is no worse. */
static void noise(void **state)
{
	uint64_t rng = seed_of("noise", 17), at, max;
	struct qcow2_memory start;
	static struct disk d;
	struct qcow2_header h;
	struct tide_error err;
	unsigned int clean = 0;

	(void)state;
	for (int round = 0; round < 300; round++) {
		start = sample_load(round & 1 ? "bitmaps-4" : "snap-40");
		disk_init(&d, &start);
		for (int k = 0; k < 6; k++) {
			at = seed_below(&rng, k & 1 ? 65536 * 5 :
						      start.size_bytes);
			if (at < start.size_bytes && at >= 104)
				((uint8_t *)d.m.bytes)[at] =
					(uint8_t)seed_next(&rng);
		}
		if (!qcow2_header_read(&d.r, 1, &h, &err)) {
			qcow2_header_fini(&h);
			max = corruptions(&d);
			if (!repair(&d, &err))
				assert_true(corruptions(&d) <= max);
			clean += corruptions(&d) == 0;
		}
		disk_fini(&d);
		free((void *)start.bytes);
	}
	print_message("# clean after repair: %u\n", clean);
	assert_true(clean > 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crashes),
		cmocka_unit_test(failing_writes),
		cmocka_unit_test(found_cut_table),
		cmocka_unit_test(nothing_to_do),
		cmocka_unit_test(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
