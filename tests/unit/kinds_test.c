/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kind map against an oracle that counts each kind of each cluster, under
 * random scripts in which memory runs out; and every edge by hand.
 *
 * The program is linked so that each allocation passes through here.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "maps/kinds.h"
#include "seed.h"
#include "tidemark/kinds.h"

#define CLUSTERS 3000u

/* Allocations that may still succeed; negative: all. */
static int64_t allowance = -1;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static bool allowed_one(void)
{
	if (allowance < 0)
		return true;
	if (!allowance)
		return false;
	allowance--;
	return true;
}

void *__wrap_malloc(size_t bytes)
{
	return allowed_one() ? __real_malloc(bytes) : NULL;
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return allowed_one() ? __real_calloc(n, bytes) : NULL;
}

void *__wrap_realloc(void *old, size_t bytes)
{
	return allowed_one() ? __real_realloc(old, bytes) : NULL;
}

struct world {
	struct tide_kinds *k;
	uint32_t bits;
	uint64_t base;		/* first cluster */
	uint16_t count[CLUSTERS][TIDE_KIND_COUNT];
	uint64_t seed;
	uint64_t refused;	/* changes that failed for want of memory */
	uint32_t max_leaves;
};

static uint32_t mask_of(const struct world *w, uint64_t cluster)
{
	uint32_t mask = 0;

	for (int i = 0; i < TIDE_KIND_COUNT; i++)
		if (w->count[cluster][i])
			mask |= 1u << i;
	return mask;
}

/* A cell is set exactly if a run reaches into it. */
static void assert_cells(const struct tide_kinds *k, uint8_t *seen)
{
	const struct tide__cells *c = &k->cells;

	for (uint32_t i = 0; i < k->runs.leaves; i++)
		for (uint64_t j = 0; j < k->runs.leaf[i]->words; j++) {
			uint64_t run = k->runs.leaf[i]->v[j];

			for (uint64_t at = run_start(run) >> c->shift;
			     at <= (run_end(run) - 1) >> c->shift; at++)
				seen[at] = 1;
		}
	for (uint64_t i = 0; i < c->n; i++)
		assert_int_equal(c->bits[i / 64] >> i % 64 & 1, seen[i]);
}

/* Sorted, not overlapping, leaves as the directory says. */
static void assert_whole(const struct tide_kinds *k)
{
	uint64_t end = 0, words = 0;

	for (uint32_t i = 0; i < k->runs.leaves; i++) {
		const struct tide__leaf *w = k->runs.leaf[i];

		assert_in_range(w->words, 1, TIDE__LEAF_WORDS);
		assert_int_equal(w->v[0], k->runs.first[i]);
		words += w->words;
		for (uint64_t j = 0; j < w->words; j++) {
			assert_true(run_start(w->v[j]) >= end);
			end = run_end(w->v[j]);
		}
	}
	assert_int_equal(words, k->runs.words);
	words = 0;
	for (uint32_t i = 0; i < k->counts.leaves; i++)
		words += k->counts.leaf[i]->words;
	assert_int_equal(words, k->counts.words);
	if (k->cells.n) {
		uint8_t *seen = calloc(k->cells.n, 1);

		assert_non_null(seen);
		assert_cells(k, seen);
		free(seen);
	}
}

/* The walk shows what the oracle has, in runs that could not be longer. */
static void assert_walk(const struct world *w)
{
	struct tide_kinds_run run;
	uint64_t from = 0, at = 0;

	while (tide_kinds_next(w->k, from, &run)) {
		uint64_t start = (run.offset_bytes >> w->bits) - w->base;
		uint64_t n = run.length_bytes >> w->bits;

		assert_true(run.kinds != 0 && n > 0);
		for (; at < start; at++)
			assert_int_equal(mask_of(w, at), 0);
		for (; at < start + n; at++)
			assert_int_equal(mask_of(w, at), run.kinds);
		if (at < CLUSTERS)
			assert_int_not_equal(mask_of(w, at), run.kinds);
		from = run.offset_bytes + run.length_bytes;
	}
	for (; at < CLUSTERS; at++)
		assert_int_equal(mask_of(w, at), 0);
	assert_whole(w->k);
}

