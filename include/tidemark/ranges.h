/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of ranges, for who needs them all at once: to sort them, to count
 * them, to give them to an interface that takes an array.
 *
 * The rest of the library gives ranges in batches, and so should you where you
 * can: a table may become half as long as the set has pages (16 bytes each).
 * Therefore every call says how many there may be.
 *
 * Threads: a table is one thread's.
 */
#ifndef TIDEMARK_RANGES_H
#define TIDEMARK_RANGES_H

#include "tidemark/dirty.h"
#include "tidemark/scan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Begin with zeros; end with tide_ranges_fini. Read it, change it by calls. */
struct tide_ranges {
	struct tide_range *range;
	size_t count;
	size_t room;
};

/*
 * Put what is left of a scan, all of an epoch, or what is dirty now behind what
 * is in @ranges. A range that begins where the last one ends makes that longer,
 * so that the parts of a scan, of whatever kind, give the table of the whole.
 * 0; -E2BIG: there would be more than @most ranges in the table (0: no limit);
 * -ENOMEM. After a failure the table is as it was, but the scan is used up.
 * Cost: that of the batches, and a copy now and then when the array doubles.
 */
int tide_ranges_add_scan(struct tide_ranges *ranges, struct tide_scan *scan,
			 size_t most, struct tide_error *err);
int tide_ranges_add_epoch(struct tide_ranges *ranges,
			  const struct tide_epoch *epoch, size_t most,
			  struct tide_error *err);
int tide_ranges_add_set(struct tide_ranges *ranges, const struct tide_set *set,
			size_t most, struct tide_error *err);

/* tide_ranges_fini: gives the memory back; the table is empty then. */
void tide_ranges_fini(struct tide_ranges *ranges);

#ifdef __cplusplus
}
#endif

#endif
