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

struct qcow2_page {
	uint64_t offset; /* in the file */
	uint8_t *data;
	struct qcow2_page *chain; /* hash */
	struct qcow2_page *dirty_next;
	uint32_t kind; /* enum tide_kind */
	uint32_t pins; /* somebody holds on to it outside the lock */
	uint32_t slot; /* index in pages[] */
	bool dirty;
	bool writing; /* a flush is bringing a copy to the file */
	bool used; /* second chance */
};

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

/* The page that holds file byte @offset, if it is in memory. */
struct qcow2_page *qcow2_page_find(struct qcow2_cache *c, uint64_t offset);
/* The same, read from the file if need be. -EIO, -ENOMEM. */
int qcow2_page_get(struct qcow2 *q, uint64_t offset, uint32_t kind,
		   struct qcow2_page **out, struct tide_error *err);
/* A page that starts as zeroes, whatever the file says. */
int qcow2_page_new(struct qcow2 *q, uint64_t offset, uint32_t kind,
		   struct qcow2_page **out, struct tide_error *err);
/* To be called after each change of a page's data. */
void qcow2_page_dirty(struct qcow2_cache *c, struct qcow2_page *page);
/* Forget the pages of [offset, +length): what they hold was given back. */
void qcow2_cache_drop(struct qcow2_cache *c, uint64_t offset,
		      uint64_t length_bytes);

#endif
