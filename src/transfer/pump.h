/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pump: pieces of a disk, worked on by several threads at once, and
 * finished in their order. All that copies or compares disks here is one: what
 * comes next, what is done with it, and what is noted of it.
 *
 * `next` and `finish` are called by one thread at a time, and never both, so
 * they may share what they like; `work` by any number. The first error ends it.
 */
#ifndef TIDE_TRANSFER_PUMP_H
#define TIDE_TRANSFER_PUMP_H

#include <stddef.h>

#include "tidemark/error.h"
#include "transfer/chunk.h"

#define PIECE_BYTES (UINT64_C(1) << 20)
#define PIECE_CHUNKS (PIECE_BYTES >> CHUNK_SHIFT)

enum piece_kind {
	PIECE_SKIP, /* not asked for */
	PIECE_ZERO,
	PIECE_DATA /* at most PIECE_BYTES */
};

#define PUMP_BATCH 32u /* pieces in a worker's hands at once, at most */

/* Begins at a chunk, and ends at one or with the disk. */
struct piece {
	uint64_t offset_bytes, length_bytes;
	uint64_t max_bytes; /* of data, when it is made: of PIECE_BYTES */
	enum piece_kind kind;
	uint8_t *buf; /* of data: its own part of the worker's */
	bool fetched; /* the data is in buf */
	uint64_t number;
	uint32_t flags; /* of who made it */
	/* Of each chunk of data: */
	struct chunk_entry chunks[PIECE_CHUNKS];
};

/*
 * How far from @at on (a chunk's beginning) all chunks are of one kind, in
 * bytes, and whether that is zeroes.
 */
uint64_t piece_run(const struct piece *p, uint64_t at_bytes, bool *zero);

struct pump {
	uint32_t jobs;
	/* 1: a piece; 0: no more. */
	int (*next)(void *opaque, struct piece *p,
		    struct tide_error *err);
	/* @worker: 0 to jobs - 1; buf: PIECE_BYTES, or the piece's part. */
	int (*work)(void *opaque, uint32_t worker, struct piece *p,
		    uint8_t *buf, struct tide_error *err);
	/*
	 * Before work, if not NULL: pieces that lie apart are fetched at once,
	 * each into its buf. `next` then heeds most_bytes.
	 */
	int (*fetch)(void *opaque, uint32_t worker, struct piece *list,
		     size_t count, struct tide_error *err);
	int (*finish)(void *opaque, struct piece *p,
		      struct tide_error *err);
	void *opaque;
	const bool *stop; /* atomic: -EINTR when it is set; NULL: never */
};

int pump_run(const struct pump *pump, struct tide_error *err);

#endif
