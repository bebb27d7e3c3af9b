/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmaps/stream.h"
#include "bitmaps/stream_bytes.h"

/* A chunk's sectors are 32 bits: coarse bitmaps get small chunks. */
#define MAX_SECTORS (UINT64_C(1) << 31)
#define SECTION_ID 2u

static const char no_devices[] = "{\"page_size\": 4096, \"devices\": []}";

struct out {
	FILE *to; /* it keeps the first error itself */
	const struct stream_bitmap *last; /* whose names were sent; NULL: none */
};

static void put_be(struct out *o, uint64_t value, unsigned int bytes)
{
	unsigned char buf[8];

	tide__put_be(buf, value, bytes);
	fwrite(buf, 1, bytes, o->to);
}

static void put_text(struct out *o, const char *text)
{
	put_be(o, strlen(text), 1);
	fwrite(text, 1, strlen(text), o->to);
}

/* Flags, and the names, of which those that are known already are left out. */
static void put_head(struct out *o, const struct stream_bitmap *b,
		     unsigned int flags)
{
	bool node = !o->last || strcmp(o->last->node, b->node);
	bool name = node || strcmp(o->last->name, b->name);

	put_be(o, flags | (node ? CHUNK_NODE_NAME : 0) |
		       (name ? CHUNK_BITMAP_NAME : 0), 1);
	if (node)
		put_text(o, b->node);
	if (name)
		put_text(o, b->name);
	o->last = b;
}

static bool is_zero(const uint64_t *words)
{
	for (size_t i = 0; i < STREAM_CHUNK_BITS / 64; i++)
		if (words[i])
			return false;
	return true;
}

static void put_part(struct out *o, const struct stream_bitmap *b,
		     uint64_t start, uint64_t bits)
{
	uint32_t shift = b->bits.shift;
	uint64_t words[STREAM_CHUNK_BITS / 64] = { 0 };
	uint64_t left = (b->size_bytes - (start << shift) + 511) >> 9;
	uint64_t sectors = bits << (shift - STREAM_SECTOR_BITS);
	uint64_t bytes = ((bits + 7) / 8 + 31) / 32 * 32;
	unsigned char out[STREAM_CHUNK_BITS / 8];
	bool zeroes;

	cbt_image_or_into(&b->bits, start << shift, words, bits, shift);
	zeroes = is_zero(words);
	put_head(o, b, CHUNK_BITS | (zeroes ? CHUNK_ZEROES : 0));
	put_be(o, start << (shift - STREAM_SECTOR_BITS), 8);
	put_be(o, sectors < left ? sectors : left, 4);
	if (zeroes)
		return;
	put_be(o, bytes, 8);
	for (size_t i = 0; i < sizeof(words) / 8; i++)
		tide__put_le(out + i * 8, words[i], 8);
	fwrite(out, 1, bytes, o->to);
}

static void put_bits(struct out *o, const struct stream_bitmap *b)
{
	uint64_t all = cbt_bits_of(b->size_bytes, b->bits.shift);
	uint64_t bits = MAX_SECTORS >> (b->bits.shift - STREAM_SECTOR_BITS);

	if (bits > STREAM_CHUNK_BITS)
		bits = STREAM_CHUNK_BITS;
	for (uint64_t at = 0; at < all; at += bits)
		put_part(o, b, at, all - at < bits ? all - at : bits);
	put_head(o, b, CHUNK_COMPLETE);
}

static void begin_section(struct out *o, enum stream_section type)
{
	put_be(o, type, 1);
	put_be(o, SECTION_ID, 4);
}

static void end_section(struct out *o)
{
	put_be(o, CHUNK_EOS, 1);
	put_be(o, SECTION_FOOTER, 1);
	put_be(o, SECTION_ID, 4);
}

static void put_sections(struct out *o, const struct stream_bitmaps *bitmaps)
{
	begin_section(o, SECTION_START);
	put_text(o, STREAM_SECTION);
	put_be(o, 0, 4);
	put_be(o, 1, 4);
	for (size_t i = 0; i < bitmaps->count; i++) {
		const struct stream_bitmap *b = &bitmaps->list[i];

		put_head(o, b, CHUNK_START);
		put_be(o, UINT64_C(1) << b->bits.shift, 4);
		put_be(o, (b->enabled ? STATE_ENABLED : 0) |
			       (b->persistent ? STATE_PERSISTENT : 0), 1);
	}
	end_section(o);
	begin_section(o, SECTION_END);
	for (size_t i = 0; i < bitmaps->count; i++)
		put_bits(o, &bitmaps->list[i]);
	end_section(o);
}

static int check_list(const struct stream_bitmaps *bitmaps,
		      struct tide_error *err)
{
	for (size_t i = 0; i < bitmaps->count; i++) {
		const struct stream_bitmap *b = &bitmaps->list[i];

		if (!*b->name || !*b->node ||
		    stream_find(bitmaps, b->node, b->name) != b)
			return tide_error_set(err, -EINVAL, "bitmap",
				TIDE_NO_OFFSET, "the bitmap '%s' of '%s' is "
				"named twice, or without a name", b->name,
				b->node);
		if (b->bits.shift < STREAM_SECTOR_BITS || b->bits.shift > 31)
			return tide_error_set(err, -EINVAL, "bitmap",
				TIDE_NO_OFFSET, "a bit of the bitmap '%s' is "
				"2^%u bytes; QEMU takes 512 bytes to 2 GiB",
				b->name, b->bits.shift);
	}
	return 0;
}

int stream_write(FILE *to, const char *machine,
		 const struct stream_bitmaps *bitmaps, struct tide_error *err)
{
	struct out o = { .to = to };
	int ret = check_list(bitmaps, err);

	if (ret)
		return ret;
	put_be(&o, STREAM_MAGIC, 4);
	put_be(&o, STREAM_VERSION, 4);
	put_be(&o, SECTION_CONFIGURATION, 1);
	put_be(&o, strlen(machine), 4);
	fwrite(machine, 1, strlen(machine), to);
	put_sections(&o, bitmaps);
	put_be(&o, SECTION_EOF, 1);
	/* Without it QEMU complains, and goes on. */
	put_be(&o, SECTION_DESCRIPTION, 1);
	put_be(&o, strlen(no_devices), 4);
	fwrite(no_devices, 1, strlen(no_devices), to);
	if (!ferror(to))
		return 0;
	return tide_error_set(err, -EIO, "bitmap", TIDE_NO_OFFSET,
			      "the stream cannot be written");
}
