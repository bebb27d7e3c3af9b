/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer/frame.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <inttypes.h>

#include "base/bytes.h"

static const char origin[] = "frame";

static const char *const names[TIDE__FRAME_TYPES] = {
	[TIDE__FRAME_HELLO] = "HELLO",
	[TIDE__FRAME_WELCOME] = "WELCOME",
	[TIDE__FRAME_JOIN] = "JOIN",
	[TIDE__FRAME_JOINED] = "JOINED",
	[TIDE__FRAME_ROUND] = "ROUND",
	[TIDE__FRAME_PAGES] = "PAGES",
	[TIDE__FRAME_ZERO] = "ZERO",
	[TIDE__FRAME_ROUND_END] = "ROUND_END",
	[TIDE__FRAME_ROUND_ACK] = "ROUND_ACK",
	[TIDE__FRAME_STATE] = "STATE",
	[TIDE__FRAME_STATE_END] = "STATE_END",
	[TIDE__FRAME_READY] = "READY",
	[TIDE__FRAME_GO] = "GO",
	[TIDE__FRAME_DONE] = "DONE",
	[TIDE__FRAME_REFUSED] = "REFUSED",
	[TIDE__FRAME_CANCEL] = "CANCEL",
	[TIDE__FRAME_SLOTS] = "SLOTS",
	[TIDE__FRAME_ALIVE] = "ALIVE",
	[TIDE__FRAME_TOKEN] = "TOKEN",
};

const char *tide__frame_name(unsigned int type)
{
	return type && type < TIDE__FRAME_TYPES ? names[type] : "?";
}

uint64_t tide__frame_sum(const void *data, size_t len)
{
	return XXH3_64bits(data, len);
}

void tide__frame_put(const struct tide__frame *f,
		     unsigned char bytes[TIDE__FRAME_BYTES])
{
	tide__put_le(bytes, TIDE__WIRE_MAGIC, 4);
	tide__put_le(bytes + 4, f->type, 2);
	tide__put_le(bytes + 6, f->flags, 2);
	tide__put_le(bytes + 8, f->sequence, 8);
	tide__put_le(bytes + 16, f->first, 8);
	tide__put_le(bytes + 24, f->pages, 4);
	tide__put_le(bytes + 28, f->payload_bytes, 4);
	tide__put_le(bytes + 32, f->payload_sum, 8);
	tide__put_le(bytes + 40, tide__frame_sum(bytes, 40), 8);
}

static int check(const struct tide__frame *f, uint64_t sequence,
		 struct tide_error *err)
{
	if (f->sequence != sequence)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "frame %" PRIu64 " came where %" PRIu64
				      " was due: the stream lost or repeated "
				      "something", f->sequence, sequence);
	if (!f->type || f->type >= TIDE__FRAME_TYPES)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "frame of unknown type %u", f->type);
	if (f->payload_bytes > TIDE__MAX_PAYLOAD_BYTES)
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "%s frame with a payload of %" PRIu32
				      " bytes, more than any has",
				      tide__frame_name(f->type),
				      f->payload_bytes);
	if (f->flags && (f->flags != TIDE__FRAME_ZSTD ||
			 f->type != TIDE__FRAME_PAGES))
		return tide_error_set(err, -EPROTO, origin, f->sequence,
				      "%s frame with flags 0x%x",
				      tide__frame_name(f->type), f->flags);
	return 0;
}

int tide__frame_get(struct tide__frame *frame,
		    const unsigned char bytes[TIDE__FRAME_BYTES],
		    uint64_t sequence, struct tide_error *err)
{
	struct tide__frame f = {
		.type = (uint16_t)tide__get_le(bytes + 4, 2),
		.flags = (uint16_t)tide__get_le(bytes + 6, 2),
		.sequence = tide__get_le(bytes + 8, 8),
		.first = tide__get_le(bytes + 16, 8),
		.pages = (uint32_t)tide__get_le(bytes + 24, 4),
		.payload_bytes = (uint32_t)tide__get_le(bytes + 28, 4),
		.payload_sum = tide__get_le(bytes + 32, 8),
	};
	int ret;

	if (tide__get_le(bytes, 4) != TIDE__WIRE_MAGIC)
		return tide_error_set(err, -EPROTO, origin, sequence,
				      "no frame begins here: this is not a "
				      "Tidemark stream, or it is damaged");
	if (tide__get_le(bytes + 40, 8) != tide__frame_sum(bytes, 40))
		return tide_error_set(err, -EPROTO, origin, sequence,
				      "the head of frame %" PRIu64
				      " is damaged (checksum)", sequence);
	ret = check(&f, sequence, err);
	if (!ret)
		*frame = f;
	return ret;
}
