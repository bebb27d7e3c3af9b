/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Input: a script for the kind map, 6 bytes a step, played against counts kept
 * cluster by cluster. Any difference traps.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "tidemark/kinds.h"

#define CLUSTERS 2048u

struct step {
	uint8_t what;	/* 2 bits: add, add, remove, check; 6 bits: length */
	uint8_t kind;	/* 4 bits; of a check, the mask's low bits */
	uint16_t at;
	uint16_t more;	/* bytes cut off; of a check, the mask's high bits */
};

static uint8_t count[CLUSTERS][TIDE_KIND_COUNT];

static uint32_t mask_of(uint64_t cluster)
{
	uint32_t mask = 0;

	for (uint32_t i = 0; i < TIDE_KIND_COUNT; i++)
		mask |= count[cluster][i] ? 1u << i : 0;
	return mask;
}

static void check(const struct tide_kinds *k, const struct step *s, uint64_t n)
{
	uint64_t at = s->at % CLUSTERS, first = at;
	uint32_t allowed = (s->kind | (uint32_t)s->more << 8) & TIDE_KIND_ALL;
	struct tide_kinds_hit hit;

	while (first < at + n && !(mask_of(first) & ~allowed))
		first++;
	if (tide_kinds_check(k, at << 9, n << 9, allowed, &hit) !=
	    (first < at + n))
		__builtin_trap();
	if (first < at + n && (hit.offset_bytes != first << 9 ||
			       hit.kinds != (mask_of(first) & ~allowed)))
		__builtin_trap();
}

static void change(struct tide_kinds *k, const struct step *s, bool add,
		   uint64_t n)
{
	uint64_t at = s->at % CLUSTERS;
	uint32_t kind = s->kind % TIDE_KIND_COUNT;
	bool can = true;
	int ret;

	for (uint64_t i = at; i < at + n; i++)
		can &= add ? count[i][kind] < 255 : count[i][kind] > 0;
	if (add && !can)
		return; /* the oracle is full, not the map */
	ret = (add ? tide_kinds_add : tide_kinds_remove)(
		k, (enum tide_kind)kind, at << 9, (n << 9) - s->more % 512,
		NULL);
	if (ret != (can ? 0 : -ENOENT))
		__builtin_trap();
	for (uint64_t i = at; can && i < at + n; i++)
		count[i][kind] = (uint8_t)(count[i][kind] + (add ? 1 : 255));
}

/* The walk at the end shows what the counts say. */
static void walk(const struct tide_kinds *k)
{
	struct tide_kinds_run run;
	uint64_t from = 0, at = 0;

	for (; tide_kinds_next(k, from, &run);
	     from = run.offset_bytes + run.length_bytes) {
		for (; at < run.offset_bytes >> 9; at++)
			if (mask_of(at))
				__builtin_trap();
		for (; at < (run.offset_bytes + run.length_bytes) >> 9; at++)
			if (mask_of(at) != run.kinds)
				__builtin_trap();
	}
	for (; at < CLUSTERS; at++)
		if (mask_of(at))
			__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tide_kinds *k;
	struct step s;

	if (tide_kinds_create(&k, 9, NULL) < 0)
		return 0;
	memset(count, 0, sizeof(count));
	for (; size >= sizeof(s); data += sizeof(s), size -= sizeof(s)) {
		uint64_t n, left;

		memcpy(&s, data, sizeof(s));
		n = (s.what >> 2) + (s.what >> 2 == 63 ? 200u : 1u);
		left = CLUSTERS - s.at % CLUSTERS;
		n = n < left ? n : left;
		if ((s.what & 3) == 3)
			check(k, &s, n);
		else
			change(k, &s, (s.what & 3) < 2, n);
	}
	walk(k);
	tide_kinds_destroy(k);
	return 0;
}
