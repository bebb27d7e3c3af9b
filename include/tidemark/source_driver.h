/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A source of your own: a hypervisor's interface that is not KVM's, a device
 * that logs its own DMA, a simulator. What it learns goes into the set through
 * the same tide_source_harvest, _rearm, _slot_added and so on as what the
 * library's sources learn, and tide_move_send takes it like any other.
 *
 * What a driver owes. Pages are numbers of the set: guest address divided by
 * TIDE_PAGE_BYTES.
 *
 *  - A write to a watched slot is reported by the next harvest at the latest,
 *    or by the one after it if it happens while a harvest runs. Too much may
 *    be reported, never too little.
 *  - A page that was reported is read after the harvest, and after rearm if
 *    there is one. A write after that is reported again. So a driver either
 *    detects afresh within harvest, before it marks the page, or leaves that
 *    to rearm.
 *  - When in doubt it returns an error: the library then marks all that is
 *    watched, and nothing is lost.
 *
 * Threads: watch and unwatch are called one at a time, but a harvest or a rearm
 * of other slots may run meanwhile. harvest, harvest_slot and rearm are called
 * one at a time, under the source's lock; they must not call functions of this
 * source, and short is good: rearm is called for every unit of every round.
 *
 * Each call returns 0 or a negative errno, with or without words in @err.
 */
#ifndef TIDEMARK_SOURCE_DRIVER_H
#define TIDEMARK_SOURCE_DRIVER_H

#include "tidemark/source.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tide_source_driver {
	size_t struct_size;	/* sizeof(struct tide_source_driver) */
	const char *name;	/* for error texts */
	/*
	 * Writes to @slot are seen from the return on. What was written until
	 * then counts as dirty already. On failure nothing is watched.
	 */
	int (*watch)(void *opaque, const struct tide_slot *slot,
		     struct tide_error *err);
	/* No more: also of slots that are still being written to. */
	int (*unwatch)(void *opaque, const struct tide_slot *slot,
		       struct tide_error *err);
	/*
	 * Mark in @set what was written, and add to *@pages how many pages that
	 * were (for tide_source_get_stats): once a harvest, of all slots; then
	 * slot by slot, in order of guest addresses. One of the two may be
	 * NULL.
	 */
	int (*harvest)(void *opaque, struct tide_set *set, uint64_t *pages,
		       struct tide_error *err);
	int (*harvest_slot)(void *opaque, const struct tide_slot *slot,
			    struct tide_set *set, uint64_t *pages,
			    struct tide_error *err);
	/*
	 * Pages [@first, +@count), which lie in @slot, will be read now. NULL:
	 * harvest has seen to it.
	 */
	int (*rearm)(void *opaque, const struct tide_slot *slot, uint64_t first,
		     uint64_t count, struct tide_error *err);
	/* At tide_source_destroy, when nothing is watched. NULL ok. */
	void (*close)(void *opaque);
};

/*
 * tide_source_create_driver: a source that asks @driver, of which a copy is
 * kept, with @opaque. -EINVAL: a call is missing, or @driver is of another
 * version; -ENOMEM. @opaque is then the caller's still, and close is not
 * called. The caller owns *@out.
 */
int tide_source_create_driver(struct tide_source **out,
			      const struct tide_source_driver *driver,
			      void *opaque, struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
