/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The digests of a point: one for every chunk that its image holds, in the
 * order of the disk. docs/format-backup.md has the bytes. Memory does not grow
 * with the file; a file that is damaged or cut short is noticed when it is
 * opened.
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
#include "transfer/chunk.h"

struct digests_writer {
	FILE *file;
	char *path;
	XXH3_state_t *state;
	uint64_t entries, number, size_bytes;
	struct chunk_entry zeroes; /* a run that may become longer */
};

int digests_create(struct digests_writer *w, const char *path, uint64_t number,
		   uint64_t size_bytes, struct tide_error *err);
/* In ascending order; runs of zeroes that touch are joined. */
int digests_add(struct digests_writer *w, const struct chunk_entry *e,
		struct tide_error *err);
/* Durable, and *sum is what the manifest is to say. The writer is gone. */
int digests_finish(struct digests_writer *w, char sum[CHUNK_HEX],
		   struct tide_error *err);
/* Of a writer that is not finished: closed, the file stays. */
void digests_drop(struct digests_writer *w);

struct digests_reader {
	FILE *file;
	uint64_t left; /* entries that were not read yet */
	uint64_t number, size_bytes;
	struct chunk_entry now;
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
