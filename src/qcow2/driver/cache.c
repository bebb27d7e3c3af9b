/* SPDX-License-Identifier: BSD-2-Clause */
/* Metadata pages in memory: hash by offset, second-chance eviction. */
#include "qcow2/driver/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2/driver/cache_page.h"
#include "qcow2/driver/qcow2.h"

#define MAX_PAGE_BYTES 4096u
#define MIN_PAGES 64u

int qcow2_cache_init(struct qcow2_cache *c, uint64_t cluster_bytes,
		     uint64_t bound_bytes, struct tide_error *err)
{
	uint64_t pages;
	uint32_t buckets = MIN_PAGES;

	memset(c, 0, sizeof(*c));
	c->page_bytes = cluster_bytes < MAX_PAGE_BYTES ?
				(uint32_t)cluster_bytes :
				MAX_PAGE_BYTES;
	pages = (bound_bytes ? bound_bytes : QCOW2_DEFAULT_CACHE_BYTES) /
		c->page_bytes;
	if (pages < MIN_PAGES)
		pages = MIN_PAGES;
	if (pages > 1u << 24)
		pages = 1u << 24;
	c->bound = (uint32_t)pages;
	while (buckets < c->bound)
		buckets *= 2;
	c->bucket_mask = buckets - 1;
	c->buckets = calloc(buckets, sizeof(*c->buckets));
	if (!c->buckets)
		return tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				      "no memory for a cache of %u pages",
				      c->bound);
	return 0;
}

void qcow2_cache_fini(struct qcow2_cache *c)
{
	for (uint32_t i = 0; i < c->count; i++) {
		/* Or a request is still on its way, into freed memory. */
		assert(!c->pages[i]->pins);
		free(c->pages[i]->data);
		free(c->pages[i]);
	}
	free(c->pages);
	free(c->buckets);
	memset(c, 0, sizeof(*c));
}

static struct qcow2_page **bucket(struct qcow2_cache *c, uint64_t offset)
{
	uint64_t hash = offset / c->page_bytes * 0x9e3779b97f4a7c15ull;

	return &c->buckets[(hash >> 32) & c->bucket_mask];
}

static struct qcow2_page *find(struct qcow2_cache *c, uint64_t offset)
{
	struct qcow2_page *page;

	offset = round_down(offset, c->page_bytes);
	for (page = *bucket(c, offset); page; page = page->chain)
		if (page->offset == offset) {
			page->used = true;
			c->hits++;
			return page;
		}
	return NULL;
}

static void unhash(struct qcow2_cache *c, struct qcow2_page *page)
{
	struct qcow2_page **at = bucket(c, page->offset);

	while (*at != page)
		at = &(*at)->chain;
	*at = page->chain;
}

static void hash(struct qcow2_cache *c, struct qcow2_page *page,
		 uint64_t offset, uint32_t kind)
{
	struct qcow2_page **at = bucket(c, offset);

	page->offset = offset;
	page->kind = kind;
	page->used = true;
	page->chain = *at;
	*at = page;
}

/* A page that nobody needs any more, out of the hash; NULL: none found. */
static struct qcow2_page *evict(struct qcow2_cache *c)
{
	for (uint32_t tries = 0; tries < 2 * c->count; tries++) {
		struct qcow2_page *page = c->pages[c->hand];

		c->hand = (c->hand + 1) % c->count;
		if (page->dirty || page->writing || page->pins)
			continue;
		if (page->used) {
			page->used = false;
			continue;
		}
		unhash(c, page);
		return page;
	}
	return NULL;
}

static struct qcow2_page *grow(struct qcow2_cache *c)
{
	struct qcow2_page *page;

	if (c->count == c->room) {
		uint32_t room = c->room ? c->room * 2 : MIN_PAGES;
		void *more = realloc(c->pages, room * sizeof(*c->pages));

		if (!more)
			return NULL;
		c->pages = more;
		c->room = room;
	}
	page = calloc(1, sizeof(*page));
	if (page)
		page->data = malloc(c->page_bytes);
	if (!page || !page->data) {
		free(page);
		return NULL;
	}
	page->slot = c->count;
	c->pages[c->count++] = page;
	return page;
}

/* Not in the hash, for the caller to fill. */
static struct qcow2_page *spare(struct qcow2_cache *c)
{
	struct qcow2_page *page = NULL;

	if (c->count >= c->bound)
		page = evict(c);
	if (!page)
		page = grow(c);
	return page ? page : (c->count ? evict(c) : NULL);
}

