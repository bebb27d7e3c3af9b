/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An image: bits over a disk, one for each block of 2^shift bytes, in pages;
 * pages that are all zero take no memory. A page knows whether the store has
 * it in its present form, and where: only what changed is written.
 *
 * Between images of different granularities a bit stands for all that it
 * covers, so a union is never too small. Single-owner: if it is shared, the
 * owner locks.
 */
#ifndef TIDE_CBT_IMAGE_H
#define TIDE_CBT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CBT_PAGE_BITS 32768u
#define CBT_PAGE_WORDS (CBT_PAGE_BITS / 64)
#define CBT_PAGE_BYTES (CBT_PAGE_BITS / 8)

/* 4 PiB in blocks of 64K, 32 TiB in blocks of 512: 8 GiB of bits. */
#define CBT_MAX_BITS (UINT64_C(1) << 36)

struct cbt_page {
	uint64_t words[CBT_PAGE_WORDS];
	uint64_t block; /* where the store has it; 0: nowhere yet */
	uint64_t checksum;
	bool saved; /* there as it is here */
};

struct cbt_image {
	uint64_t bits;
	uint32_t shift;
	struct cbt_page **pages; /* NULL: all zero */
	size_t page_count;
	/*
	 * The page table in the store; 0: none, or it does not hold any more.
	 */
	uint64_t table_block;
	uint64_t table_blocks;
	uint64_t table_checksum;
	bool table_saved;
};

/* A run of bits; none left: start == end. */
struct cbt_run {
	uint64_t start, end;
};

/* Blocks of a disk of that size. */
uint64_t cbt_bits_of(uint64_t size_bytes, uint32_t shift);

/* All zero. 0, -ENOMEM. */
int cbt_image_init(struct cbt_image *m, uint64_t bits, uint32_t shift);
void cbt_image_fini(struct cbt_image *m);
/* Grows, never shrinks: bits past the end of the disk harm nobody. */
int cbt_image_grow(struct cbt_image *m, uint64_t bits);
/* All zero again; pages that the store has go to @gone. */
void cbt_image_clear(struct cbt_image *m);

/* The page, made if it is not there; NULL: no memory. */
struct cbt_page *cbt_image_page(struct cbt_image *m, size_t index);

/* [start, end) of bits; cut at the image's end. 0, -ENOMEM. */
int cbt_image_set(struct cbt_image *m, uint64_t start, uint64_t end);
/* The bits of one word of them; the image is large enough. 0, -ENOMEM. */
int cbt_image_or_word(struct cbt_image *m, uint64_t index, uint64_t bits);
/*
 * The bits of @from, or @bits of plain @words, the first of which is bit @first
 * (a multiple of CBT_PAGE_BITS) of their granularity, come in. 0, -ENOMEM.
 */
int cbt_image_or(struct cbt_image *m, const struct cbt_image *from);
int cbt_image_or_words(struct cbt_image *m, uint64_t first,
		       const uint64_t *words, uint64_t bits, uint32_t shift);

/*
 * What @m says about [first_byte, first_byte + (bits << shift)), into @words
 * (zero padded, @bits of them, one a block of 2^shift bytes).
 */
void cbt_image_or_into(const struct cbt_image *m, uint64_t first_byte,
		       uint64_t *words, uint64_t bits, uint32_t shift);
uint64_t cbt_image_count(const struct cbt_image *m);

/* The next run in @words at or after @from. */
struct cbt_run cbt_next_run(const uint64_t *words, uint64_t bits,
			    uint64_t from);
/* Set [start, end) in plain memory. */
void cbt_set_bits(uint64_t *words, uint64_t start, uint64_t end);

#endif
