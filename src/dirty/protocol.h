/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lock-free marking against taking: the only place that orders memory for the
 * dirty set.
 *
 * Any number of markers set bits in the live tree while one taker drains it:
 *
 *	marker						taker
 *	  caller's data store
 *	M1  set the leaf bit			T1  take the summary word
 *	M2  for each level upwards:			    (exchange with 0)
 *	    see the summary bit set,		T2  for each bit that it had, go
 *	    or set it				    down; at the leaves, look at
 *						    each word, and exchange
 *						    with 0 those that are not
 *
 * The claim: a mark that returned before the taker began is taken; one that
 * overlaps is taken, or stays live with all its summaries set. So no mark is
 * ever lost.
 *
 * Why: M1 then M2 is a store followed by a load of another word, T1 then T2
 * likewise from the other side (store buffering, as in Dekker's algorithm).
 * With all four sequentially consistent, either the taker's T2 comes after M1
 * and takes the bit, or M1 comes after T2, hence after T1, and M2 then sees the
 * summary that T1 cleared - or one that a later marker set again - and M2
 * repairs it. The argument holds level by level, since the taker clears each
 * level before it looks at the one below, and the marker goes from below
 * upwards.
 *
 * A page that is dirty already, the usual case, is only looked at, to keep a
 * hot cache line shared: the leaf bit is tested, then the summaries. The danger
 * is that the caller's data store is still on its way when the test sees the
 * old bit: the taker clears it, the page is copied, and then the data arrives.
 * One of two things prevents that:
 *  - The taker makes all threads of the process pass a full barrier
 *    (membarrier(2), base/barrier.h) when it has taken the leaves, T3. A test
 *    that saw the bit came before T2, and the store before the test; so after
 *    T3 the data is there for all to see, and only then does the cut return.
 *    Markers pay nothing.
 *  - Where the kernel has no such call, or its caller does not want it, markers
 *    pass a full fence between the store and the test. If T2 comes before the
 *    fence the test sees 0 and the bit is set again; else the data is there.
 *
 * An optimisation that would be wrong: stopping when the leaf bit is already
 * set. The marker that set it may not have reached the summaries yet, so M2
 * goes to the top every time.
 *
 * model/mark-take.pml checks the claim, with stores that are on their way; with
 * any of the barriers removed it finds the lost mark.
 */
#ifndef TIDE_DIRTY_PROTOCOL_H
#define TIDE_DIRTY_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "bits/kernels.h"
#include "dirty/log.h"
#include "dirty/tree.h"

/* M2, of those who found a summary missing: unit @unit of the bitmap. */
void tide__raise_unit(struct tide__tree *live, uint64_t unit);

/* M2: every summary bit over unit @unit must be seen set. */
static inline void tide__see_unit_raised(struct tide__tree *live,
					  uint64_t unit)
{
	/*
	 * Pairs with T1, the taker's exchange of this word. Sequential
	 * consistency orders it after M1, or after the look of a marker that
	 * found its bits set. A bitmap without a summary has one word of ones
	 * for it. Few trees have more than one level of summaries.
	 */
	if (__builtin_expect(!(tide__load_seqcst(&live->level[1][unit / 64]) >>
			       (unit % 64) & 1) || live->levels > 2, 0))
		tide__raise_unit(live, unit);
}

/*
 * OR @bits into level-0 word @word of a coarse tree and see its summaries set.
 * Any thread. With @fences the taker need not pass T3. Inline, and with little
 * code: where the bitmap is not in the cache, marks wait for memory side by
 * side, and how many do is how many fit into the processor's window.
 */
static inline void tide__mark_word(struct tide__tree *live, uint64_t word,
				   uint64_t bits, bool fences)
{
	uint64_t *leaf = &live->level[0][word];

	tide__fence_compiler();		/* the caller's store comes first */
	/*
	 * Pairs with T2, if T3 or the fence below is passed. A clean page goes
	 * straight to the OR, whose barrier is the only one it pays for.
	 */
	if (bits & ~tide__load_seqcst(leaf)) {
		/* M1. Pairs with T2, the taker's look and exchange. */
		tide__or_seqcst(leaf, bits);
	} else if (__builtin_expect(fences, 0)) {
		tide__fence_seqcst();
		if (bits & ~tide__load_seqcst(leaf))
			tide__or_seqcst(leaf, bits);
	}
	tide__see_unit_raised(live, word / TIDE__UNIT_WORDS);
}

/*
 * Would the log of @room words hold what is live? A guess while others mark,
 * and from a sample where much is in use.
 */
bool tide__is_sparse(const struct tide__tree *live,
		     const struct tide__kernels *kernels, uint64_t room);

/*
 * Drain share @part of @parts of @live, coarse, into @into, fine, of the same
 * pages, which only takers use; returns the pages taken. One taker for a share
 * at a time: shares are whole words of the top level, so the words below them,
 * which are all that the protocol speaks of, are one taker's alone.
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
