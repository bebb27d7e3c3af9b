/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qcow2 headers: what is encoded parses back to the same fields, and every
 * field out of bounds is refused with its offset in the file.
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
#include "qcow2/format/header.h"
#include "seed.h"

#define CLUSTER 65536u
#define FILE_BYTES (1ull << 30)

static struct qcow2_header sample(void)
{
	return (struct qcow2_header){
		.version = 3, .cluster_bits = 16, .size_bytes = 64ull << 20,
		.l1_entries = 1, .l1_offset = 3 * CLUSTER,
		.reftable_offset = CLUSTER, .reftable_clusters = 1,
		.refcount_order = 4, .header_bytes = 112,
	};
}

static int parse(const uint8_t *bytes, struct qcow2_header *h,
		 struct tide_error *err)
{
	return qcow2_header_parse("x.qcow2", bytes, CLUSTER, FILE_BYTES, h,
				  err);
}

static void round_trip(void **state)
{
	static uint8_t a[CLUSTER], b[CLUSTER];
	static uint8_t unknown[13] = "thirteen byte";
	struct qcow2_extension kept = { 0x1234, 13, unknown };
	struct qcow2_header h = sample(), back;
	struct tide_error err;

	(void)state;
	h.extensions = &kept;
	h.extension_count = 1;
	h.backing_name = (char *)"base.qcow2";
	h.backing_format = (char *)"qcow2";
	h.data_file = (char *)"raw.data";
	h.tail = unknown;
	h.tail_bytes = 8;
	h.autoclear = QCOW2_AUTOCLEAR_BITMAPS | 1ull << 40;
	h.compatible = 1ull << 33 | QCOW2_COMPAT_LAZY_REFCOUNTS;
	h.incompatible = QCOW2_INCOMPAT_COMPRESSION;
	h.compression = QCOW2_COMPRESSION_ZSTD;
	h.has_bitmaps = true;
	h.bitmap_count = 3;
	h.bitmap_directory_bytes = 96;
	h.bitmap_directory_offset = 10 * CLUSTER;
	h.has_luks = true;
	h.luks_offset = 20 * CLUSTER;
	h.luks_bytes = 4096;
	h.crypt_method = QCOW2_CRYPT_LUKS;
	assert_int_equal(qcow2_header_encode(&h, a, CLUSTER, &err), 0);
	assert_int_equal(parse(a, &back, &err), 0);
	assert_string_equal(back.backing_name, "base.qcow2");
	assert_string_equal(back.backing_format, "qcow2");
	assert_string_equal(back.data_file, "raw.data");
	assert_int_equal(back.bitmap_count, 3);
	assert_int_equal(back.luks_bytes, 4096);
	assert_int_equal(back.autoclear, h.autoclear);
	assert_int_equal(back.compression, QCOW2_COMPRESSION_ZSTD);
	assert_int_equal(back.tail_bytes, 8);
	assert_int_equal(back.extension_count, 5);
	assert_memory_equal(back.extensions[0].data, unknown, 13);
	assert_int_equal(qcow2_header_encode(&back, b, CLUSTER, &err), 0);
	assert_memory_equal(a, b, CLUSTER);
	/* A bitmaps extension whose bit is clear is void, and left out. */
	qcow2_header_fini(&back);
	a[95] = 0;
	assert_int_equal(parse(a, &back, &err), 0);
	assert_false(back.has_bitmaps);
	qcow2_header_fini(&back);
}

static void does_not_fit(void **state)
{
	struct qcow2_header h = sample();
	struct tide_error err;
	uint8_t out[512];
	char name[401];

	(void)state;
	memset(name, 'n', 400);
	name[400] = 0;
	h.backing_name = name;
	assert_int_equal(qcow2_header_encode(&h, out, 512, &err), -ENOSPC);
	name[392] = 0;
	assert_int_equal(qcow2_header_encode(&h, out, 512, &err), 0);
}

/* One field of a good header changed: what must be said of it, and where. */
static const struct {
	const char *name;
	unsigned int at, bytes;
	uint64_t value;
	int code;
	unsigned int blamed;
} damages[] = {
	{ "magic", 0, 4, 0x514649fa, -EINVAL, 0 },
	{ "version 4", 4, 4, 4, -ENOTSUP, 4 },
	{ "backing name outside", 8, 8, 0x10001, -EINVAL, 8 },
	{ "cluster bits 8", 20, 4, 8, -EINVAL, 20 },
	{ "cluster bits 40", 20, 4, 40, -EINVAL, 20 },
	{ "size 2^63", 24, 8, 1ull << 63, -EINVAL, 24 },
	{ "size beyond L1", 24, 8, (512ull << 20) + 1, -EINVAL, 24 },
	{ "crypt 3", 32, 4, 3, -ENOTSUP, 32 },
	{ "LUKS without header", 32, 4, 2, -EINVAL, 32 },
	{ "l1 entries", 36, 4, 0x7fffffff, -EINVAL, 36 },
	{ "l1 unaligned", 40, 8, 0x30200, -EINVAL, 40 },
	{ "l1 past the end", 40, 8, FILE_BYTES, -EINVAL, 40 },
	{ "l1 offset 2^63", 40, 8, 1ull << 63, -EINVAL, 40 },
	{ "reftable unaligned", 48, 8, 0x10008, -EINVAL, 48 },
	{ "reftable of 0", 56, 4, 0, -EINVAL, 56 },
	{ "reftable of 16 MiB", 56, 4, 256, -EINVAL, 56 },
	{ "reftable of 8 MiB and a cluster", 56, 4, 129, -EINVAL, 56 },
	{ "snapshots", 60, 4, 65537, -EINVAL, 60 },
	{ "snapshots at 0", 60, 4, 1, -EINVAL, 64 },
	{ "feature bit 40", 72, 8, 1ull << 40, -ENOTSUP, 72 },
	{ "refcount order", 96, 4, 7, -EINVAL, 96 },
	{ "header length 100", 100, 4, 100, -EINVAL, 100 },
	{ "header length odd", 100, 4, 109, -EINVAL, 100 },
	{ "header length huge", 100, 4, 0xfffffff8, -EINVAL, 100 },
	{ "compression unasked", 104, 1, 1, -EINVAL, 104 },
	{ "extension too long", 112, 8, 0x12340000fff0, -EINVAL, 112 },
};