/* What check must say, byte by byte in spirit, cluster by cluster in fact. */
static int expect(const struct world *w, uint64_t offset, uint64_t bytes,
		  uint32_t allowed, struct tide_kinds_hit *hit)
{
	uint64_t first = (offset >> w->bits) - w->base;
	uint64_t last = ((offset + bytes - 1) >> w->bits) - w->base, end;

	if (!bytes)
		return 0;
	while (first <= last &&
	       (first >= CLUSTERS || !(mask_of(w, first) & ~allowed)))
		first++;
	if (first > last)
		return 0;
	hit->kinds = mask_of(w, first) & ~allowed;
	for (end = first; end <= last && end < CLUSTERS &&
			  (mask_of(w, end) & ~allowed) == hit->kinds; end++)
		;
	hit->offset_bytes = (w->base + first) << w->bits;
	if (hit->offset_bytes < offset)
		hit->offset_bytes = offset;
	end = (w->base + end) << w->bits;
	if (end > offset + bytes)
		end = offset + bytes;
	hit->length_bytes = end - hit->offset_bytes;
	return 1;
}

static void assert_check(const struct world *w, uint64_t offset,
			 uint64_t bytes, uint32_t allowed)
{
	struct tide_kinds_hit want = { 0 }, got = { 0 };
	int hit = expect(w, offset, bytes, allowed, &want);

	assert_int_equal(tide_kinds_check(w->k, offset, bytes, allowed, &got),
			 hit);
	assert_memory_equal(&got, &want, sizeof(got));
	assert_int_equal(tide_kinds_check(w->k, offset, bytes, allowed, NULL),
			 hit);
}

static void random_check(struct world *w)
{
	uint64_t cluster = UINT64_C(1) << w->bits;
	uint64_t at = seed_below(&w->seed, CLUSTERS);
	uint64_t n = seed_below(&w->seed, 8) ? 1 : seed_below(&w->seed, 200);
	uint64_t offset = (w->base + at) << w->bits, bytes;
	uint32_t allowed = (uint32_t)seed_next(&w->seed) & TIDE_KIND_ALL;

	if (at + n > CLUSTERS)
		n = CLUSTERS - at;
	if (seed_below(&w->seed, 2))
		allowed = seed_below(&w->seed, 2) ? 0 : 1u << (allowed % 12);
	offset += seed_below(&w->seed, 3) ? 0 : seed_below(&w->seed, cluster);
	bytes = n * cluster + seed_below(&w->seed, 3);
	bytes = bytes > 1 ? bytes - seed_below(&w->seed, 2) : bytes;
	assert_check(w, offset, bytes, allowed);
}

/* One change, with memory running out at every allocation on the way. */
static int starved(struct world *w, uint32_t refs, enum tide_kind kind,
		   uint64_t offset, uint64_t bytes, bool starve)
{
	int ret = -ENOMEM;

	for (int64_t n = starve ? 0 : -1; ret == -ENOMEM; n++) {
		struct tide_error err = { 0 };

		allowance = n;
		ret = refs > 1	? tide_kinds_add_refs(w->k, kind, offset,
						      bytes, refs, &err) :
		      refs	? tide_kinds_add(w->k, kind, offset, bytes,
						 &err) :
				  tide_kinds_remove(w->k, kind, offset, bytes,
						    &err);
		allowance = -1;
		assert_int_equal(err.code, ret);
		if (ret == -ENOMEM) {
			assert_walk(w);
			w->refused++;
		}
	}
	return ret;
}

