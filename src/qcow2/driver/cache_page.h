/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page from the inside: for the cache, and for the flush, which walks the
 * dirty ones. Everybody else has a pin.
 */
#ifndef TIDE_QCOW2_DRIVER_CACHE_PAGE_H
#define TIDE_QCOW2_DRIVER_CACHE_PAGE_H

#include "qcow2/driver/cache.h"

struct qcow2_page {
	uint64_t offset; /* in the file */
	uint8_t *data;
	struct qcow2_page *chain; /* hash */
	struct qcow2_page *dirty_next;
	uint32_t kind; /* enum tide_kind */
	uint32_t pins; /* in so many hands */
	uint32_t slot; /* index in pages[] */
	bool dirty;
	bool writing; /* a flush is bringing a copy to the file */
	bool used; /* second chance */
};

/* Dirty, and in the list of those. */
void qcow2_page_dirty(struct qcow2_cache *c, struct qcow2_page *page);

#endif
