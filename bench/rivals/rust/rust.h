/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rivals of rivals.rs, there if the build found a Rust compiler. Callers
 * ask rival_rust first: without it a name is NULL, and its row is left out.
 */
#ifndef BENCH_RIVALS_RUST_H
#define BENCH_RIVALS_RUST_H

#include "bench/measure.h"

/* Found there: what struct bench_found begins with. */
struct rival_found {
	uint64_t ranges, pages, sum;
};

struct rival_rust_bitmap;

#ifdef TIDE_HAVE_RUST
#define RIVAL_RUST(name) (name)

struct rival_found rival_rust_streamed(const uint64_t *a, const uint64_t *b,
				       size_t words);
struct rival_found rival_rust_collected(const uint64_t *a, const uint64_t *b,
					size_t words);
struct rival_rust_bitmap *rival_rust_bitmap_create(size_t pages);
void rival_rust_bitmap_destroy(struct rival_rust_bitmap *bitmap);
void rival_rust_bitmap_mark(const struct rival_rust_bitmap *bitmap,
			    const uint32_t *page, size_t n);
struct rival_found
rival_rust_bitmap_take(const struct rival_rust_bitmap *bitmap);
#else
#define RIVAL_RUST(name) NULL

static inline struct rival_found
rival_rust_streamed(const uint64_t *a, const uint64_t *b, size_t words)
{
	(void)a, (void)b, (void)words;
	return (struct rival_found){ 0 };
}
static inline struct rival_found
rival_rust_collected(const uint64_t *a, const uint64_t *b, size_t words)
{
	return rival_rust_streamed(a, b, words);
}
static inline struct rival_rust_bitmap *rival_rust_bitmap_create(size_t pages)
{
	(void)pages;
	return NULL;
}
static inline void rival_rust_bitmap_destroy(struct rival_rust_bitmap *bitmap)
{
	(void)bitmap;
}
static inline void
rival_rust_bitmap_mark(const struct rival_rust_bitmap *bitmap,
		       const uint32_t *page, size_t n)
{
	(void)bitmap, (void)page, (void)n;
}
static inline struct rival_found
rival_rust_bitmap_take(const struct rival_rust_bitmap *bitmap)
{
	(void)bitmap;
	return (struct rival_found){ 0 };
}
#endif

static inline struct bench_found rival_found(struct rival_found f)
{
	return (struct bench_found){ .ranges = f.ranges, .pages = f.pages,
				     .sum = f.sum };
}

#endif
