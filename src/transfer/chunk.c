/* SPDX-License-Identifier: BSD-2-Clause */
#include "transfer/chunk.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

struct chunk_digest chunk_digest_of(const void *buf, uint64_t length_bytes)
{
	XXH128_canonical_t bytes;
	struct chunk_digest d;

	XXH128_canonicalFromHash(&bytes, XXH3_128bits(buf, length_bytes));
	memcpy(d.bytes, bytes.digest, sizeof(d.bytes));
	return d;
}

void chunk_digest_text(const struct chunk_digest *d, char to[CHUNK_HEX])
{
	for (int i = 0; i < 16; i++)
		snprintf(to + 2 * i, 3, "%02x", d->bytes[i]);
}

bool chunk_is_zero(const uint8_t *buf, uint64_t length_bytes)
{
	/* Each byte is the one after it, and the first is 0. */
	return !length_bytes ||
	       (!buf[0] && !memcmp(buf, buf + 1, length_bytes - 1));
}