/* Undo spare() when the page could not be filled. */
static void discard_page(struct qcow2_cache *c, struct qcow2_page *page)
{
	struct qcow2_page *last = c->pages[--c->count];

	c->pages[page->slot] = last;
	last->slot = page->slot;
	if (c->hand >= c->count)
		c->hand = 0;
	free(page->data);
	free(page);
}

static int no_memory(struct tide_error *err, uint64_t offset)
{
	return tide_error_set(err, -ENOMEM, "qcow2", offset,
			      "no memory for a page of metadata");
}

/* Read a page; what lies beyond the end of the file is zeroes. */
static int fill(struct qcow2 *q, struct qcow2_page *page, uint64_t offset,
		struct tide_error *err)
{
	uint64_t size = tide_disk_size(q->file), bytes = q->cache.page_bytes;

	memset(page->data, 0, bytes);
	if (offset >= size)
		return 0;
	if (bytes > size - offset)
		bytes = size - offset;
	return tide_disk_read(q->file, offset, page->data, bytes, err);
}

static void take(struct qcow2_pin *pin, struct qcow2_page *page)
{
	assert(!pin->page);
	page->pins++;
	pin->page = page;
}

void qcow2_unpin(struct qcow2_pin *pin)
{
	if (!pin->page)
		return;
	assert(pin->page->pins);
	pin->page->pins--;
	pin->page = NULL;
}

bool qcow2_page_cached(struct qcow2_cache *c, uint64_t offset)
{
	return find(c, offset) != NULL;
}

bool qcow2_pin_cached(struct qcow2_cache *c, uint64_t offset,
		      struct qcow2_pin *pin)
{
	struct qcow2_page *page = find(c, offset);

	if (page)
		take(pin, page);
	return page != NULL;
}

uint8_t *qcow2_pin_at(const struct qcow2_pin *pin, uint64_t offset)
{
	return pin->page->data + (offset - pin->page->offset);
}

int qcow2_pin_get(struct qcow2 *q, uint64_t offset, uint32_t kind,
		  struct qcow2_pin *pin, struct tide_error *err)
{
	struct qcow2_cache *c = &q->cache;
	struct qcow2_page *page = find(c, offset);
	int ret;

	if (page) {
		page->kind = kind;
		take(pin, page);
		return 0;
	}
	offset = round_down(offset, c->page_bytes);
	page = spare(c);
	if (!page)
		return no_memory(err, offset);
	c->misses++;
	ret = fill(q, page, offset, err);
	if (ret < 0) {
		discard_page(c, page);
		return ret;
	}
	hash(c, page, offset, kind);
	take(pin, page);
	return 0;
}

int qcow2_pin_new(struct qcow2 *q, uint64_t offset, uint32_t kind,
		  struct qcow2_pin *pin, struct tide_error *err)
{
	struct qcow2_cache *c = &q->cache;
	struct qcow2_page *page = find(c, offset);

	offset = round_down(offset, c->page_bytes);
	if (!page) {
		page = spare(c);
		if (!page)
			return no_memory(err, offset);
		hash(c, page, offset, kind);
	}
	page->kind = kind;
	memset(page->data, 0, c->page_bytes);
	take(pin, page);
	return 0;
}

void qcow2_page_dirty(struct qcow2_cache *c, struct qcow2_page *page)
{
	if (page->dirty)
		return;
	page->dirty = true;
	page->dirty_next = c->dirty;
	c->dirty = page;
	c->dirty_count++;
}

bool qcow2_pin_is_durable(const struct qcow2_pin *pin)
{
	return !pin->page->dirty && !pin->page->writing;
}

void qcow2_pin_dirty(struct qcow2_cache *c, const struct qcow2_pin *pin)
{
	qcow2_page_dirty(c, pin->page);
}

static void make_clean(struct qcow2_cache *c, struct qcow2_page *page)
{
	struct qcow2_page **at = &c->dirty;

	if (!page->dirty)
		return;
	while (*at != page)
		at = &(*at)->dirty_next;
	*at = page->dirty_next;
	page->dirty = false;
	c->dirty_count--;
}

void qcow2_cache_drop(struct qcow2_cache *c, uint64_t offset,
		      uint64_t length_bytes)
{
	uint64_t end = offset + length_bytes;

	for (; offset < end; offset += c->page_bytes) {
		struct qcow2_page *page = find(c, offset);

		if (!page || page->pins || page->writing)
			continue;
		make_clean(c, page);
		unhash(c, page);
		discard_page(c, page);
	}
}
