/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From what a server says of a disk to pieces: whole chunks, each to be skipped,
 * zero, or data. A chunk of which any part changed is copied whole; it is zero
 * only if all of it is.
 */
#ifndef TIDE_BACKUP_PLAN_H
#define TIDE_BACKUP_PLAN_H

#include "backup/pump.h"
#include "backup/source.h"

struct backup_plan {
	struct backup_source *source;
	uint64_t at; /* a chunk's beginning, or the end */
	/*
	 * Nothing is skipped: pieces are zero or data, changed or not, as their
	 * flags say (BACKUP_IS_DIRTY).
	 */
	bool all;
	/* The chunk here is copied in any case; 0: none. */
	uint64_t forced_at;
};

/* 1: the next piece, in order, without gaps; 0: the disk's end. */
int backup_plan_next(struct backup_plan *plan, struct backup_piece *p,
		     struct tide_error *err);

#endif
