/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every kernel of this CPU, forced one by one, against one bit at a time.
 *
 * The bitmaps lie right before a page that may not be touched, and half of
 * the time right behind one: a read outside ends the test.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <sys/mman.h>

#include "bits/kernels.h"
#include "bits/word.h"
#include "seed.h"
#include "tidemark/scan.h"

#define MAX_PAGES 40000u
#define HOST_PAGE 4096u

/* Memory for bitmaps between two forbidden pages. */
struct fenced {
	unsigned char *base;	/* of the usable bytes */
	size_t bytes;
};

static struct fenced fenced_make(size_t bytes)
{
	size_t usable = (bytes + HOST_PAGE - 1) / HOST_PAGE * HOST_PAGE;
	unsigned char *p = mmap(NULL, usable + 2 * HOST_PAGE, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + HOST_PAGE, usable,
				  PROT_READ | PROT_WRITE), 0);
	return (struct fenced){ p + HOST_PAGE, usable };
}

static uint64_t *fenced_words(struct fenced *f, uint64_t words, bool at_end)
{
	memset(f->base, 0xff, f->bytes);	/* rubbish around */
	return (uint64_t *)(f->base + (at_end ? f->bytes - words * 8 : 0));
}

enum shape { EMPTY, FULL, SPARSE, HALF, DENSE, RUNS, ALTERNATE, SHAPES };

static uint64_t shaped_word(enum shape shape, uint64_t *rng)
{
	uint64_t r = seed_next(rng);

	switch (shape) {
	case EMPTY: return 0;
	case FULL: return ~UINT64_C(0);
	case SPARSE: return seed_below(rng, 20) ? 0 : UINT64_C(1) << r % 64;
	case HALF: return r;
	case DENSE: return r | seed_next(rng) | seed_next(rng);
	case RUNS: return seed_below(rng, 3) ? -(r & 1)
					      : tide__mask_from(r % 64);
	default: return r & 1 ? UINT64_C(0x5555555555555555)
			      : UINT64_C(0xaaaaaaaaaaaaaaaa);
	}
}

static void fill(uint64_t *words, uint64_t n, uint64_t *rng)
{
	enum shape shape = (enum shape)seed_below(rng, SHAPES);

	for (uint64_t i = 0; i < n; i++) {
		if (!seed_below(rng, 30))	/* mixed, in stretches */
			shape = (enum shape)seed_below(rng, SHAPES);
		words[i] = shaped_word(shape, rng);
	}
}

static bool bit(const uint64_t *words, uint64_t pages, uint64_t page)
{
	return words && page < pages && words[page / 64] >> (page % 64) & 1;
}

/* The oracle. With @gap, runs are joined over at most so many clean pages. */
static size_t one_by_one(const struct tide_scan_options *o,
			 struct tide_range *out)
{
	uint64_t pages = o->a_pages > o->b_pages ? o->a_pages : o->b_pages;
	size_t n = 0;

	for (uint64_t page = 0; page < pages; page++) {
		struct tide_range *last = &out[n - 1];

		if (!bit(o->a, o->a_pages, page) &&
		    !bit(o->b, o->b_pages, page))
			continue;
		if (n && page - (last->first + last->count) <= o->gap_pages)
			last->count = page + 1 - last->first;
		else
			out[n++] = (struct tide_range){ page, 1 };
	}
	return n;
}

static struct tide_range expected[MAX_PAGES], found[MAX_PAGES + 1];

static size_t scan_part(const struct tide_scan_options *o, size_t max,
			size_t at)
{
	struct tide_scan *scan;
	size_t n;

	assert_int_equal(tide_scan_create(&scan, o, NULL), 0);
	while ((n = tide_scan_next(scan, found + at,
				   max < MAX_PAGES + 1 - at
				       ? max : MAX_PAGES + 1 - at)))
		at += n;
	tide_scan_destroy(scan);
	return at;
}

