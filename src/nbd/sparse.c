/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finding holes in data that was read. A hole chunk tells a client that a
 * range reads as zeroes, not how the disk stores it: so looking at the bytes
 * is enough. That needs no look at the disk's metadata, which might block; it
 * also finds zeroes that were written, and costs one word for each block that
 * is not zero.
 *
 * Blocks are aligned to the disk; they grow with the read, so that an answer
 * never has more than NBD_MAX_RUNS chunks, however its zeroes lie.
 */
#include "nbd/sparse.h"

#include <string.h>

#define SMALLEST_BLOCK 4096u

static bool is_zero(const uint8_t *at, uint64_t length)
{
	uint64_t words[8] = { 0 };

	while (length >= sizeof(words)) {
		memcpy(words, at, sizeof(words));
		if (words[0] | words[1] | words[2] | words[3] | words[4] |
		    words[5] | words[6] | words[7])
			return false;
		at += sizeof(words);
		length -= sizeof(words);
	}
	while (length--)
		if (*at++)
			return false;
	return true;
}

/* Two less than the most: the range may begin and end within a block. */
static uint64_t block_for(uint64_t length)
{
	uint64_t block = SMALLEST_BLOCK;

	while (length / block > NBD_MAX_RUNS - 2)
		block *= 2;
	return block;
}

uint32_t nbd_sparse_runs(const uint8_t *bytes, uint64_t offset,
			 uint64_t length, struct nbd_run *runs)
{
	uint64_t block = block_for(length);
	uint32_t n = 0;

	while (length) {
		uint64_t piece = block - offset % block;
		bool zero;

		if (piece > length)
			piece = length;
		zero = is_zero(bytes, piece);
		if (n && runs[n - 1].zero == zero)
			runs[n - 1].length_bytes += piece;
		else
			runs[n++] = (struct nbd_run){ piece, zero };
		bytes += piece;
		offset += piece;
		length -= piece;
	}
	return n;
}
