/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From what a server says of a disk to pieces: whole chunks, each to be
 * skipped, zero, or data. A chunk of which any part changed is copied whole; it
 * is zero only if all of it is.
 */
#ifndef TIDE_TRANSFER_PLAN_H
#define TIDE_TRANSFER_PLAN_H

#include "transfer/pump.h"
#include "transfer/nbd_client.h"

struct plan {
	struct nbd_client *source;
	uint64_t at; /* a chunk's beginning, or the end */
	/*
	 * Nothing is skipped: pieces are zero or data, changed or not, as their
	 * flags say (EXTENT_DIRTY).
	 */
	bool all;
	/* The chunk here is copied in any case; 0: none. */
	uint64_t forced_at;
};

/* 1: the next piece, in order, without gaps; 0: the disk's end. */
int plan_next(struct plan *plan, struct piece *p,
	      struct tide_error *err);

#endif
