/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bitmaps in QEMU's migration stream: what is written is read as it was, at
 * every granularity and for disks that end anywhere; and what is cut off, or
 * has a byte that is another, is refused or read without harm.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bitmaps/stream.h"
#include "seed.h"

static void name_it(struct stream_bitmap *b, const char *node, int n)
{
	snprintf(b->node, sizeof(b->node), "%s", node);
	snprintf(b->name, sizeof(b->name), "bitmap-%d", n);
}

static void make(struct stream_bitmap *b, uint64_t size, uint32_t shift,
		 uint64_t *seed)
{
	uint64_t bits = cbt_bits_of(size, shift);

	b->size_bytes = size;
	assert_int_equal(cbt_image_init(&b->bits, bits, shift), 0);
	for (uint64_t n = seed_next(seed) % 40; n; n--) {
		uint64_t at = seed_next(seed) % bits;

		assert_int_equal(cbt_image_set(&b->bits, at, at + 1 +
					       seed_next(seed) % 9000), 0);
	}
}

/* Written to memory, malloc'd. */
static char *written(const struct stream_bitmaps *all, size_t *bytes)
{
	char *buf = NULL;
	FILE *to = open_memstream(&buf, bytes);

	assert_non_null(to);
	assert_int_equal(stream_write(to, "none", all, NULL), 0);
	assert_int_equal(fclose(to), 0);
	return buf;
}

static int read_back(char *buf, size_t bytes, struct stream_bitmaps *out,
		     struct tide_error *err)
{
	FILE *from = fmemopen(buf, bytes, "rb");
	int ret;

	assert_non_null(from);
	ret = stream_read(from, "memory", out, err);
	fclose(from);
	return ret;
}

static void same(const struct stream_bitmap *a, const struct stream_bitmap *b)
{
	uint64_t sectors = (a->size_bytes + 511) / 512;

	assert_string_equal(a->name, b->name);
	assert_string_equal(a->node, b->node);
	assert_int_equal(a->enabled, b->enabled);
	assert_int_equal(a->persistent, b->persistent);
	assert_int_equal(b->size_bytes, sectors * 512);
	assert_int_equal(a->bits.shift, b->bits.shift);
	assert_int_equal(a->bits.bits, b->bits.bits);
	for (size_t i = 0; i < a->bits.page_count; i++) {
		static const struct cbt_page none;
		const struct cbt_page *x = a->bits.pages[i];
		const struct cbt_page *y = b->bits.pages[i];

		assert_memory_equal((x ? x : &none)->words,
				    (y ? y : &none)->words, CBT_PAGE_BYTES);
	}
}

static void test_there_and_back(void **state)
{
	uint64_t seed = seed_of("streams", 3);

	(void)state;
	for (uint32_t shift = 9; shift <= 31; shift++)
		for (int round = 0; round < 12; round++) {
			struct stream_bitmap list[3] = { { { 0 } } };
			struct stream_bitmaps all = { list, 3 }, got;
			struct tide_error err = { 0 };
			size_t bytes;
			char *buf;

			for (int i = 0; i < 3; i++) {
				uint64_t bits = 1 + seed_next(&seed) % 70000;

				name_it(&list[i], i < 2 ? "a" : "b", i % 2);
				list[i].enabled = round & 1;
				list[i].persistent = round & 2;
				make(&list[i], (bits << shift) -
				     seed_next(&seed) % (1u << shift), shift,
				     &seed);
			}
			buf = written(&all, &bytes);
			if (read_back(buf, bytes, &got, &err))
				fail_msg("%s", err.text);
			assert_int_equal(got.count, 3);
			for (int i = 0; i < 3; i++) {
				same(&list[i], &got.list[i]);
				cbt_image_fini(&list[i].bits);
			}
			assert_null(stream_find(&got, NULL, "bitmap-0"));
			assert_non_null(stream_find(&got, "b", "bitmap-0"));
			assert_non_null(stream_find(&got, NULL, "bitmap-1"));
			stream_fini(&got);
			free(buf);
		}
}

static char *small(size_t *bytes)
{
	struct stream_bitmap list[2] = { { { 0 } } };
	struct stream_bitmaps all = { list, 2 };
	uint64_t seed = 7;
	char *buf;

	for (int i = 0; i < 2; i++) {
		name_it(&list[i], "n", i);
		make(&list[i], UINT64_C(300) << 16, 16, &seed);
	}
	buf = written(&all, bytes);
	for (int i = 0; i < 2; i++)
		cbt_image_fini(&list[i].bits);
	return buf;
}

/* That it is over, and that there are no devices. */
#define TAIL 40u

static void test_cut_off(void **state)
{
	struct stream_bitmaps got;
	size_t bytes;
	char *buf = small(&bytes);

	(void)state;
	/* Behind the bitmaps' end is what is not read. */
	for (size_t cut = 1; cut < bytes - TAIL; cut++) {
		struct tide_error err = { 0 };

		assert_int_equal(read_back(buf, cut, &got, &err), -EINVAL);
		assert_non_null(strstr(err.text, "ends in the middle"));
		assert_int_equal(err.offset, cut);
		assert_int_equal(got.count, 0);
	}
	assert_int_equal(read_back(buf, bytes - TAIL, &got, NULL), 0);
	stream_fini(&got);
	free(buf);
}

