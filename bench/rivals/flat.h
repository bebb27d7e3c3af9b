/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rivals that live on one flat bitmap: how others turn it into ranges. For
 * the comparison only; written here from their published descriptions.
 */
#ifndef BENCH_RIVALS_FLAT_H
#define BENCH_RIVALS_FLAT_H

#include "../measure.h"
#include "tidemark/range.h"

struct flat_pair {
	const uint64_t *a, *b;
	uint64_t words;
};

/* A vector that doubles, as a collected iterator ends up in. */
struct flat_vector {
	struct tide_range *ranges;
	size_t n, room;
};

/* Reads both bitmaps and tests their union: the floor. */
struct bench_found flat_read(const struct flat_pair *p);
/* Words -> positions of ones -> one-page ranges -> merge adjacent. */
struct bench_found flat_lazy(const struct flat_pair *p,
			     struct flat_vector *into);	/* NULL: streamed */
/* Count trailing zeros, then trailing ones, run by run. */
struct bench_found flat_ctz(const struct flat_pair *p);
/* find_next_bit, find_next_zero_bit, from scratch for each. */
struct bench_found flat_find_bit(const uint64_t *map, uint64_t words);
/* Linux's bit ranges over a union: find_next_or_bit, and the next zero. */
struct bench_found flat_find_or_bit(const struct flat_pair *p);
/* One byte, then each of its bits. */
struct bench_found flat_bytes(const uint64_t *map, uint64_t words);

void flat_vector_free(struct flat_vector *v);

#endif
