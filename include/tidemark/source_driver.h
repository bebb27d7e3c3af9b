/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Custom sources: a hypervisor other than KVM, a device that logs its own DMA,
 * a simulator. They are used through the same tide_source_harvest, _rearm,
 * _slot_added and so on as the library's own, and by tide_move_send.
 *
 * The driver's obligations (page numbers are those of the set: guest addresses
 * divided by TIDE_PAGE_BYTES):
 *
 *  - A write to a watched slot is reported by the next harvest at the latest,
 *    or by the one after it if it happens during a harvest. False positives are
 *    allowed, false negatives are not.
 *  - A reported page is read after the harvest, and after rearm if there is
 *    one. A write after that must be reported again. So a driver re-enables
 *    detection either in harvest, before it marks the page, or in rearm.
 *  - When in doubt, return an error: the library then marks everything that is
 *    watched, and nothing is lost.
 *
 * Threads: watch and unwatch are called one at a time, but a harvest or a rearm
 * of other slots may run meanwhile. harvest, harvest_slot and rearm are called
 * one at a time, under the source's lock; they must not call functions of this
 * source, and should be short: rearm is called for every unit of every round.
 *
 * Each call returns 0 or a negative errno, and may fill in @err.
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
	 * From the return on, writes to @slot are seen; it counts as dirty, so
	 * earlier writes do not matter. On failure nothing is watched.
	 */
	int (*watch)(void *opaque, const struct tide_slot *slot,
		     struct tide_error *err);
	/* Stop watching @slot, which may still be written to. */
	int (*unwatch)(void *opaque, const struct tide_slot *slot,
		       struct tide_error *err);
	/*
	 * Mark in @set what was written, and add the number of pages to *@pages
	 * (for tide_source_get_stats). In each harvest, `harvest` is called
	 * once for all slots, then `harvest_slot` for each slot in order of
	 * guest addresses. One of the two may be NULL.
	 */
	int (*harvest)(void *opaque, struct tide_set *set, uint64_t *pages,
		       struct tide_error *err);
	int (*harvest_slot)(void *opaque, const struct tide_slot *slot,
			    struct tide_set *set, uint64_t *pages,
			    struct tide_error *err);
	/*
	 * Pages [@first, +@count), which are in @slot, are about to be read.
	 * NULL: harvest re-enables detection.
	 */
	int (*rearm)(void *opaque, const struct tide_slot *slot, uint64_t first,
		     uint64_t count, struct tide_error *err);
	/* Called by tide_source_destroy; nothing is watched. NULL ok. */
	void (*close)(void *opaque);
};

/*
 * tide_source_create_driver: a source that calls @driver (which is copied) with
 * @opaque. -EINVAL: a call is missing, or @driver is of an unknown version;
 * -ENOMEM. On failure close is not called. The caller owns *@out.
 */
int tide_source_create_driver(struct tide_source **out,
			      const struct tide_source_driver *driver,
			      void *opaque, struct tide_error *err);

#ifdef __cplusplus
}
#endif

#endif
