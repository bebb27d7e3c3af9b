/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Marking against taking: the one place that orders memory for the dirty set.
 *
 * Any number of markers set bits in the live tree while one taker drains it:
 *
 *	marker						taker
 *	  caller's data store
 *	M1  set the leaf bit			T1  take the summary word
 *	M2  for each level upwards:			    (exchange with 0)
 *	    see the summary bit set,		T2  for each bit that it had, go
 *	    or set it				    down; at the leaf, exchange
 *						    the word with 0
 *
 * The claim: a mark that returned before the taker began is taken; one that
 * overlaps is taken or stays live with all its summaries up. So nothing is
 * ever in neither.
 *
 * Why: M1 then M2 is a store followed by a load of another word, T1 then T2
 * likewise from the other side (Dekker's pattern). With all four sequentially
 * consistent, either the taker's T2 comes after M1 and takes the bit, or M1
 * comes after T2, hence after T1, and M2 then sees the summary that T1 cleared
 * - or one that a later marker set again - and M2 repairs it. The argument
 * holds level by level, since the taker clears each level before it looks at
 * the one below, and the marker goes from below upwards.
 *
 * Two traps that the code must keep avoiding:
 *  - Finding the leaf bit set is no reason to stop: the marker that set it may
 *    not have reached the summaries. M2 is walked to the top every time.
 *  - Testing the leaf bit first, to keep a hot cache line shared, is only
 *    right with a full fence between the caller's data store and the test:
 *    else the taker can clear the bit, and the page be copied, before the
 *    data arrives, and the test still have seen the old bit.
 *
 * model/mark-take.pml checks the claim; with either barrier removed it finds
 * the lost mark.
 */
#ifndef TIDE_DIRTY_PROTOCOL_H
#define TIDE_DIRTY_PROTOCOL_H

#include <stdint.h>

#include "bits/kernels.h"
#include "dirty/log.h"
#include "dirty/tree.h"

/* OR @bits into level-0 word @word and see its summaries set. Any thread. */
void tide__mark_word(struct tide__tree *live, uint64_t word, uint64_t bits);

/*
 * Drain share @part of @parts of @live into @into, a tree of the same size that
 * only takers use; returns the pages taken. One taker for a share at a time:
 * shares are whole words of the top level, so the words below them, which are
 * all that the protocol speaks of, are one taker's alone.
 */
uint64_t tide__take(struct tide__tree *live, struct tide__tree *into,
		    const struct tide__kernels *kernels, unsigned int part,
		    unsigned int parts);

/*
 * Drain all of @live into @log, which is empty; if that has not the room, all
 * of it goes to @spill_into, an empty tree, and the log stays empty.
 */
uint64_t tide__take_log(struct tide__tree *live, struct tide__log *log,
			struct tide__tree *spill_into,
			const struct tide__kernels *kernels);

#endif