static void random_change(struct world *w, uint64_t bias, uint32_t one_kind)
{
	uint64_t cluster = UINT64_C(1) << w->bits;
	bool add = seed_below(&w->seed, 100) < bias;
	uint32_t kind = one_kind < TIDE_KIND_COUNT ?
				one_kind :
				(uint32_t)seed_below(&w->seed, 12);
	uint64_t at = seed_below(&w->seed, CLUSTERS), n = 1, lacking = 0;
	uint64_t offset = (w->base + at) << w->bits, bytes;
	uint32_t refs = add;
	int ret;

	if (add && !seed_below(&w->seed, 16))
		refs = 1 + (uint32_t)seed_below(&w->seed, 3);
	if (!seed_below(&w->seed, 4))
		n = 1 + seed_below(&w->seed,
				   seed_below(&w->seed, 64) ? 5 : 300);
	/* Removals that have a chance: go where something is. */
	while (!add && seed_below(&w->seed, 16) && !w->count[at][kind]) {
		at = (at + 1) % CLUSTERS;
		kind = one_kind < TIDE_KIND_COUNT ?
			       one_kind :
			       (uint32_t)seed_below(&w->seed, 12);
	}
	offset = (w->base + at) << w->bits;
	n = at + n > CLUSTERS ? CLUSTERS - at : n;
	bytes = n * cluster - seed_below(&w->seed, cluster);
	for (uint64_t i = at; i < at + n; i++)
		lacking += !w->count[i][kind];
	ret = starved(w, refs, (enum tide_kind)kind, offset, bytes,
		      !seed_below(&w->seed, 64));
	assert_int_equal(ret, !add && lacking ? -ENOENT : 0);
	for (uint64_t i = at; ret == 0 && i < at + n; i++)
		w->count[i][kind] =
			(uint16_t)(w->count[i][kind] + (add ? (int)refs : -1));
}

/* Fill, churn, empty; then nothing may be left. */
static void script(uint32_t bits, uint64_t base, uint64_t seed, uint32_t kind)
{
	static const uint64_t bias[] = { 90, 50, 60, 20, 55, 5 };
	static struct world w;
	uint64_t empty;

	memset(&w, 0, sizeof(w));
	w.bits = bits;
	w.base = base;
	w.seed = seed;
	assert_int_equal(tide_kinds_create(&w.k, bits, NULL), 0);
	empty = tide_kinds_bytes(w.k);
	for (size_t phase = 0; phase < 6; phase++)
		for (int i = 0; i < 3000; i++) {
			random_change(&w, bias[phase], kind);
			random_check(&w);
			if (w.k->runs.leaves > w.max_leaves)
				w.max_leaves = w.k->runs.leaves;
			if (i % 100 == 0)
				assert_walk(&w);
		}
	assert_walk(&w);
	/* The script was worth it. */
	print_message("# memory refused %llu times, %u leaves\n",
		      (unsigned long long)w.refused, w.max_leaves);
	assert_true(w.refused > 100);
	assert_true(kind < TIDE_KIND_COUNT || w.max_leaves > 1);
	for (uint64_t i = 0; i < CLUSTERS; i++)
		for (uint32_t j = 0; j < TIDE_KIND_COUNT; j++)
			while (w.count[i][j]) {
				assert_int_equal(tide_kinds_remove(
					w.k, (enum tide_kind)j,
					(base + i) << bits, 1, NULL), 0);
				w.count[i][j]--;
			}
	assert_walk(&w);
	assert_int_equal(w.k->runs.words + w.k->counts.words, 0);
	assert_true(tide_kinds_bytes(w.k) < empty + 4096);
	tide_kinds_destroy(w.k);
}

