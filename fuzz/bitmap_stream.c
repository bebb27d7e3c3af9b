/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A migration stream as a stranger gave it. What is read of it, written and
 * read again, is the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bitmaps/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_from(void *data, size_t size, struct stream_bitmaps *out)
{
	FILE *from = fmemopen(data, size, "rb");
	int ret;

	if (!from)
		abort();
	ret = stream_read(from, "fuzz", out, NULL);
	fclose(from);
	return ret;
}

static void must_be_same(const struct stream_bitmap *a,
			 const struct stream_bitmap *b)
{
	if (a->size_bytes != b->size_bytes || a->enabled != b->enabled ||
	    a->bits.shift != b->bits.shift || strcmp(a->name, b->name) ||
	    strcmp(a->node, b->node) ||
	    cbt_image_count(&a->bits) != cbt_image_count(&b->bits))
		__builtin_trap();
}

/* Zeroes of a few bytes stand for a large bitmap, which is slow to write. */
static int is_large(const struct stream_bitmaps *b)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < b->count; i++)
		bits += b->list[i].bits.bits;
	return bits > UINT64_C(1) << 24;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream_bitmaps all, again;
	char *buf = NULL;
	size_t bytes = 0;
	FILE *to;

	if (!size || read_from((void *)data, size, &all))
		return 0;
	to = is_large(&all) ? NULL : open_memstream(&buf, &bytes);
	if (to) {
		if (stream_write(to, "none", &all, NULL) || fclose(to) ||
		    read_from(buf, bytes, &again) || again.count != all.count)
			__builtin_trap();
		for (size_t i = 0; i < all.count; i++)
			must_be_same(&all.list[i], &again.list[i]);
		stream_fini(&again);
		free(buf);
	}
	stream_fini(&all);
	return 0;
}
