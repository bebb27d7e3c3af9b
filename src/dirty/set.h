/* SPDX-License-Identifier: BSD-2-Clause */
/* What a set and its epoch are made of; for src/dirty only. */
#ifndef TIDE_DIRTY_SET_H
#define TIDE_DIRTY_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "bits/kernels.h"
#include "dirty/log.h"
#include "dirty/tree.h"
#include "tidemark/dirty.h"

/* Single-owner (the taker's), except that several threads may iterate. */
struct tide_epoch {
	struct tide_set *set;
	/* One of both holds what was taken, the other is empty. */
	struct tide__tree tree;
	struct tide__log log;
	uint64_t number;	/* of this or the last epoch */
	uint64_t pages_left;	/* not acknowledged */
	bool open;
};

struct tide_set {
	const struct tide__kernels *kernels;
	struct tide__tree live;		/* lock-free: see protocol.h */
	struct tide_epoch epoch;
	/*
	 * How marks and cuts are ordered: see protocol.h. The first is read by
	 * every mark; the second is the taker's: what the cuts of so many
	 * epochs took is not to be trusted, as a barrier that was promised
	 * failed.
	 */
	bool fences;
	unsigned int doubtful;
	uint64_t out_of_range;		/* marks that missed, since creation */
	bool all_dirty;		/* one did: the next cut is everything */
};

#endif