static void scripts(void **state)
{
	uint64_t seed = seed_of("kinds", 5);

	(void)state;
	script(9, 0, seed, TIDE_KIND_COUNT);
	script(16, 12345, seed + 1, TIDE_KIND_COUNT);
	script(12, (TIDE_KINDS_END_BYTES >> 12) - CLUSTERS, seed + 2,
	       TIDE_KIND_COUNT);
	script(21, (TIDE_KINDS_END_BYTES >> 21) - CLUSTERS, seed + 3,
	       TIDE_KIND_COUNT);
	/* One kind only: long runs, cut and joined. */
	script(16, 1, seed + 4, TIDE_KIND_L2);
}

/* Each kind, every edge: first and last byte hit, the neighbours do not. */
static void edges_of(uint32_t bits, enum tide_kind kind, uint64_t clusters)
{
	uint64_t c = UINT64_C(1) << bits, at = 100 * c, end = at + clusters * c;
	struct tide_kinds_hit hit;
	struct tide_kinds *k;

	assert_int_equal(tide_kinds_create(&k, bits, NULL), 0);
	assert_int_equal(tide_kinds_add(k, kind, at, clusters * c - c + 1,
					NULL), 0);
	assert_int_equal(tide_kinds_check(k, at, 1, 0, &hit), 1);
	assert_int_equal(hit.kinds, 1u << kind);
	assert_int_equal(hit.offset_bytes, at);
	assert_int_equal(hit.length_bytes, 1);
	assert_int_equal(tide_kinds_check(k, end - 1, 1, 0, &hit), 1);
	assert_int_equal(hit.offset_bytes, end - 1);
	assert_int_equal(tide_kinds_check(k, at - 1, 1, 0, &hit), 0);
	assert_int_equal(tide_kinds_check(k, end, 1, 0, &hit), 0);
	assert_int_equal(tide_kinds_check(k, 0, at, 0, &hit), 0);
	assert_int_equal(tide_kinds_check(k, 0, at + 1, 0, &hit), 1);
	assert_int_equal(hit.offset_bytes, at);
	assert_int_equal(hit.length_bytes, 1);
	assert_int_equal(tide_kinds_check(k, end - 1, 9 * c, 0, &hit), 1);
	assert_int_equal(hit.length_bytes, 1);
	assert_int_equal(tide_kinds_check(k, 0, UINT64_MAX, 0, &hit), 1);
	assert_int_equal(hit.length_bytes, clusters * c);
	/* Its own writer may; whoever writes all the other kinds may not. */
	assert_int_equal(tide_kinds_check(k, at, c, 1u << kind, &hit), 0);
	assert_int_equal(tide_kinds_check(k, at, c,
					  TIDE_KIND_ALL ^ 1u << kind, &hit), 1);
	assert_int_equal(tide_kinds_check(k, at, 0, 0, &hit), 0);
	tide_kinds_destroy(k);
}

static void edges(void **state)
{
	(void)state;
	for (int kind = 0; kind < TIDE_KIND_COUNT; kind++)
		for (uint32_t bits = 9; bits <= 21; bits++) {
			edges_of(bits, (enum tide_kind)kind, 1);
			edges_of(bits, (enum tide_kind)kind, 64);
			edges_of(bits, (enum tide_kind)kind, 65);
			edges_of(bits, (enum tide_kind)kind, 32767);
		}
}