static void damaged(void **state)
{
	static uint8_t bytes[CLUSTER];
	struct qcow2_header h = sample(), out;
	struct tide_error err;

	(void)state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		assert_int_equal(qcow2_header_encode(&h, bytes, CLUSTER, NULL),
				 0);
		tide__put_be(bytes + damages[i].at, damages[i].value,
			     damages[i].bytes);
		print_message("# %s\n", damages[i].name);
		assert_int_equal(parse(bytes, &out, &err), damages[i].code);
		assert_int_equal(err.offset, damages[i].blamed);
		assert_non_null(strstr(err.text, "x.qcow2"));
	}
}

/* The longest refcount table that is taken, 8 MiB. */
static void at_the_edge(void **state)
{
	static uint8_t bytes[CLUSTER];
	struct qcow2_header h = sample(), out;
	struct tide_error err;

	(void)state;
	assert_int_equal(qcow2_header_encode(&h, bytes, CLUSTER, &err), 0);
	tide__put_be(bytes + 56, 128, 4);
	assert_int_equal(parse(bytes, &out, &err), 0);
	assert_int_equal(out.reftable_clusters, 128);
	qcow2_header_fini(&out);
}

/* The image's own table names the feature that we do not know. */
static void feature_named(void **state)
{
	static uint8_t bytes[CLUSTER];
	uint8_t table[48] = { 0, 9, 't', 'i', 'd', 'e', 's' };
	struct qcow2_extension e = { QCOW2_EXT_FEATURE_NAMES, 48, table };
	struct qcow2_header h = sample(), out;
	struct tide_error err;

	(void)state;
	h.extensions = &e;
	h.extension_count = 1;
	h.incompatible = 1 << 9;
	assert_int_equal(qcow2_header_encode(&h, bytes, CLUSTER, &err), 0);
	assert_int_equal(parse(bytes, &out, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "bit 9 (tides)"));
}

static void tolerant(void **state)
{
	static uint8_t bytes[CLUSTER];
	struct qcow2_header h = sample(), out;
	struct tide_error err;

	(void)state;
	h.reftable_clusters = 0;
	h.snapshot_count = 70000;
	h.autoclear = 1;
	h.has_bitmaps = true;
	assert_int_equal(qcow2_header_encode(&h, bytes, CLUSTER, &err), 0);
	assert_int_equal(parse(bytes, &out, &err), -EINVAL);
	assert_int_equal(qcow2_header_parse_tolerant(
				 "x", bytes, CLUSTER, FILE_BYTES, &out, &err),
			 0);
	assert_int_equal(out.flaws, 7);
	assert_int_equal(err.code, -EINVAL);
	assert_non_null(strstr(err.text, "bitmaps extension"));
	qcow2_header_fini(&out);
}

/* Found by fuzzing: an empty backing format, and then another one. */
static void found_format_twice(void **state)
{
	static uint8_t bytes[CLUSTER];
	struct qcow2_header h = sample(), out;
	struct tide_error err;

	(void)state;
	assert_int_equal(qcow2_header_encode(&h, bytes, CLUSTER, &err), 0);
	tide__put_be(bytes + 112, QCOW2_EXT_BACKING_FORMAT, 4);
	tide__put_be(bytes + 120, QCOW2_EXT_BACKING_FORMAT, 4);
	tide__put_be(bytes + 124, 3, 4);
	memcpy(bytes + 128, "raw", 3);
	assert_int_equal(parse(bytes, &out, &err), -EINVAL);
	assert_int_equal(err.offset, 128);
}

/* Any bytes: parse ends, and what it accepts encodes and parses again. */
static void noise(void **state)
{
	static uint8_t bytes[4096], again[CLUSTER * 32];
	struct qcow2_header h = sample(), a, b;
	uint64_t rng = seed_of("noise", 5), accepted = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		memset(bytes, 0, sizeof(bytes));
		assert_int_equal(qcow2_header_encode(&h, bytes, 4096, NULL), 0);
		for (int i = 0; i < 3; i++)
			bytes[seed_next(&rng) % 160] =
				(uint8_t)seed_next(&rng);
		if (qcow2_header_parse_tolerant("x", bytes,
						seed_next(&rng) % 4097,
						FILE_BYTES, &a, NULL))
			continue;
		accepted++;
		if (!qcow2_header_encode(&a, again, 1u << a.cluster_bits,
					 NULL)) {
			assert_int_equal(qcow2_header_parse_tolerant(
						 "x", again,
						 1u << a.cluster_bits,
						 FILE_BYTES, &b, NULL),
					 0);
			assert_int_equal(a.l1_entries, b.l1_entries);
			assert_int_equal(a.autoclear & ~1ull,
					 b.autoclear & ~1ull);
			qcow2_header_fini(&b);
		}
		qcow2_header_fini(&a);
	}
	assert_true(accepted > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(does_not_fit),
		cmocka_unit_test(damaged),
		cmocka_unit_test(at_the_edge),
		cmocka_unit_test(feature_named),
		cmocka_unit_test(tolerant),
		cmocka_unit_test(found_format_twice),
		cmocka_unit_test(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
