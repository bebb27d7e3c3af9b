/* SPDX-License-Identifier: BSD-2-Clause */
/* Four bits for each cluster of the file; 0 is data, else code + 1. */
#include <stdlib.h>

#include "kindmap.h"
#include "maps/kinds.h"

/* Beyond that nobody would want it. */
#define MAX_BYTES (UINT64_C(1) << 30)

struct flat {
	uint32_t cluster_bits;
	uint64_t bytes;
	uint8_t *nibbles;
};

static void set(struct flat *f, uint64_t cluster, uint32_t value)
{
	uint8_t *b = &f->nibbles[cluster / 2];
	uint32_t shift = cluster % 2 * 4;

	*b = (uint8_t)((*b & ~(15u << shift)) | value << shift);
}

static uint32_t get(const struct flat *f, uint64_t cluster)
{
	return f->nibbles[cluster / 2] >> (cluster % 2 * 4) & 15;
}

static void *flat_create(const struct kinds_image *im)
{
	struct flat *f;

	if (im->clusters / 2 > MAX_BYTES)
		return NULL;
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->cluster_bits = im->cluster_bits;
	f->bytes = im->clusters / 2 + 1;
	f->nibbles = calloc(1, f->bytes);
	if (!f->nibbles) {
		free(f);
		return NULL;
	}
	for (size_t i = 0; i < im->places; i++)
		for (uint32_t j = 0; j < im->place[i].n; j++) {
			uint64_t at = im->place[i].cluster + j;

			set(f, at, get(f, at) ? CODE_SHARED_L2 + 1 :
						im->place[i].kind + 1u);
		}
	return f;
}

static void flat_destroy(void *map)
{
	struct flat *f = map;

	free(f->nibbles);
	free(f);
}

static int flat_check(void *map, uint64_t offset, uint64_t bytes,
		      uint32_t allowed)
{
	const struct flat *f = map;
	uint64_t last = (offset + bytes - 1) >> f->cluster_bits;

	for (uint64_t i = offset >> f->cluster_bits; i <= last; i++) {
		uint32_t value = i / 2 < f->bytes ? get(f, i) : 0;

		if (value && code_kinds(value - 1) & ~allowed)
			return 1;
	}
	return 0;
}

static void flat_add(void *map, uint64_t cluster)
{
	set(map, cluster, TIDE_KIND_L2 + 1);
}

static void flat_remove(void *map, uint64_t cluster)
{
	set(map, cluster, 0);
}

static uint64_t flat_bytes(const void *map)
{
	return ((const struct flat *)map)->bytes;
}

const struct kindmap kindmap_flat = { "flat 4-bit", flat_create, flat_destroy,
				      flat_check, flat_add, flat_remove,
				      flat_bytes, false };