/* The last cluster below 2^56, and ranges that pass 2^56 or 2^64. */
static void far_end(void **state)
{
	const uint64_t end = TIDE_KINDS_END_BYTES, last = end - 512;
	struct tide_kinds_hit hit;
	struct tide_kinds_run run;
	struct tide_kinds *k;

	(void)state;
	assert_int_equal(tide_kinds_create(&k, 9, NULL), 0);
	assert_int_equal(tide_kinds_add(k, TIDE_KIND_L2, last, 512, NULL), 0);
	assert_int_equal(tide_kinds_check(k, end - 1, 1, 0, &hit), 1);
	assert_int_equal(hit.offset_bytes, end - 1);
	assert_int_equal(tide_kinds_check(k, last - 1, 1, 0, NULL), 0);
	assert_int_equal(tide_kinds_check(k, end, 1, 0, NULL), 0);
	assert_int_equal(tide_kinds_check(k, UINT64_MAX, 1, 0, NULL), 0);
	assert_int_equal(tide_kinds_check(k, UINT64_MAX, UINT64_MAX, 0, NULL),
			 0);
	/* Ends at 2^64 exactly, and wraps by one: cut, not lost. */
	assert_int_equal(tide_kinds_check(k, last + 1, -(last + 1), 0, &hit),
			 1);
	assert_int_equal(tide_kinds_check(k, last + 1, UINT64_MAX, 0, &hit), 1);
	assert_int_equal(hit.offset_bytes, last + 1);
	assert_int_equal(hit.length_bytes, 511);
	assert_int_equal(tide_kinds_next(k, 0, &run), 1);
	assert_int_equal(run.offset_bytes, last);
	assert_int_equal(tide_kinds_next(k, end, &run), 0);
	assert_int_equal(tide_kinds_next(k, UINT64_MAX, &run), 0);
	tide_kinds_destroy(k);
}

static void refusals(void **state)
{
	static const struct {
		int kind;
		uint64_t offset, length;
		int ret;
	} bad[] = {
		{ TIDE_KIND_COUNT, 0, 1, -EINVAL },
		{ -1, 0, 1, -EINVAL },
		{ TIDE_KIND_L1, 0, 0, -EINVAL },
		{ TIDE_KIND_L1, TIDE_KINDS_END_BYTES, 1, -EINVAL },
		{ TIDE_KIND_L1, TIDE_KINDS_END_BYTES - 1, 2, -EINVAL },
		{ TIDE_KIND_L1, 512, UINT64_MAX, -EINVAL },
		{ TIDE_KIND_L1, UINT64_MAX, 1, -EINVAL },
		{ TIDE_KIND_L1, 0, TIDE_KINDS_MAX_BYTES + 1, -E2BIG },
	};
	struct tide_error err;
	struct tide_kinds *k;

	(void)state;
	assert_int_equal(tide_kinds_create(&k, 8, &err), -EINVAL);
	assert_int_equal(tide_kinds_create(&k, 22, &err), -EINVAL);
	allowance = 0;
	assert_int_equal(tide_kinds_create(&k, 16, &err), -ENOMEM);
	allowance = -1;
	assert_int_equal(tide_kinds_create(&k, 9, &err), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(tide_kinds_add(k, (enum tide_kind)bad[i].kind,
						bad[i].offset, bad[i].length,
						&err), bad[i].ret);
		assert_int_equal(err.code, bad[i].ret);
		assert_int_equal(tide_kinds_remove(
			k, (enum tide_kind)bad[i].kind, bad[i].offset,
			bad[i].length, NULL), bad[i].ret);
	}
	assert_int_equal(tide_kinds_add(k, TIDE_KIND_L1, 1024, 1024, &err), 0);
	assert_int_equal(tide_kinds_remove(k, TIDE_KIND_L1, 1024, 1536, &err),
			 -ENOENT);
	assert_int_equal(err.offset, 2048);
	assert_int_equal(tide_kinds_remove(k, TIDE_KIND_L2, 1024, 1, &err),
			 -ENOENT);
	assert_string_equal(tide_kind_name(TIDE_KIND_COUNT), "unknown");
	assert_string_equal(tide_kind_name(TIDE_KIND_L1), "L1 table");
	tide_kinds_destroy(k);
	tide_kinds_destroy(NULL);
}