/* What is left to do for who has ranges from parts that cut runs. */
static size_t join_touching(size_t n)
{
	size_t out = 0;

	for (size_t i = 0; i < n; i++)
		if (out && found[out - 1].first + found[out - 1].count ==
			   found[i].first)
			found[out - 1].count += found[i].count;
		else
			found[out++] = found[i];
	return out;
}

static void compare(struct tide_scan_options *o, size_t max)
{
	size_t want = one_by_one(o, expected), got = 0;

	if (!o->parts)
		got = scan_part(o, max, 0);
	for (o->part = 0; o->part < o->parts; o->part++)
		got = scan_part(o, max, got);
	o->part = 0;
	if (o->cut_runs)
		got = join_touching(got);
	assert_int_equal(got, want);
	assert_memory_equal(found, expected, want * sizeof(*found));
}

static struct fenced mem_a, mem_b;

static void pair(uint64_t a_pages, uint64_t b_pages, uint64_t *rng)
{
	static const size_t batches[] = { 1, 2, 3, 33, 64, 1000 };
	uint64_t na = tide__words_for(a_pages), nb = tide__words_for(b_pages);
	uint64_t *a = fenced_words(&mem_a, na, seed_below(rng, 2));
	uint64_t *b = fenced_words(&mem_b, nb, seed_below(rng, 2));
	struct tide_scan_options o = { .a = a, .a_pages = a_pages, .b = b,
				       .b_pages = b_pages };

	fill(a, na, rng);
	fill(b, nb, rng);
	compare(&o, batches[seed_below(rng, 6)]);
	o.parts = 1 + (unsigned int)seed_below(rng, 9);
	compare(&o, batches[seed_below(rng, 6)]);
	o.cut_runs = true;
	compare(&o, batches[seed_below(rng, 6)]);
	o.cut_runs = false;
	o.parts = 0;
	o.gap_pages = 1 + seed_below(rng, 70);
	compare(&o, batches[seed_below(rng, 6)]);
	o.gap_pages = 0;
	o.b = NULL;
	o.b_pages = 0;
	compare(&o, batches[seed_below(rng, 6)]);
}

static void all_lengths(uint64_t seed)
{
	for (uint64_t pages = 0; pages <= 200; pages++)
		for (int i = 0; i < 12; i++)
			pair(pages, seed_below(&seed, 201), &seed);
	for (uint64_t k = 1; k <= 9; k++)
		for (int64_t off = -65; off <= 65; off++)
			pair(k * 4096 + (uint64_t)off,
			     seed_below(&seed, MAX_PAGES), &seed);
	for (int i = 0; i < 150; i++)
		pair(seed_below(&seed, MAX_PAGES),
		     seed_below(&seed, MAX_PAGES), &seed);
}

/* The small kernels, at every length and alignment. */
static void small_kernels(const struct tide__kernels *k, uint64_t seed)
{
	const struct tide__kernels *ref = &tide__kernels_scalar;
	uint64_t words[80], into[80], other[80];

	for (size_t n = 0; n <= 70; n++)
		for (size_t from = 0; from < 9; from++) {
			size_t eights = n < 8 ? 8 : n > 64 ? 64 : n / 8 * 8;

			fill(words, 80, &seed);
			fill(into, 80, &seed);
			memcpy(other, into, sizeof(into));
			assert_int_equal(k->count(words + from, n),
					 ref->count(words + from, n));
			k->merge(into + from, words + from, n);
			ref->merge(other + from, words + from, n);
			assert_memory_equal(into, other, sizeof(into));
			memset(words, 0, (from + seed_below(&seed, n + 1)) * 8);
			words[seed_below(&seed, 80)] = 0;
			assert_int_equal(k->busy(words, eights),
					 ref->busy(words, eights));
			assert_int_equal(k->find_first(words + from, n),
					 ref->find_first(words + from, n));
		}
}

