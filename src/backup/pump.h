/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pump: pieces of a disk, worked on by several threads at once, and
 * finished in their order. All that copies or compares disks here is one: what
 * comes next, what is done with it, and what is noted of it.
 *
 * `next` and `finish` are called by one thread at a time, and never both, so
 * they may share what they like; `work` by any number. The first error ends it.
 */
#ifndef TIDE_BACKUP_PUMP_H
#define TIDE_BACKUP_PUMP_H

#include "backup/digests.h"

#define BACKUP_PIECE_BYTES (UINT64_C(2) << 20)
#define BACKUP_PIECE_CHUNKS (BACKUP_PIECE_BYTES >> BACKUP_CHUNK_SHIFT)

enum backup_kind {
	BACKUP_SKIP, /* not asked for */
	BACKUP_ZERO,
	BACKUP_DATA /* at most BACKUP_PIECE_BYTES */
};

/* Begins at a chunk, and ends at one or with the disk. */
struct backup_piece {
	uint64_t offset_bytes, length_bytes;
	enum backup_kind kind;
	uint64_t number;
	uint32_t flags; /* of who made it */
	/* Of each chunk of data: */
	struct backup_entry chunks[BACKUP_PIECE_CHUNKS];
};

struct backup_pump {
	uint32_t jobs;
	/* 1: a piece; 0: no more. */
	int (*next)(void *opaque, struct backup_piece *p,
		    struct tide_error *err);
	/* @worker: 0 to jobs - 1; buf: BACKUP_PIECE_BYTES of its own. */
	int (*work)(void *opaque, uint32_t worker, struct backup_piece *p,
		    uint8_t *buf, struct tide_error *err);
	int (*finish)(void *opaque, struct backup_piece *p,
		      struct tide_error *err);
	void *opaque;
	const bool *stop; /* atomic: -EINTR when it is set; NULL: never */
};

int backup_pump_run(const struct backup_pump *pump, struct tide_error *err);

/* Does @buf hold zeroes only? */
bool backup_is_zero(const uint8_t *buf, uint64_t length_bytes);

#endif
