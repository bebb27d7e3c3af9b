/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A dynamic array of ranges, for callers that need all of them at once: to sort
 * or count them, or to pass them to an interface that takes an array.
 *
 * Prefer batches, as the rest of the library does: a table can have half as
 * many entries as the set has pages (16 bytes each). Therefore every call takes
 * a limit.
 *
 * Threads: one at a time for each table.
 */
#ifndef TIDEMARK_RANGES_H
#define TIDEMARK_RANGES_H

#include "tidemark/dirty.h"
#include "tidemark/scan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Initialise with zeros, read directly, change only by calls. */
struct tide_ranges {
	struct tide_range *range;
	size_t count;
	size_t room;
};

/*
 * Append the rest of a scan, all of an epoch, or what is dirty now. A range
 * that begins where the last one ends is merged with it, so that the parts of a
 * scan, of either kind, give the table of the whole. 0; -E2BIG: the table would
 * have more than @max ranges (0: no limit); -ENOMEM. After a failure the table
 * is unchanged, but the scan is consumed. Cost: that of the batches, and a copy
 * whenever the array doubles.
 */
int tide_ranges_add_scan(struct tide_ranges *ranges, struct tide_scan *scan,
			 size_t max, struct tide_error *err);
int tide_ranges_add_epoch(struct tide_ranges *ranges,
			  const struct tide_epoch *epoch, size_t max,
			  struct tide_error *err);
int tide_ranges_add_set(struct tide_ranges *ranges, const struct tide_set *set,
			size_t max, struct tide_error *err);

/* tide_ranges_fini: frees the memory; the table is empty then. */
void tide_ranges_fini(struct tide_ranges *ranges);

#ifdef __cplusplus
}
#endif

#endif
