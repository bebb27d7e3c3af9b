/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The digests of a point: one for every chunk that its image holds, in the order
 * of the disk. docs/format-backup.md has the bytes. Memory does not grow with
 * the file; a file that is damaged or cut short is noticed when it is opened.
 *
 * Each of these belongs to one thread at a time.
 */
#ifndef TIDE_BACKUP_DIGESTS_H
#define TIDE_BACKUP_DIGESTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <xxhash.h>

#include "tidemark/error.h"

#define BACKUP_CHUNK_SHIFT 16u
#define BACKUP_CHUNK_BYTES (UINT64_C(1) << BACKUP_CHUNK_SHIFT)
#define BACKUP_HEX 33 /* a digest as text, with its end */

struct backup_digest {
	uint8_t bytes[16];
};

struct backup_digest backup_digest_of(const void *buf, uint64_t length_bytes);
void backup_digest_text(const struct backup_digest *d, char to[BACKUP_HEX]);
static inline uint64_t backup_chunks(uint64_t bytes)
{
	return (bytes >> BACKUP_CHUNK_SHIFT) +
	       ((bytes & (BACKUP_CHUNK_BYTES - 1)) != 0);
}

/* What is known of @count chunks from @chunk on; data: count is 1. */
struct backup_entry {
	uint64_t chunk, count;
	bool zero;
	struct backup_digest digest; /* of data */
};

struct digests_writer {
	FILE *file;
	char *path;
	XXH3_state_t *state;
	uint64_t entries, number, size_bytes;
	struct backup_entry zeroes; /* a run that may become longer */
};

int digests_create(struct digests_writer *w, const char *path, uint64_t number,
		   uint64_t size_bytes, struct tide_error *err);
/* In ascending order; runs of zeroes that touch are joined. */
int digests_add(struct digests_writer *w, const struct backup_entry *e,
		struct tide_error *err);
/* Durable, and *sum is what the manifest is to say. The writer is gone. */
int digests_finish(struct digests_writer *w, char sum[BACKUP_HEX],
		   struct tide_error *err);
/* Of a writer that is not finished: closed, the file stays. */
void digests_drop(struct digests_writer *w);

struct digests_reader {
	FILE *file;
	uint64_t left; /* entries that were not read yet */
	uint64_t number, size_bytes;
	struct backup_entry now;
	bool has; /* now is one */
};

/*
 * All of the file is read once, and its sum is @sum. -EBADMSG: it is not.
 * Then the first entry is in hand.
 */
int digests_open(struct digests_reader *r, const char *path, const char *sum,
		 struct tide_error *err);
/* To the next entry. */
int digests_step(struct digests_reader *r, struct tide_error *err);
void digests_close(struct digests_reader *r);

#endif
