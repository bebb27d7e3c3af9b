/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bitmap of a bitmap: one bit for each chunk of its serialised form, set
 * when something in the chunk differs from what was last sent.
 *
 * The serialised form is one bit for each block, eight blocks to a byte, from
 * the beginning of the disk. So a chunk of C bytes covers C x 8 blocks, which
 * is C x 8 x granularity bytes of the disk (cbt_chunk_span_bytes):
 *
 *	1 KiB at 64 KiB:  1,024 x 8 x 65,536 = 512 MiB of the disk a chunk
 *
 * Small chunks resend little that has not changed, but each costs a header;
 * for large ones it is the other way round. docs/evaluation.md has
 * measurements.
 */
#ifndef TIDE_CBT_CHUNKS_H
#define TIDE_CBT_CHUNKS_H

#include "cbt/image.h"

#define CBT_MIN_CHUNK 32u
#define CBT_MAX_CHUNK (1u << 20)
#define CBT_USUAL_CHUNK 1024u

struct cbt_chunks {
	uint32_t span_shift; /* bytes of the disk a chunk, as a power of two */
	uint64_t bits; /* of the bitmap */
	uint64_t bits_a_chunk, count;
	uint64_t *words; /* owned */
};

/* @chunk_bytes: a power of two of the range above. */
bool cbt_chunk_bytes_fit(uint64_t chunk_bytes);
uint64_t cbt_chunk_span_bytes(uint64_t chunk_bytes, uint64_t granularity_bytes);

/* Of a bitmap of @bits blocks of 2^shift bytes; all set. 0, -ENOMEM. */
int cbt_chunks_init(struct cbt_chunks *k, uint64_t bits, uint32_t shift,
		    uint32_t chunk_bytes);
void cbt_chunks_fini(struct cbt_chunks *k);
/*
 * The bitmap has other many bits: chunks that are new, or have another length
 * than before, are set. 0, -ENOMEM (nothing has changed).
 */
int cbt_chunks_resize(struct cbt_chunks *k, uint64_t bits);

/* Something in these bytes of the disk; cut at the end. */
void cbt_chunks_mark(struct cbt_chunks *k, uint64_t offset_bytes,
		     uint64_t length_bytes);
void cbt_chunks_mark_all(struct cbt_chunks *k);
/* What is set in @m, of any granularity. */
void cbt_chunks_mark_image(struct cbt_chunks *k, const struct cbt_image *m);
/* What differs between two images of the bitmap's own granularity. */
void cbt_chunks_mark_changed(struct cbt_chunks *k, const struct cbt_image *a,
			     const struct cbt_image *b);

bool cbt_chunks_has(const struct cbt_chunks *k, uint64_t chunk);
uint64_t cbt_chunks_count(const struct cbt_chunks *k);
void cbt_chunks_clear(struct cbt_chunks *k);
/* Bytes of the chunk's serialised form: the last one may be shorter. */
uint64_t cbt_chunk_length(const struct cbt_chunks *k, uint64_t chunk);

#endif
