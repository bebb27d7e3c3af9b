/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chunks: what of a disk is copied whole, known by one digest, and zero or not.
 * Chunks of 64 KiB from the beginning of the disk; the last one may be shorter.
 */
#ifndef TIDE_TRANSFER_CHUNK_H
#define TIDE_TRANSFER_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#define CHUNK_SHIFT 16u
#define CHUNK_BYTES (UINT64_C(1) << CHUNK_SHIFT)
#define CHUNK_HEX 33 /* a digest as text, with its end */

struct chunk_digest {
	uint8_t bytes[16]; /* XXH3's 128 bits, the highest first */
};

/* What is known of @count chunks from @chunk on; data: count is 1. */
struct chunk_entry {
	uint64_t chunk, count;
	bool zero;
	struct chunk_digest digest; /* of data */
};

struct chunk_digest chunk_digest_of(const void *buf, uint64_t length_bytes);
void chunk_digest_text(const struct chunk_digest *d, char to[CHUNK_HEX]);
/* Does @buf hold zeroes only? */
bool chunk_is_zero(const uint8_t *buf, uint64_t length_bytes);

static inline uint64_t chunk_count(uint64_t bytes)
{
	return (bytes >> CHUNK_SHIFT) + ((bytes & (CHUNK_BYTES - 1)) != 0);
}

#endif
