/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The age map, a version number a page: one live set, any number of independent
 * readers.
 *
 * At each cut the pages of the epoch are stamped with the cut's number. What
 * changed since cut k is then every page with a later stamp, for any k and any
 * reader: a daily backup, an hourly one, a mirror. None of them needs a bitmap
 * of its own; a mark is still one bit.
 *
 * A stamp takes two bytes a page (of address space; memory only where stamps
 * fall). Stamps of 16 bits wrap around: when they are used up, they are
 * renumbered. From then on old cuts that were not kept (tide_age_keep) can no
 * longer be told apart, and a query for one of them returns some pages too
 * many, never too few.
 *
 * Threads: stamping, keeping and dropping are for one thread at a time, with
 * no query running; queries may run side by side.
 */
#ifndef TIDEMARK_AGE_H
#define TIDEMARK_AGE_H

#include <stddef.h>
#include <stdint.h>

#include "tidemark/dirty.h"
#include "tidemark/error.h"
#include "tidemark/range.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tide_age;

/* Cuts that readers may have kept at the same time. */
#define TIDE_AGE_MAX_KEPT 4096u

/*
 * tide_age_create: a map for @pages pages (1 to TIDE_SET_MAX_PAGES), all of
 * them unchanged. 0; -EINVAL (size), -ENOMEM. The caller destroys *@out.
 */
int tide_age_create(struct tide_age **out, uint64_t pages,
		    struct tide_error *err);
void tide_age_destroy(struct tide_age *age);	/* NULL is fine */

/*
 * tide_age_stamp: the pages of @epoch, which must have as many pages, changed
 * in a new cut, whose number is returned: 1, 2, ... Call it before the epoch
 * is committed; if it is rolled back instead, the pages are live again and
 * the stamps are too wide at worst. Never allocates. Cost: two bytes a page of
 * the epoch; once in 65,535 cuts, or fewer if many are kept, two passes over
 * what was ever stamped.
 */
uint64_t tide_age_stamp(struct tide_age *age, const struct tide_epoch *epoch);

/* tide_age_cut: the number of the last cut; 0: none yet. */
uint64_t tide_age_cut(const struct tide_age *age);

/*
 * tide_age_keep: keeps queries for cut @cut exact until as many calls of
 * tide_age_drop. -EINVAL: there was no such cut; -ENOSPC: TIDE_AGE_MAX_KEPT
 * others are kept; -ESTALE: it can no longer be told from later ones.
 * tide_age_drop: -ENOENT if it is not kept.
 */
int tide_age_keep(struct tide_age *age, uint64_t cut, struct tide_error *err);
int tide_age_drop(struct tide_age *age, uint64_t cut, struct tide_error *err);

/*
 * tide_age_next: at most @max ranges of pages that changed after cut @since
 * (0: ever), ascending and maximal, from page *@cursor on; with @live not
 * NULL also those that are dirty now. Start with *@cursor 0; returns how many,
 * 0 at the end. Cost: in proportion to blocks of 4,096 pages with changes.
 */
size_t tide_age_next(const struct tide_age *age, uint64_t since,
		     const struct tide_set *live, uint64_t *cursor,
		     struct tide_range *ranges, size_t max);

/* tide_age_renewals: how often stamps were renewed. */
uint64_t tide_age_renewals(const struct tide_age *age);

#ifdef __cplusplus
}
#endif

#endif
