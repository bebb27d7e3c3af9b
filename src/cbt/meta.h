/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A meta bitmap: which chunks of a bitmap or checkpoint have changed since its
 * follower last saw them. Any number of followers may follow a point, each at
 * its own pace; for a new one everything has changed.
 *
 * A mark pays nothing for it. Writes add to a point only through the deltas
 * and the live bits of the epochs since the follower's last round, and those
 * are kept apart for it; so a round is a cut and their union. Everything else
 * that changes a point (clear, merge, import, enable, disable) goes through
 * one place (points.c, change), which compares before and after. A resize is
 * noticed at the next round. An inconsistent or removed point can no longer be
 * followed.
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
