/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Storing a frame's pages in guest memory.
 *
 * The header says where; it is accepted only if the pages are in one slot and
 * the payload has the right length. Plain data is received directly into guest
 * memory and checked there: until the whole guest has arrived nobody uses its
 * memory, so a damaged page harms only this attempt.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <zstd.h>

#include "peer/receive.h"

static const char origin[] = "receive";

/* Guest memory for @count pages from @first, or NULL with the reason. */
static unsigned char *memory_for(const struct receiver *r, uint64_t first,
				 uint64_t count, struct tide_error *err)
{
	struct tide_slot_piece piece;
	uint64_t covered = 0;

	if (count && first < UINT64_MAX / TIDE_PAGE_BYTES - count &&
	    tide_slots_split(r->slots, first * TIDE_PAGE_BYTES,
			     count * TIDE_PAGE_BYTES, &piece, 1,
			     &covered) == 1 &&
	    covered == count * TIDE_PAGE_BYTES)
		return piece.host;
	tide_error_set(err, -EPROTO, origin, first * TIDE_PAGE_BYTES,
		       "%" PRIu64 " pages from 0x%" PRIx64
		       " lie in no memory slot", count,
		       first * TIDE_PAGE_BYTES);
	return NULL;
}

static int apply_packed(struct receiver *r, struct tide__channel *c,
			const struct tide__frame *f, unsigned char *to,
			struct tide_error *err)
{
	size_t len = (size_t)f->pages * TIDE_PAGE_BYTES, n;
	int ret = tide__channel_receive_payload(c, f, err);

	if (ret)
		return ret;
	if (!(r->hello.features & TIDE__FEATURE_ZSTD))
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "compressed pages were not agreed on");
	n = ZSTD_decompress(to, len, c->payload, f->payload_bytes);
	if (ZSTD_isError(n) || n != len)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "compressed pages do not unpack: %s",
				      ZSTD_isError(n) ? ZSTD_getErrorName(n)
						      : "wrong length");
	return 0;
}

static int apply_pages(struct receiver *r, struct tide__channel *c,
		       const struct tide__frame *f, struct tide_error *err)
{
	unsigned char *to;

	if (f->pages > TIDE__UNIT_PAGES ||
	    (!f->flags && f->payload_bytes != f->pages * TIDE_PAGE_BYTES))
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "PAGES frame of %" PRIu32 " pages with %"
				      PRIu32 " bytes", f->pages,
				      f->payload_bytes);
	to = memory_for(r, f->first, f->pages, err);
	if (!to)
		return -EPROTO;
	if (f->flags & TIDE__FRAME_ZSTD)
		return apply_packed(r, c, f, to, err);
	return tide__channel_receive_into(c, f, to, err);
}

/* What reads as zero is not written: it may have no memory yet. */
static void clear_page(unsigned char *page)
{
	static const unsigned char zero[TIDE_PAGE_BYTES];

	if (memcmp(page, zero, sizeof(zero)))
		memset(page, 0, sizeof(zero));
}

static int apply_zero(struct receiver *r, const struct tide__frame *f,
		      bool fresh, struct tide_error *err)
{
	unsigned char *to;

	if (f->payload_bytes)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "ZERO frame with a payload");
	to = memory_for(r, f->first, f->pages, err);
	if (!to)
		return -EPROTO;
	/* Each page comes once in a round: at first all is zero. */
	for (uint64_t i = 0; !fresh && i < f->pages; i++)
		clear_page(to + i * TIDE_PAGE_BYTES);
	return 0;
}

int tide__apply(struct receiver *r, struct tide__channel *c,
		const struct tide__frame *f, bool fresh, struct tide_error *err)
{
	return f->type == TIDE__FRAME_PAGES ? apply_pages(r, c, f, err)
					    : apply_zero(r, f, fresh, err);
}
