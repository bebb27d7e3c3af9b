/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A meta bitmap: which chunks of a bitmap or checkpoint are not any more as its
 * follower saw them last. Any number of them follow a point, each at its own
 * pace; one that was just made has everything to see.
 *
 * A mark pays nothing for it. What writes add to a point is in the deltas and
 * the live bits of the epochs since the follower's last round, which are kept
 * apart for it; so a round is a cut, and the union of those. Everything else
 * that changes what a point says (clear, merge, import into it, enable,
 * disable) goes through one place (points.c, change), which compares what it
 * said with what it says. A resize is seen at the round. What is in doubt
 * (inconsistent), and what was removed, cannot be followed any more.
 */
#ifndef TIDE_CBT_META_H
#define TIDE_CBT_META_H

#include "cbt/cbt.h"
#include "cbt/chunks.h"

struct cbt_meta;
struct cbt_point;

/*
 * cbt_meta_create: follow @name of @c. To be destroyed before @c is closed. 0,
 * -EINVAL (of chunk_bytes), -ENOENT, -ESTALE (inconsistent), -ENOMEM. Threads:
 * one at a time, beside all that others do with @c.
 */
int cbt_meta_create(struct cbt *c, const char *name, uint32_t chunk_bytes,
		    struct cbt_meta **out, struct tide_error *err);
void cbt_meta_destroy(struct cbt_meta *m);
/*
 * cbt_meta_round: what the point says at one instant into *bits, made here, and
 * into *changed, made here, the chunks in which it says something else than at
 * the last round. 0, -ESTALE (removed, inconsistent), -ENOMEM and what a cut
 * and the store say; then the next round tells it all.
 */
int cbt_meta_round(struct cbt_meta *m, struct cbt_image *bits,
		   struct cbt_chunks *changed, struct tide_error *err);

/* --- for the tracker, under its lock -------------------------------------- */

/* @p is about to say what @own and the deltas since @epoch say. */
void cbt_meta_note(struct cbt *c, const struct cbt_point *p,
		   const struct cbt_image *own, uint64_t epoch);
/* Does a follower of a point have seen the first of two deltas only? */
bool cbt_meta_tells_apart(const struct cbt *c, const struct cbt_delta *d);

#endif
