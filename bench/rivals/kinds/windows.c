/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The design of the open question: sorted runs, and beside them a few windows
 * of 4 bits a cluster, generated from the runs when a check needs one. A window
 * is 4096 clusters in 2 KiB; its slot is its number modulo the count of slots.
 */
#include <stdlib.h>
#include <string.h>

#include "kindmap.h"
#include "maps/kinds.h"

#define WINDOW_BITS 12
#define WINDOW (UINT64_C(1) << WINDOW_BITS)

struct window {
	uint64_t number;
	uint8_t nibbles[WINDOW / 2];
};

struct windows {
	struct kinds_array *a;
	size_t n;
	struct window w[];
};

static void *create(const struct kinds_image *im, size_t n)
{
	struct windows *s = malloc(sizeof(*s) + n * sizeof(struct window));

	if (!s)
		return NULL;
	s->n = n;
	for (size_t i = 0; i < n; i++)
		s->w[i].number = UINT64_MAX;
	s->a = kinds_array_create(im);
	if (!s->a) {
		free(s);
		return NULL;
	}
	return s;
}

static void destroy(void *map)
{
	struct windows *s = map;

	kinds_array_destroy(s->a);
	free(s);
}

static void generate(const struct kinds_array *a, struct window *w,
		     uint64_t number)
{
	uint64_t first = number << WINDOW_BITS, end = first + WINDOW;

	w->number = number;
	memset(w->nibbles, 0, sizeof(w->nibbles));
	for (size_t i = kinds_array_below(a, end);
	     i-- && run_end(a->run[i]) > first;) {
		uint64_t from = run_start(a->run[i]), to = run_end(a->run[i]);
		uint32_t value = run_code(a->run[i]) + 1;

		for (from = from < first ? first : from;
		     from < to && from < end; from++)
			w->nibbles[(from - first) / 2] |=
				(uint8_t)(value << from % 2 * 4);
	}
}

static inline uint32_t value_at(struct windows *s, uint64_t cluster)
{
	uint64_t number = cluster >> WINDOW_BITS;
	struct window *w = &s->w[number & (s->n - 1)];
	uint64_t at = cluster & (WINDOW - 1);

	if (w->number != number)
		generate(s->a, w, number);
	return w->nibbles[at / 2] >> at % 2 * 4 & 15;
}

static int check(void *map, uint64_t offset, uint64_t bytes, uint32_t allowed)
{
	struct windows *s = map;
	uint64_t last = (offset + bytes - 1) >> s->a->cluster_bits;

	for (uint64_t i = offset >> s->a->cluster_bits; i <= last; i++) {
		uint32_t value = value_at(s, i);

		if (value && code_kinds(value - 1) & ~allowed)
			return 1;
	}
	return 0;
}

static void forget(struct windows *s, uint64_t cluster)
{
	uint64_t number = cluster >> WINDOW_BITS;
	struct window *w = &s->w[number & (s->n - 1)];

	if (w->number == number)
		w->number = UINT64_MAX;
}

static void add(void *map, uint64_t cluster)
{
	struct windows *s = map;

	kinds_array_add(s->a, cluster);
	forget(s, cluster);
}

static void remove_one(void *map, uint64_t cluster)
{
	struct windows *s = map;

	kinds_array_remove(s->a, cluster);
	forget(s, cluster);
}

static uint64_t bytes_of(const void *map)
{
	const struct windows *s = map;

	return sizeof(*s) + s->n * sizeof(struct window) + s->a->n * 8;
}

#define WINDOWS(count)                                                        \
	static void *create##count(const struct kinds_image *im)              \
	{                                                                     \
		return create(im, count);                                     \
	}                                                                     \
	const struct kindmap kindmap_windows##count = {                       \
		"windows, " #count, create##count, destroy, check, add,       \
		remove_one, bytes_of, false                                   \
	}

WINDOWS(1);
WINDOWS(4);
WINDOWS(16);
WINDOWS(64);
WINDOWS(256);