/* An L2 table that the disk and a hundred snapshots share. */
static void shared(void **state)
{
	struct tide_kinds_hit hit;
	struct tide_kinds *k;

	(void)state;
	assert_int_equal(tide_kinds_create(&k, 16, NULL), 0);
	assert_int_equal(tide_kinds_add(k, TIDE_KIND_L2, 65536, 1, NULL), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(tide_kinds_add(k, TIDE_KIND_INACTIVE_L2, 65536,
						1, NULL), 0);
	assert_int_equal(tide_kinds_add_refs(k, TIDE_KIND_INACTIVE_L2, 65536, 1,
					     50, NULL), 0);
	assert_int_equal(tide_kinds_add_refs(k, TIDE_KIND_INACTIVE_L2, 65536, 1,
					     0, NULL), -EINVAL);
	assert_int_equal(tide_kinds_check(k, 65536, 1, 0, &hit), 1);
	assert_int_equal(hit.kinds, 1u << TIDE_KIND_L2 |
					    1u << TIDE_KIND_INACTIVE_L2);
	/* Written as the active one: a snapshot would lose its own. */
	assert_int_equal(tide_kinds_check(k, 65536, 1, 1u << TIDE_KIND_L2,
					  &hit), 1);
	assert_int_equal(hit.kinds, 1u << TIDE_KIND_INACTIVE_L2);
	assert_int_equal(tide_kinds_remove(k, TIDE_KIND_L2, 65536, 1, NULL), 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(tide_kinds_check(k, 65536, 1, 0, &hit), 1);
		assert_int_equal(hit.kinds, 1u << TIDE_KIND_INACTIVE_L2);
		assert_int_equal(tide_kinds_remove(k, TIDE_KIND_INACTIVE_L2,
						   65536, 1, NULL), 0);
	}
	assert_int_equal(tide_kinds_check(k, 65536, 1, 0, &hit), 0);
	assert_int_equal(tide_kinds_remove(k, TIDE_KIND_INACTIVE_L2, 65536, 1,
					   NULL), -ENOENT);
	tide_kinds_destroy(k);
}

/* The worst case of a 1 TiB image: no two tables lie side by side. */
static void memory_of_1_tib(void **state)
{
	struct tide_kinds *k;
	uint64_t bytes;

	(void)state;
	assert_int_equal(tide_kinds_create(&k, 16, NULL), 0);
	assert_int_equal(tide_kinds_add(k, TIDE_KIND_HEADER, 0, 1, NULL), 0);
	assert_int_equal(tide_kinds_add(k, TIDE_KIND_L1, 3 << 16, 16384, NULL),
			 0);
	assert_int_equal(tide_kinds_add(k, TIDE_KIND_REFCOUNT_TABLE, 1 << 16,
					65536, NULL), 0);
	for (uint64_t i = 0; i < 2048; i++)
		assert_int_equal(tide_kinds_add(k, TIDE_KIND_L2,
						(i * 8193 + 4) << 16, 65536,
						NULL), 0);
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(tide_kinds_add(k, TIDE_KIND_REFCOUNT_BLOCK,
						(i * 32768 + 9) << 16, 65536,
						NULL), 0);
	bytes = tide_kinds_bytes(k);
	print_message("# 1 TiB, 64 KiB clusters: %llu bytes\n",
		      (unsigned long long)bytes);
	assert_true(bytes < 30000);
	/* One snapshot shares all tables; then 99 more. */
	for (uint32_t refs = 1; refs < 100; refs += 98) {
		for (uint64_t i = 0; i < 2048; i++)
			assert_int_equal(tide_kinds_add_refs(
				k, TIDE_KIND_INACTIVE_L2, (i * 8193 + 4) << 16,
				65536, refs, NULL), 0);
		print_message("# all shared with %u snapshots: %llu bytes\n",
			      refs == 1 ? 1 : 100,
			      (unsigned long long)tide_kinds_bytes(k));
		assert_true(tide_kinds_bytes(k) < bytes +
			    (refs == 1 ? 64 : 2048 * 34));
	}
	tide_kinds_destroy(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges),
		cmocka_unit_test(far_end),
		cmocka_unit_test(refusals),
		cmocka_unit_test(shared),
		cmocka_unit_test(memory_of_1_tib),
		cmocka_unit_test(scripts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