/* Ages against a limit, and bit ranges filled, at every length to 200. */
static void more_kernels(const struct tide__kernels *k, uint64_t seed)
{
	const struct tide__kernels *ref = &tide__kernels_scalar;
	uint16_t age[64 * 8 + 8];
	uint64_t words[8], other[8];

	for (int round = 0; round < 300; round++) {
		uint16_t limit =
			(uint16_t)(round % 3 ? seed_next(&seed)
					     : 0xffffu * (unsigned int)(round %
									2));
		size_t n = 1 + seed_below(&seed, 8);
		size_t from = seed_below(&seed, 8);

		for (size_t i = 0; i < sizeof(age) / sizeof(*age); i++)
			age[i] = (uint16_t)(seed_below(&seed, 4) ?
						    seed_next(&seed) : limit);
		assert_int_equal(k->above(age + from, limit, words, n),
				 ref->above(age + from, limit, other, n));
		assert_memory_equal(words, other, n * 8);
	}
	for (uint64_t first = 0; first < 130; first += 1 + first % 3)
		for (uint64_t count = 0; count <= 200; count++) {
			uint64_t filled = 0;

			memset(words, 0, sizeof(words));
			tide_bitmap_fill(words, first, count);
			for (uint64_t i = 0; i < 64 * 8; i++)
				filled += words[i / 64] >> (i % 64) & 1;
			assert_int_equal(filled, count);
			assert_int_equal(tide_bitmap_count(words, 512), count);
			assert_int_equal(tide_bitmap_find(words, 512, 0),
					 count ? first : 512);
			if (count)
				assert_int_equal(tide_bitmap_find(
				    words, first + count, first + count - 1),
				    first + count - 1);
			assert_int_equal(tide_bitmap_find(words, first, 0),
					 first);
			memset(other, 0, sizeof(other));
			tide_bitmap_union(other, words, first + count / 2);
			assert_int_equal(tide_bitmap_count(other, 512),
					 count / 2);
		}
}

static void every_kernel(void **state)
{
	static const char *const names[] = { "scalar", "avx2", "avx512",
					     "neon" };
	uint64_t seed = seed_of("every_kernel", 20261121);

	(void)state;
	mem_a = fenced_make(MAX_PAGES / 8 + 8);
	mem_b = fenced_make(MAX_PAGES / 8 + 8);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		const struct tide__kernels *k = tide__kernels_named(names[i]);

		if (!k) {
			printf("# %s: not on this CPU, not tested\n", names[i]);
			continue;
		}
		printf("# %s\n", names[i]);
		setenv("TIDEMARK_ISA", names[i], 1);
		assert_string_equal(tide_isa_name(), names[i]);
		all_lengths(seed);
		small_kernels(k, seed);
		more_kernels(k, seed);
	}
	unsetenv("TIDEMARK_ISA");
}

static void wrong_arguments(void **state)
{
	struct tide_scan_options o = { 0 };
	struct tide_scan *scan = NULL;
	struct tide_error err;
	uint64_t word = 0;

	(void)state;
	assert_int_equal(tide_scan_create(&scan, &o, &err), -EINVAL);
	assert_string_equal(err.text, "no bitmap given");
	o = (struct tide_scan_options){ .a = &word, .a_pages = 64, .part = 2,
					.parts = 2 };
	assert_int_equal(tide_scan_create(&scan, &o, &err), -EINVAL);
	assert_string_equal(err.text, "part 2 of 2 does not exist");
	assert_null(scan);
	tide_scan_destroy(NULL);
	setenv("TIDEMARK_ISA", "abacus", 1);	/* unknown: the best one */
	assert_non_null(tide_isa_name());
	unsetenv("TIDEMARK_ISA");
}

static void gap_model(void **state)
{
	(void)state;
	/* 10 us a range on 1.25 GB/s (10 Gbit/s): 12,500 bytes, 3 pages */
	assert_int_equal(tide_gap_pages(10000, 1250000000, 4096), 3);
	assert_int_equal(tide_gap_pages(0, 1250000000, 4096), 0);
	assert_int_equal(tide_gap_pages(UINT64_MAX, UINT64_MAX, 1),
			 UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kernel),
		cmocka_unit_test(wrong_arguments),
		cmocka_unit_test(gap_model),
	};

	return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
