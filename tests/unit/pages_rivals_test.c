/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All that `tidemark bench compact` compares must give the same ranges, on
 * random pages and on recorded traces; a rival that does not is wrong, and its
 * figures with it. The scanners of flat bitmaps likewise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <dirent.h>
#include <cmocka.h>

#include "bench/recorded.h"
#include "bench/rivals/flat.h"
#include "bench/rivals/hbitmap.h"
#include "bench/rivals/pages/pages.h"
#include "bench/rivals/rust/rust.h"
#include "cli/trace/file.h"
#include "seed.h"
#include "../support/recorded.h"
#include "tidemark/scan.h"

static const struct pages_rival *const rivals[] = {
	&pages_tidemark, &pages_list,	  &pages_crude,	  &pages_flat,
	&pages_radix8,	 &pages_radix64,  &pages_radix512, &pages_roaring,
	&pages_judy,	 &pages_radix8_posted,
};
#define RIVALS (sizeof(rivals) / sizeof(*rivals))

static void same(const char *who, const char *on, struct bench_found got,
		 struct bench_found want)
{
	if (got.ranges != want.ranges || got.pages != want.pages ||
	    got.sum != want.sum)
		fail_msg("%s on %s: %llu ranges of %llu pages, not %llu of "
			 "%llu", who, on, (unsigned long long)got.ranges,
			 (unsigned long long)got.pages,
			 (unsigned long long)want.ranges,
			 (unsigned long long)want.pages);
}

/* One page after the other: what a range is, by definition. */
static struct bench_found one_by_one(const uint64_t *bits, uint64_t pages)
{
	struct pages_run run = { .count = 0 };

	for (uint64_t p = 0; p < pages; p++)
		if (bits[p / 64] >> (p % 64) & 1)
			pages_run_add(&run, p);
	return pages_run_end(&run);
}

static struct bench_found scan(const uint64_t *bits, uint64_t pages)
{
	struct tide_scan_options o = { .a = bits, .a_pages = pages };
	struct bench_found f = { 0 };
	struct tide_range r[100];
	struct tide_scan *s;
	size_t n;

	assert_int_equal(tide_scan_create(&s, &o, NULL), 0);
	while ((n = tide_scan_next(s, r, 100)))
		for (size_t i = 0; i < n; i++)
			bench_add(&f, r[i].first, r[i].count);
	tide_scan_destroy(s);
	return f;
}

/* Taken twice: what was taken must be gone, and its summaries with it. */
static void compare_hbitmap(const char *on, uint64_t pages,
			    const uint32_t *list, uint64_t n,
			    struct bench_found want)
{
	struct bench_found none = { 0 };
	struct hbitmap hb;

	hbitmap_init(&hb, pages);
	for (int turn = 0; turn < 2; turn++) {
		for (uint64_t i = 0; i < n; i++)
			hbitmap_mark(&hb, list[i]);
		assert_int_equal(hb.count, want.pages);
		same("HBitmap by areas", on, hbitmap_take_areas(&hb), want);
		assert_int_equal(hb.count, 0);
		for (uint64_t i = 0; i < hb.total; i++)
			assert_int_equal(hb.level[0][i], 0);
		for (uint64_t i = 0; i < n; i++)
			hbitmap_mark(&hb, list[i]);
		same("HBitmap, all", on, hbitmap_take_all(&hb), want);
		same("HBitmap, nothing", on, hbitmap_take_all(&hb), none);
	}
	hbitmap_fini(&hb);
}

static void compare_rust(const char *on, const struct flat_pair *p,
			 uint64_t pages, const uint32_t *list, uint64_t n,
			 struct bench_found want)
{
	struct rival_rust_bitmap *bitmap;

	if (!RIVAL_RUST("there"))
		return;
	same("Rust", on, rival_found(rival_rust_streamed(p->a, p->b, p->words)),
	     want);
	same("Rust, collected", on,
	     rival_found(rival_rust_collected(p->a, p->b, p->words)), want);
	bitmap = rival_rust_bitmap_create(pages);
	for (int turn = 0; turn < 2; turn++) {
		rival_rust_bitmap_mark(bitmap, list, n);
		same("Rust's bitmap", on,
		     rival_found(rival_rust_bitmap_take(bitmap)), want);
	}
	rival_rust_bitmap_destroy(bitmap);
}

