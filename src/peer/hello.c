/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer/hello.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "peer/frame.h"

#define HEAD_BYTES 40u
#define SLOT_BYTES 24u		/* id, flags, gpa, length */

uint32_t tide__stall_ms(uint64_t stall_ns)
{
	uint64_t ms = (stall_ns + 999999u) / 1000000u;

	return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

uint64_t tide__stall_agreed_ns(uint64_t own_ns, uint32_t their_ms)
{
	uint64_t theirs_ns = (uint64_t)their_ms * 1000000u;

	return theirs_ns && theirs_ns < own_ns ? theirs_ns : own_ns;
}

unsigned char *tide__hello_put(const struct tide__hello *h, size_t *len)
{
	unsigned char *bytes, *at;

	*len = HEAD_BYTES + (size_t)h->slots * SLOT_BYTES;
	bytes = at = malloc(*len);
	if (!bytes)
		return NULL;
	tide__put_le(at, h->version, 4);
	tide__put_le(at + 4, h->features, 4);
	tide__put_le(at + 8, h->page_bytes, 8);
	tide__put_le(at + 16, h->channels, 4);
	tide__put_le(at + 20, h->slots, 4);
	memcpy(at + 24, h->id, TIDE__ID_BYTES);
	at += HEAD_BYTES;
	for (uint32_t i = 0; i < h->slots; i++, at += SLOT_BYTES) {
		tide__put_le(at, h->slot[i].id, 4);
		tide__put_le(at + 4, h->slot[i].flags, 4);
		tide__put_le(at + 8, h->slot[i].gpa_bytes, 8);
		tide__put_le(at + 16, h->slot[i].len_bytes, 8);
	}
	return bytes;
}

static int check_head(const struct tide__hello *h, size_t len,
		      struct tide_error *err)
{
	if (h->version != TIDE__WIRE_VERSION)
		return tide_error_set(err, -EPROTONOSUPPORT, "hello",
				      TIDE_NO_OFFSET,
				      "the source speaks version %" PRIu32
				      " of the stream, this receiver %u",
				      h->version, TIDE__WIRE_VERSION);
	if (h->features & ~(uint32_t)TIDE__FEATURES_KNOWN)
		return tide_error_set(err, -EPROTONOSUPPORT, "hello",
				      TIDE_NO_OFFSET,
				      "the source uses features 0x%" PRIx32
				      " that this receiver does not know",
				      h->features & ~(uint32_t)
				      TIDE__FEATURES_KNOWN);
	if (h->page_bytes != TIDE_PAGE_BYTES)
		return tide_error_set(err, -EPROTONOSUPPORT, "hello",
				      TIDE_NO_OFFSET,
				      "the source has pages of %" PRIu64
				      " bytes, this receiver of %u",
				      h->page_bytes, TIDE_PAGE_BYTES);
	if (!h->channels || h->channels > TIDE_PRECOPY_MAX_CHANNELS ||
	    !h->slots || h->slots > TIDE__HELLO_MAX_SLOTS ||
	    len != HEAD_BYTES + (size_t)h->slots * SLOT_BYTES)
		return tide_error_set(err, -EPROTO, "hello", TIDE_NO_OFFSET,
				      "%" PRIu32 " channels and %" PRIu32
				      " slots in %zu bytes make no sense",
				      h->channels, h->slots, len);
	return 0;
}

int tide__hello_get(struct tide__hello *hello, const unsigned char *bytes,
		    size_t len, struct tide_error *err)
{
	struct tide__hello h = { 0 };
	int ret;

	if (len < HEAD_BYTES)
		return tide_error_set(err, -EPROTO, "hello", TIDE_NO_OFFSET,
				      "a greeting of %zu bytes is too short",
				      len);
	h.version = (uint32_t)tide__get_le(bytes, 4);
	h.features = (uint32_t)tide__get_le(bytes + 4, 4);
	h.page_bytes = tide__get_le(bytes + 8, 8);
	h.channels = (uint32_t)tide__get_le(bytes + 16, 4);
	h.slots = (uint32_t)tide__get_le(bytes + 20, 4);
	memcpy(h.id, bytes + 24, TIDE__ID_BYTES);
	ret = check_head(&h, len, err);
	if (ret)
		return ret;
	h.slot = calloc(h.slots, sizeof(*h.slot));
	if (!h.slot)
		return tide_error_set(err, -ENOMEM, "hello", TIDE_NO_OFFSET,
				      "no memory for %" PRIu32 " slots",
				      h.slots);
	bytes += HEAD_BYTES;
	for (uint32_t i = 0; i < h.slots; i++, bytes += SLOT_BYTES) {
		h.slot[i].id = (uint32_t)tide__get_le(bytes, 4);
		h.slot[i].flags = (uint32_t)tide__get_le(bytes + 4, 4);
		h.slot[i].gpa_bytes = tide__get_le(bytes + 8, 8);
		h.slot[i].len_bytes = tide__get_le(bytes + 16, 8);
	}
	*hello = h;
	return 0;
}
