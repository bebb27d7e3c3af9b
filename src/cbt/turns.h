/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Turns: a range reported as lengths, clean and dirty in turn, many at a time.
 * Ten million runs take one call for each few thousand of them, and are found
 * with the kernels of src/bits: each edge, where a run begins or ends, costs
 * one step, however the runs lie.
 */
#ifndef TIDE_CBT_TURNS_H
#define TIDE_CBT_TURNS_H

#include "cbt/cbt.h"

struct cbt_window;

struct cbt_turns {
	uint64_t offset, end; /* bytes: told up to here, to be told */
	cbt_tell *tell;
	void *opaque;
};

/*
 * What @w says from t->offset on, which it covers, up to its end or t->end.
 * Bits before that are forgotten. False: no more is wanted.
 */
bool cbt_turns_tell(struct cbt_turns *t, struct cbt_window *w);

#endif
