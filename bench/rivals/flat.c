/* SPDX-License-Identifier: BSD-2-Clause */
#include "flat.h"

#include <stdio.h>
#include <stdlib.h>

struct bench_found flat_read(const struct flat_pair *p)
{
	uint64_t any[8] = { 0 };
	struct bench_found f = { 0 };

	for (uint64_t i = 0; i + 8 <= p->words; i += 8)
		for (int k = 0; k < 8; k++)
			any[k] |= p->a[i + k] | p->b[i + k];
	for (int k = 0; k < 8; k++)
		f.sum |= any[k];
	return f;
}

static void push(struct flat_vector *v, uint64_t first, uint64_t count)
{
	if (v->n == v->room) {
		v->room = v->room ? 2 * v->room : 4;
		v->ranges = realloc(v->ranges, v->room * sizeof(*v->ranges));
		if (!v->ranges) {
			perror("tidemark bench: realloc");
			exit(1);
		}
	}
	v->ranges[v->n++] = (struct tide_range){ first, count };
}

static inline void emit(struct bench_found *f, struct flat_vector *into,
			uint64_t first, uint64_t count)
{
	if (!count)
		return;
	bench_add(f, first, count);
	if (into)
		push(into, first, count);
}

struct bench_found flat_lazy(const struct flat_pair *p,
			     struct flat_vector *into)
{
	struct bench_found f = { 0 };
	uint64_t first = 0, count = 0;

	for (uint64_t i = 0; i < p->words; i++)
		for (uint64_t w = p->a[i] | p->b[i]; w; w &= w - 1) {
			uint64_t page = i * 64 +
					(unsigned int)__builtin_ctzll(w);

			if (count && page == first + count) {
				count++;
				continue;
			}
			emit(&f, into, first, count);
			first = page;
			count = 1;
		}
	emit(&f, into, first, count);
	return f;
}

struct bench_found flat_ctz(const struct flat_pair *p)
{
	struct bench_found f = { 0 };
	uint64_t first = 0, count = 0;

	for (uint64_t i = 0; i < p->words; i++) {
		uint64_t w = p->a[i] | p->b[i];
		unsigned int at = 0;

		while (w) {
			unsigned int zeros = (unsigned int)__builtin_ctzll(w);
			unsigned int ones;

			w >>= zeros;
			at += zeros;
			ones = ~w ? (unsigned int)__builtin_ctzll(~w) : 64;
			if (count && first + count == i * 64 + at) {
				count += ones;
			} else {
				emit(&f, NULL, first, count);
				first = i * 64 + at;
				count = ones;
			}
			at += ones;
			w = ones < 64 ? w >> ones : 0;
		}
	}
	emit(&f, NULL, first, count);
	return f;
}

static uint64_t find(const uint64_t *map, uint64_t bits, uint64_t from,
		     uint64_t invert)
{
	uint64_t i = from / 64, w;

	if (from >= bits)
		return bits;
	w = (map[i] ^ invert) & (~UINT64_C(0) << (from % 64));
	while (!w) {
		if (++i * 64 >= bits)
			return bits;
		w = map[i] ^ invert;
	}
	return i * 64 + (unsigned int)__builtin_ctzll(w);
}

struct bench_found flat_find_bit(const uint64_t *map, uint64_t words)
{
	struct bench_found f = { 0 };
	uint64_t bits = words * 64, at = 0, end;

	while ((at = find(map, bits, at, 0)) < bits) {
		end = find(map, bits, at, ~UINT64_C(0));
		bench_add(&f, at, end - at);
		at = end;
	}
	return f;
}

/* Out of line, as the kernel has it; one loop for ones and zeros. */
static __attribute__((noinline)) uint64_t
find_or(const uint64_t *a, const uint64_t *b, uint64_t bits, uint64_t from,
	uint64_t invert)
{
	uint64_t i = from / 64, w;

	if (from >= bits)
		return bits;
	w = ((a[i] | b[i]) ^ invert) & (~UINT64_C(0) << (from % 64));
	while (!w) {
		if (++i * 64 >= bits)
			return bits;
		w = (a[i] | b[i]) ^ invert;
	}
	return i * 64 + (unsigned int)__builtin_ctzll(w);
}

struct bench_found flat_find_or_bit(const struct flat_pair *p)
{
	struct bench_found f = { 0 };
	uint64_t bits = p->words * 64, at = 0, end;

	while ((at = find_or(p->a, p->b, bits, at, 0)) < bits) {
		end = find_or(p->a, p->b, bits, at, ~UINT64_C(0));
		bench_add(&f, at, end - at);
		at = end;
	}
	return f;
}

struct bench_found flat_bytes(const uint64_t *map, uint64_t words)
{
	const unsigned char *bytes = (const unsigned char *)map;
	struct bench_found f = { 0 };
	uint64_t first = 0, count = 0;

	for (uint64_t i = 0; i < words * 8; i++) {
		if (!bytes[i])
			continue;
		for (unsigned int k = 0; k < 8; k++) {
			if (!(bytes[i] >> k & 1))
				continue;
			if (count && first + count == i * 8 + k) {
				count++;
				continue;
			}
			emit(&f, NULL, first, count);
			first = i * 8 + k;
			count = 1;
		}
	}
	emit(&f, NULL, first, count);
	return f;
}

void flat_vector_free(struct flat_vector *v)
{
	free(v->ranges);
	*v = (struct flat_vector){ 0 };
}
