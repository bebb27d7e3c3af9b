/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/check/repair.h"
#include "qcow2/format/counts.h"

/* A repair may append; what would need more than this is an error to it. */
#define ROOM (1u << 16)

struct disk {
	struct qcow2_memory m;
	uint8_t *bytes;
	uint64_t room;
};

static int disk_write(void *opaque, uint64_t offset, const void *buf,
		      uint64_t bytes, struct tide_error *err)
{
	struct disk *d = opaque;

	if (offset > d->room || bytes > d->room - offset)
		return tide_error_set(err, -28, "fuzz", offset, "full");
	if (offset + bytes > d->m.size_bytes)
		__builtin_trap(); /* extend comes first */
	memcpy(d->bytes + offset, buf, bytes);
	return 0;
}

static int disk_sync(void *opaque, struct tide_error *err)
{
	(void)opaque;
	(void)err;
	return 0;
}

static int disk_extend(void *opaque, uint64_t size, struct tide_error *err)
{
	struct disk *d = opaque;

	if (size > d->room)
		return tide_error_set(err, -28, "fuzz", size, "full");
	d->m.size_bytes = size;
	return 0;
}

static uint64_t dangers(const struct qcow2_check *c)
{
	return qcow2_check_corruptions(c) - c->copied_harmless;
}

static int ask(struct qcow2_reader *r, struct qcow2_check *c)
{
	struct qcow2_header h;
	int ret = qcow2_header_read(r, 1, &h, NULL);

	if (ret)
		return ret;
	ret = qcow2_check(r, &h, NULL, NULL, c, NULL, NULL);
	qcow2_header_fini(&h);
	return ret;
}

static void ask_repair(const uint8_t *bytes, size_t size,
		       const struct qcow2_check *before, bool accept_loss)
{
	struct disk d = { .bytes = calloc(1, size + ROOM),
			  .room = size + ROOM };
	struct qcow2_writer w = { disk_write, disk_sync, disk_extend, &d };
	struct qcow2_repair_options o = { accept_loss };
	struct qcow2_reader r;
	struct qcow2_check after;
	int ret;

	if (!d.bytes)
		return;
	memcpy(d.bytes, bytes, size);
	d.m = (struct qcow2_memory){ d.bytes, size };
	qcow2_reader_memory(&r, &d.m, "fuzz");
	ret = qcow2_repair(&r, &w, &o, NULL, NULL, NULL);
	if (ask(&r, &after))
		__builtin_trap(); /* it could be checked before */
	if (!ret && dangers(&after) > dangers(before))
		__builtin_trap();
	free(d.bytes);
}

static int any_place(void *opaque, enum qcow2_section section, uint64_t offset,
		     uint64_t bytes, uint32_t owner)
{
	uint64_t size = *(uint64_t *)opaque;

	(void)owner;
	if (section >= QCOW2_SECTION_COUNT || offset >= size || !bytes)
		__builtin_trap();
	return 0;
}

void fuzz_lists(const struct qcow2_reader *r, const struct qcow2_header *h)
{
	struct qcow2_snapshots s;
	struct qcow2_bitmaps b;

	for (int tolerant = 0; tolerant < 2; tolerant++) {
		if (!qcow2_snapshots_read(r, h, tolerant, &s, NULL)) {
			if (s.broken && !tolerant)
				__builtin_trap();
			qcow2_snapshots_fini(&s);
		}
		if (!qcow2_bitmaps_read(r, h, tolerant, &b, NULL)) {
			if (b.broken && !tolerant)
				__builtin_trap();
			qcow2_bitmaps_fini(&b);
		}
	}
}

void fuzz_ask(const uint8_t *bytes, size_t size)
{
	struct qcow2_memory m = { bytes, size };
	struct qcow2_reader r;
	struct qcow2_header h;
	struct qcow2_check c;
	uint64_t limit = size;
	int walked;

	qcow2_reader_memory(&r, &m, "fuzz");
	if (qcow2_header_read(&r, 1, &h, NULL))
		return;
	fuzz_lists(&r, &h);
	walked = qcow2_layout_walk(&r, &h, any_place, &limit, NULL);
	if (!qcow2_check(&r, &h, NULL, NULL, &c, NULL, NULL)) {
		if (walked && !qcow2_check_corruptions(&c))
			__builtin_trap();
		if (c.lost_refs)
			ask_repair(bytes, size, &c, false);
		ask_repair(bytes, size, &c, true);
	}
	qcow2_header_fini(&h);
}

