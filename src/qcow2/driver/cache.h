/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pieces of L2 tables and refcount blocks in memory, within a bound.
 *
 * The unit is a page of 4 KiB, or a cluster where clusters are smaller: a
 * change of one entry writes 4 KiB, not a 2 MiB table. Pages hold the file's
 * bytes as they are. A dirty page stays until a flush has written it: the
 * order of writes is the flush's business (flush.c), so nothing is written
 * from here. The bound is soft: when every page is dirty or in use the cache
 * grows past it rather than fail; requests call qcow2_make_room first, which
 * keeps that rare and small.
 *
 * Everything here is called with the image's lock held.
 */
#ifndef TIDE_QCOW2_DRIVER_CACHE_H
#define TIDE_QCOW2_DRIVER_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "tidemark/error.h"

struct qcow2;
struct qcow2_page; /* cache_page.h: for the cache and its flush */

/*
 * A page in hand. Whoever has one has it pinned: until it is let go its memory
 * stays this page's, whatever else is loaded meanwhile. There is no way to a
 * page's bytes but through a pin, and a pin that is declared with QCOW2_PIN is
 * let go where its scope ends, on every path. One that outlives its scope (a
 * request on its way) is kept in a struct qcow2_pin and let go by hand. The
 * image's lock is held for all of it; the pin itself may cross an unlock.
 */
struct qcow2_pin {
	struct qcow2_page *page; /* NULL: nothing in hand */
};

#define QCOW2_PIN(name)                                                        \
	struct qcow2_pin name __attribute__((cleanup(qcow2_unpin))) = { NULL }

struct qcow2_cache {
	uint32_t page_bytes;
	uint32_t bound; /* pages */
	uint32_t count, room;
	uint32_t dirty_count;
	uint32_t hand;
	uint32_t bucket_mask;
	struct qcow2_page **pages;
	struct qcow2_page **buckets;
	struct qcow2_page *dirty;
	uint64_t hits, misses;
};

#define QCOW2_DEFAULT_CACHE_BYTES (32u << 20)

int qcow2_cache_init(struct qcow2_cache *c, uint64_t cluster_bytes,
		     uint64_t bound_bytes, struct tide_error *err);
void qcow2_cache_fini(struct qcow2_cache *c);

/* Is the page that holds file byte @offset in memory? */
bool qcow2_page_cached(struct qcow2_cache *c, uint64_t offset);
/* Take that page in hand if it is. */
bool qcow2_pin_cached(struct qcow2_cache *c, uint64_t offset,
		      struct qcow2_pin *pin);
/* The same, read from the file if need be. -EIO, -ENOMEM. */
int qcow2_pin_get(struct qcow2 *q, uint64_t offset, uint32_t kind,
		  struct qcow2_pin *pin, struct tide_error *err);
/* A page that starts as zeroes, whatever the file says. */
int qcow2_pin_new(struct qcow2 *q, uint64_t offset, uint32_t kind,
		  struct qcow2_pin *pin, struct tide_error *err);
/* Let go of it. With nothing in hand, nothing. */
void qcow2_unpin(struct qcow2_pin *pin);

/* The byte of the page in hand that is at @offset of the file. */
uint8_t *qcow2_pin_at(const struct qcow2_pin *pin, uint64_t offset);
/* Is it in the file, and synced, as it is here? */
bool qcow2_pin_is_durable(const struct qcow2_pin *pin);
/* To be called after each change of it. */
void qcow2_pin_dirty(struct qcow2_cache *c, const struct qcow2_pin *pin);
/* Forget the pages of [offset, +length): what they hold was given back. */
void qcow2_cache_drop(struct qcow2_cache *c, uint64_t offset,
		      uint64_t length_bytes);

#endif
