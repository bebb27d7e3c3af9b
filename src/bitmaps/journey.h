/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs to send a bitmap in rounds while its disk is written to: a
 * model that plays the writes, with the real bitmap and the real chunks
 * (cbt/chunks.h), and counts bytes instead of sending them.
 *
 * A chunk goes as a head of JOURNEY_HEAD bytes and its bits; a chunk all of
 * ones as its head alone, and so does a row of chunks all of zeroes. The first
 * round sends all, each other one the chunks in which a bit has changed. A
 * write to blocks that are dirty already changes nothing, which is why a bitmap
 * that is only recorded into comes to rest although its disk does not.
 */
#ifndef TIDE_BITMAPS_JOURNEY_H
#define TIDE_BITMAPS_JOURNEY_H

#include "cbt/chunks.h"

#define JOURNEY_HEAD 20u

struct journey {
	struct cbt_image bits;
	struct cbt_chunks *chunks; /* owned; one for each chunk size */
	const uint32_t *chunk_bytes; /* borrowed */
	size_t count;
	uint64_t size_bytes, dirty; /* bits */
};

/* 0, -ENOMEM. */
int journey_init(struct journey *j, uint64_t size_bytes, uint32_t shift,
		 const uint32_t *chunk_bytes, size_t count);
void journey_fini(struct journey *j);
/* The disk is written to; cut at its end. 0, -ENOMEM. */
int journey_write(struct journey *j, uint64_t offset_bytes,
		  uint64_t length_bytes);
/* Backed up: all clean, and nothing of it was sent. */
void journey_clear(struct journey *j);

struct journey_sent {
	uint64_t chunks; /* with bits */
	uint64_t bits_bytes, head_bytes;
};

/* What the chunk size numbered @which has to send now; it is sent then. */
struct journey_sent journey_round(struct journey *j, size_t which);
/* The same, and nothing is sent. */
struct journey_sent journey_left(const struct journey *j, size_t which);
/* As if nothing had been sent. */
void journey_begin(struct journey *j, size_t which);

#endif