static void put_header(uint8_t *image, uint32_t order)
{
	struct qcow2_header h = {
		.version = 3, .cluster_bits = 9, .size_bytes = 128u << 10,
		.l1_entries = 4, .l1_offset = AT_L1 * FUZZ_CLUSTER,
		.reftable_offset = AT_REFTABLE * FUZZ_CLUSTER,
		.reftable_clusters = 1, .refcount_order = order,
		.header_bytes = 104, .snapshot_count = 1,
		.snapshots_offset = AT_SNAPSHOTS * FUZZ_CLUSTER,
		.autoclear = QCOW2_AUTOCLEAR_BITMAPS, .has_bitmaps = true,
		.bitmap_count = 1, .bitmap_directory_bytes = 32,
		.bitmap_directory_offset = AT_DIRECTORY * FUZZ_CLUSTER,
	};

	if (qcow2_header_encode(&h, image, FUZZ_CLUSTER, NULL))
		__builtin_trap();
}

static void put_lists(uint8_t *image)
{
	uint8_t *s = image + AT_SNAPSHOTS * FUZZ_CLUSTER;
	uint8_t *d = image + AT_DIRECTORY * FUZZ_CLUSTER;

	tide__put_be(s, AT_INACTIVE_L1 * FUZZ_CLUSTER, 8);
	tide__put_be(s + 8, 4, 4);
	tide__put_be(s + 12, 1, 2);
	tide__put_be(s + 14, 1, 2);
	tide__put_be(s + 36, 16, 4);
	tide__put_be(s + 48, 128u << 10, 8);
	memcpy(s + 56, "1s", 2);
	tide__put_be(d, AT_BITMAP * FUZZ_CLUSTER, 8);
	tide__put_be(d + 8, 1, 4);
	d[16] = 1;
	d[17] = 9;
	tide__put_be(d + 18, 1, 2);
	d[24] = 'b';
	tide__put_be(image + AT_BITMAP * FUZZ_CLUSTER,
		     AT_BITMAP_DATA * FUZZ_CLUSTER, 8);
}

/* Two tables are the disk's, one is shared, one is the snapshot's. */
static void put_tables(uint8_t *image)
{
	const uint64_t copied = 1ull << 63;
	uint8_t *l1 = image + AT_L1 * FUZZ_CLUSTER;
	uint8_t *old = image + AT_INACTIVE_L1 * FUZZ_CLUSTER;
	uint8_t *l2 = image + AT_L2 * FUZZ_CLUSTER;

	tide__put_be(l1, AT_L2 * FUZZ_CLUSTER | copied, 8);
	tide__put_be(l1 + 8, (AT_L2 + 1) * FUZZ_CLUSTER | copied, 8);
	tide__put_be(l1 + 16, (AT_L2 + 2) * FUZZ_CLUSTER, 8);
	tide__put_be(old, (AT_L2 + 3) * FUZZ_CLUSTER, 8);
	tide__put_be(old + 16, (AT_L2 + 2) * FUZZ_CLUSTER, 8);
	for (uint32_t i = 0; i < 40; i++)
		tide__put_be(l2 + i / 10 * FUZZ_CLUSTER + i % 10 * 8,
			     (AT_DATA + i) * FUZZ_CLUSTER |
				     (i < 20 ? copied : 0),
			     8);
}

static void put_counts(uint8_t *image, uint32_t order)
{
	uint32_t bits = 9 + 3 - order;
	uint32_t blocks = (FUZZ_CLUSTERS >> bits) + 1;
	uint64_t refs;

	/* The first block has its place; more would need another image. */
	if (blocks > 1)
		blocks = 1;
	tide__put_be(image + AT_REFTABLE * FUZZ_CLUSTER,
		     AT_REFBLOCK * FUZZ_CLUSTER, 8);
	for (uint32_t i = 0; i < FUZZ_CLUSTERS && i >> bits < blocks; i++) {
		refs = i < 9 || (i >= AT_INACTIVE_L1 && i != 12 && i != 15 &&
				 i < AT_DATA + 40);
		if (i == AT_L2 + 2 || (i >= AT_DATA + 20 && i < AT_DATA + 30))
			refs = order ? 2 : 1;
		qcow2_count_set(image + AT_REFBLOCK * FUZZ_CLUSTER, i, order,
				refs);
	}
}

static void must_be_clean(const uint8_t *image)
{
	struct qcow2_memory m = { image, FUZZ_BYTES };
	struct qcow2_reader r;
	struct qcow2_check c;

	qcow2_reader_memory(&r, &m, "fuzz");
	if (ask(&r, &c) || qcow2_check_corruptions(&c) ||
	    c.found[QCOW2_PROBLEM_LEAK])
		__builtin_trap();
}

void fuzz_image(uint8_t image[FUZZ_BYTES], uint32_t order)
{
	memset(image, 0, FUZZ_BYTES);
	put_header(image, order);
	put_lists(image);
	put_tables(image);
	put_counts(image, order);
	if (order == 4)
		must_be_clean(image);
}