/* @list: the pages as they were marked, repeats and all. */
static void compare(const char *on, const uint64_t *bits, uint64_t pages,
		    const uint32_t *list, uint64_t n)
{
	uint64_t words = (pages + 63) / 64;
	struct flat_pair pair = { bits, bits, words };
	struct flat_vector v = { 0 };
	struct bench_found want = one_by_one(bits, pages);

	same("scan", on, scan(bits, pages), want);
	same("flat ctz", on, flat_ctz(&pair), want);
	same("lazy iterator", on, flat_lazy(&pair, NULL), want);
	same("collected iterator", on, flat_lazy(&pair, &v), want);
	flat_vector_free(&v);
	same("find-bit", on, flat_find_bit(bits, words), want);
	same("find-or-bit", on, flat_find_or_bit(&pair), want);
	compare_rust(on, &pair, pages, list, n, want);
	compare_hbitmap(on, pages, list, n, want);
	for (size_t i = 0; i < RIVALS; i++) {
		void *r;

		if (!rivals[i]->name)
			continue;
		r = rivals[i]->create(pages);
		assert_non_null(r);
		rivals[i]->mark(r, list, n / 2);
		rivals[i]->clear(r);	/* what was before must not show */
		rivals[i]->mark(r, list, n);
		same(rivals[i]->name, on, rivals[i]->compact(r), want);
		rivals[i]->destroy(r);
	}
}

static void random_pages(void **state)
{
	static const uint64_t sizes[] = { 1, 7, 8, 9, 63, 64, 65, 511, 512, 513,
					  4095, 4096, 4097, 32768, 262144,
					  262145, 1000003 };
	uint64_t rng = seed_of("random_pages", 61);

	(void)state;
	for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++)
		for (int round = 0; round < 6; round++) {
			uint64_t pages = sizes[k];
			uint64_t n = round == 5 ? pages :
						  seed_below(&rng, pages) / 2;
			uint64_t *bits = calloc((pages + 63) / 64, 8);
			uint32_t *list = calloc(n + 1, sizeof(*list));

			for (uint64_t i = 0; i < n; i++) {
				list[i] = (uint32_t)(round == 5 ? i :
				    seed_below(&rng, pages));
				bits[list[i] / 64] |= UINT64_C(1)
						      << (list[i] % 64);
			}
			compare("random pages", bits, pages, list, n);
			free(bits);
			free(list);
		}
}

static void one_trace(const char *folder)
{
	struct trace t;
	uint32_t *list;

	assert_int_equal(trace_load(&t, folder, NULL), 0);
	list = calloc(t.pages, sizeof(*list));
	for (uint32_t r = 0; r < t.rounds; r += 1 + t.rounds / 6) {
		uint64_t n = 0;

		for (uint64_t p = 0; p < t.pages; p++)
			if (t.round[r][p / 64] >> (p % 64) & 1)
				list[n++] = (uint32_t)p;
		compare(folder, t.round[r], t.pages, list, n);
	}
	free(list);
	trace_free(&t);
}

static void recorded_traces(void **state)
{
	struct dirent *e;
	char ram[512], path[4096];
	DIR *shared;

	(void)state;
	find_recorded();
	bench_recorded(ram, sizeof(ram), "traces/ram");
	shared = opendir(ram);
	snprintf(path, sizeof(path), "%s/tests/data/trace-zipf", getenv("SRC"));
	one_trace(path);
	if (!shared) {
		print_message("# no traces of real guests here: only ours\n");
		return;
	}
	while ((e = readdir(shared))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", ram, e->d_name);
		one_trace(path);
	}
	closedir(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_pages),
		cmocka_unit_test(recorded_traces),
	};

	return cmocka_run_group_tests_name("pages_rivals", tests, NULL, NULL);
}