static void test_other_bytes(void **state)
{
	struct stream_bitmaps got;
	size_t bytes;
	char *buf = small(&bytes);
	int refused = 0;

	(void)state;
	for (size_t at = 0; at < bytes; at++)
		for (int bit = 0; bit < 8; bit++) {
			buf[at] = (char)(buf[at] ^ 1 << bit);
			if (read_back(buf, bytes, &got, NULL))
				refused++;
			else
				stream_fini(&got);
			buf[at] = (char)(buf[at] ^ 1 << bit);
		}
	assert_true(refused > 500);
	free(buf);
}

/* What is refused, byte by byte, behind the head and a section's beginning. */
static void test_refused(void **state)
{
	static const struct {
		const char *why, *chunks;
		size_t bytes;
	} cases[] = {
#define CASE(why, chunks) { why, chunks, sizeof(chunks) - 1 }
		CASE("of a bitmap that was not begun", "\x4c\1n\1b"),
		CASE("no power of two", "\x1c\1n\1b\0\0\3\0\3"),
		CASE("no power of two", "\x1c\1n\1b\0\0\0\0\3"),
		CASE("a state that is not known", "\x1c\1n\1b\0\1\0\0\x08"),
		CASE("begins twice", "\x1c\1n\1b\0\1\0\0\3\x10\0\1\0\0\3"),
		CASE("empty or has a zero", "\x1c\0"),
		CASE("empty or has a zero", "\x1c\2n\0"),
		CASE("of a kind that is not known",
		     "\x1c\1n\1b\0\1\0\0\3\x60"),
		CASE("where the one before ended", "\x1c\1n\1b\0\1\0\0\3"
		     "\x42\0\0\0\0\0\0\0\x80\0\0\0\x80"),
		CASE("where the one before ended", "\x1c\1n\1b\0\1\0\0\3"
		     "\x42\0\0\0\0\0\0\0\0\0\0\0\0"),
		CASE("not as many bytes", "\x1c\1n\1b\0\1\0\0\3"
		     "\x40\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0\x1f"),
		CASE("not as many bytes", "\x1c\1n\1b\0\1\0\0\3"
		     "\x40\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\x28\1"),
		CASE("does not end where", "\1\x7e\0\0\0\1"),
		CASE("does not end where", "\1\x7f\0\0\0\2"),
		CASE("was not begun", "\1\x7e\0\0\0\2\3\0\0\0\3"),
		CASE("no bitmaps", "\1\x7e\0\0\0\2\4"),
		CASE("no bitmaps", "\1\x7e\0\0\0\2\0"),
		CASE("no known type", "\1\x7e\0\0\0\2\x09"),
		CASE("is complete", "\x1c\1n\1b\0\1\0\0\3\1\x7e\0\0\0\2"
		     "\3\0\0\0\2\1\x7e\0\0\0\2"),
		CASE("section 'slow'", "\1\x7e\0\0\0\2\1\0\0\0\3\4slow"
		     "\0\0\0\0\0\0\0\1"),
#undef CASE
	};
	static const char head[] =
		"QEVM\0\0\0\3\7\0\0\0\4none\1\0\0\0\2\14dirty-bitmap"
		"\0\0\0\0\0\0\0\1";

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char buf[200];
		struct tide_error err = { 0 };
		struct stream_bitmaps got;

		memcpy(buf, head, sizeof(head) - 1);
		memcpy(buf + sizeof(head) - 1, cases[i].chunks,
		       cases[i].bytes);
		if (!read_back(buf, sizeof(head) - 1 + cases[i].bytes, &got,
			       &err) || !strstr(err.text, cases[i].why))
			fail_msg("case %zu: '%s' is not '%s'", i, err.text,
				 cases[i].why);
	}
}

static void test_names(void **state)
{
	struct stream_bitmap list[2] = { { .node = "n", .name = "b" },
					 { .node = "n", .name = "b" } };
	struct stream_bitmaps all = { list, 2 };
	struct tide_error err;
	FILE *full = fopen("/dev/full", "w");

	(void)state;
	assert_int_equal(stream_write(full, "none", &all, &err), -EINVAL);
	assert_non_null(strstr(err.text, "named twice"));
	all.count = 1;
	*list[0].name = 0;
	assert_int_equal(stream_write(full, "none", &all, &err), -EINVAL);
	*list[0].name = 'b';
	for (uint32_t shift = 8; shift <= 32; shift += 24) {
		list[0].bits.shift = shift;
		assert_int_equal(stream_write(full, "none", &all, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, "512 bytes to 2 GiB"));
	}
	list[0].bits.shift = 16;
	setvbuf(full, NULL, _IONBF, 0);
	assert_int_equal(stream_write(full, "none", &all, &err), -EIO);
	fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_other_bytes),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
