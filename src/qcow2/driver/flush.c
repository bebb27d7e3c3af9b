/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flush: metadata to the file, in an order that no crash can break.
 *
 * Everything dirty is copied under the lock at one moment; that copy is
 * consistent, and goes to the file in steps with a sync between them:
 *
 *   1  refcount blocks
 *      sync
 *   2  refcount table (names the blocks of 1)
 *      sync, which also makes all guest data durable that was written before
 *   3  L2 tables: entries name clusters that are counted and written
 *      sync
 *   4  L1 table (names the tables of 3)
 *      sync
 *   5  what entries of 3 and 4 no longer name is given back: the counts drop
 *      in memory, to be written by step 1 of the next flush
 *
 * A crash after any prefix, with the writes of one step in any order: every
 * reference in the file is to something counted and complete (1, 2 before 3;
 * 3 before 4), and nothing counted as free is referred to (3, 4 before 5).
 * What is left over is counted and not referred to: leaks. Steps with nothing
 * to write are left out together with their sync.
 *
 * Requests go on meanwhile and dirty pages again; those wait for the next
 * flush. The copy of a page is never older than what the file holds, because
 * there is one flush at a time. (grow.c writes blocks directly, and says why
 * that is no exception.)
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2/driver/cache_page.h"
#include "qcow2/driver/qcow2.h"

struct copied_pages {
	struct qcow2_page **pages; /* in the order of the file */
	uint64_t count;
	uint8_t *bytes; /* theirs, one after the other */
};

struct copied_table {
	uint64_t offset;
	uint64_t length_bytes;
	uint8_t *bytes;
};

struct batch {
	struct copied_pages blocks, l2;
	struct copied_table reftable, l1;
	struct qcow2_free_list frees;
};

static int by_offset(const void *a, const void *b)
{
	uint64_t x = (*(struct qcow2_page *const *)a)->offset;
	uint64_t y = (*(struct qcow2_page *const *)b)->offset;

	return x < y ? -1 : x > y;
}

static int copy_pages(struct qcow2 *q, uint32_t kind, struct copied_pages *out)
{
	uint32_t bytes = q->cache.page_bytes;
	uint64_t n = 0;

	for (struct qcow2_page *p = q->cache.dirty; p; p = p->dirty_next)
		n += p->kind == kind;
	if (n == 0)
		return 0;
	out->pages = malloc(n * sizeof(*out->pages));
	out->bytes = malloc(n * bytes);
	if (!out->pages || !out->bytes)
		return -ENOMEM;
	for (struct qcow2_page *p = q->cache.dirty; p; p = p->dirty_next)
		if (p->kind == kind)
			out->pages[out->count++] = p;
	qsort(out->pages, n, sizeof(*out->pages), by_offset);
	for (uint64_t i = 0; i < n; i++)
		memcpy(out->bytes + i * bytes, out->pages[i]->data, bytes);
	return 0;
}

static int copy_table(const struct qcow2_table *t, struct copied_table *out)
{
	uint64_t n = t->dirty_to - t->dirty_from;

	if (n == 0)
		return 0;
	out->bytes = malloc(n * 8);
	if (!out->bytes)
		return -ENOMEM;
	out->offset = t->offset + t->dirty_from * 8;
	out->length_bytes = n * 8;
	qcow2_table_encode(t, t->dirty_from, t->dirty_to, out->bytes);
	return 0;
}

/* All or nothing: only when every copy is there is anything called clean. */
static int copy_all(struct qcow2 *q, struct batch *b, struct tide_error *err)
{
	int ret = copy_pages(q, TIDE_KIND_REFCOUNT_BLOCK, &b->blocks);

	if (ret == 0)
		ret = copy_pages(q, TIDE_KIND_L2, &b->l2);
	if (ret == 0)
		ret = copy_table(&q->reftable, &b->reftable);
	if (ret == 0)
		ret = copy_table(&q->l1, &b->l1);
	if (ret < 0)
		return tide_error_set(err, ret, "qcow2", TIDE_NO_OFFSET,
				      "no memory to flush %u metadata pages",
				      q->cache.dirty_count);
	for (struct qcow2_page *p = q->cache.dirty; p; p = p->dirty_next) {
		p->dirty = false;
		p->writing = true;
	}
	q->cache.dirty = NULL;
	q->cache.dirty_count = 0;
	q->reftable.dirty_from = q->reftable.dirty_to = 0;
	q->l1.dirty_from = q->l1.dirty_to = 0;
	q->l1_on_its_way = b->l1.bytes != NULL;
	b->frees = q->frees;
	memset(&q->frees, 0, sizeof(q->frees));
	return 0;
}

static int write_pages(struct qcow2 *q, const struct copied_pages *c,
		       uint32_t kind, struct tide_error *err)
{
	uint32_t bytes = q->cache.page_bytes;
	uint64_t from = 0, to;
	int ret = 0;

	for (; ret == 0 && from < c->count; from = to) {
		to = from + 1;
		while (to < c->count &&
		       c->pages[to]->offset ==
			       c->pages[from]->offset + (to - from) * bytes)
			to++;
		ret = qcow2_write_meta(q, c->pages[from]->offset,
				       c->bytes + from * bytes,
				       (to - from) * bytes, 1u << kind, false,
				       err);
	}
	return ret;
}

static int write_table(struct qcow2 *q, const struct copied_table *t,
		       uint32_t kind, struct tide_error *err)
{
	int ret;

	if (!t->bytes)
		return 0;
	ret = tide_disk_flush(q->file, err);
	if (ret < 0)
		return ret;
	return qcow2_write_meta(q, t->offset, t->bytes, t->length_bytes,
				1u << kind, false, err);
}

/* The steps 1 to 4. */
static int write_batch(struct qcow2 *q, const struct batch *b,
		       struct tide_error *err)
{
	int ret = write_pages(q, &b->blocks, TIDE_KIND_REFCOUNT_BLOCK, err);

	if (ret == 0)
		ret = write_table(q, &b->reftable, TIDE_KIND_REFCOUNT_TABLE,
				  err);
	if (ret == 0 && (b->blocks.count || b->reftable.bytes || b->l2.count))
		ret = tide_disk_flush(q->file, err);
	if (ret == 0)
		ret = write_pages(q, &b->l2, TIDE_KIND_L2, err);
	if (ret == 0)
		ret = write_table(q, &b->l1, TIDE_KIND_L1, err);
	if (ret == 0 && (b->l2.count || b->l1.bytes || !b->blocks.count))
		ret = tide_disk_flush(q->file, err);
	return ret;
}

/* After a failure all of the batch is dirty again, and nothing given back. */
static void dirty_pages_again(struct qcow2 *q, struct copied_pages *c,
			      bool failed)
{
	for (uint64_t i = 0; i < c->count; i++) {
		c->pages[i]->writing = false;
		if (failed)
			qcow2_page_dirty(&q->cache, c->pages[i]);
	}
}

static void dirty_table_again(struct qcow2_table *t,
			      const struct copied_table *c)
{
	uint64_t from = c->bytes ? (c->offset - t->offset) / 8 : 0;

	/* The table may have moved: then it was written whole. */
	for (uint64_t i = 0; c->bytes && i < c->length_bytes / 8; i++)
		if (c->offset >= t->offset && from + i < t->count)
			qcow2_table_set(t, from + i, t->entries[from + i]);
}

static void give_back(struct qcow2 *q, const struct qcow2_free *f)
{
	uint64_t bytes = f->clusters << q->cluster_bits;

	if (f->kind != NO_KIND) {
		tide_kinds_remove(q->kinds, (enum tide_kind)f->kind, f->offset,
				  bytes, NULL);
		qcow2_cache_drop(&q->cache, f->offset, bytes);
	}
	qcow2_unalloc(q, f->offset, f->clusters);
}

/* Keep what could not be given back for the next flush. */
static void keep_frees(struct qcow2 *q, struct qcow2_free_list *list)
{
	if (qcow2_free_reserve(q, list->count, NULL) < 0)
		return; /* they become leaks, which a check finds */
	for (uint64_t i = 0; i < list->count; i++)
		q->frees.items[q->frees.count++] = list->items[i];
}

/* Clusters that are about to be free may leave the file: holes. */
static void punch(struct qcow2 *q, const struct qcow2_free *f)
{
	uint64_t first = f->offset >> q->cluster_bits, count, run = 0;

	if (!f->punch)
		return;
	for (uint64_t i = 0; i <= f->clusters; i++) {
		bool last = i == f->clusters;

		pthread_mutex_lock(&q->lock);
		if (last || qcow2_refcount_get(q, first + i, &count, NULL) < 0)
			count = 0;
		pthread_mutex_unlock(&q->lock);
		if (!last && count == 1) {
			run++;
			continue;
		}
		if (run)
			tide_disk_discard(q->file,
					  (first + i - run) << q->cluster_bits,
					  run << q->cluster_bits, NULL);
		run = 0;
	}
}

static void finish_batch(struct qcow2 *q, struct batch *b, bool failed)
{
	for (uint64_t i = 0; !failed && i < b->frees.count; i++)
		punch(q, &b->frees.items[i]);
	pthread_mutex_lock(&q->lock);
	dirty_pages_again(q, &b->blocks, failed);
	dirty_pages_again(q, &b->l2, failed);
	q->l1_on_its_way = false;
	if (failed) {
		dirty_table_again(&q->reftable, &b->reftable);
		dirty_table_again(&q->l1, &b->l1);
		keep_frees(q, &b->frees);
	} else {
		for (uint64_t i = 0; i < b->frees.count; i++)
			give_back(q, &b->frees.items[i]);
	}
	pthread_mutex_unlock(&q->lock);
}

static void free_batch(struct batch *b)
{
	free(b->blocks.pages);
	free(b->blocks.bytes);
	free(b->l2.pages);
	free(b->l2.bytes);
	free(b->reftable.bytes);
	free(b->l1.bytes);
	free(b->frees.items);
}

int qcow2_flush_locked(struct qcow2 *q, struct tide_error *err)
{
	struct batch b = { 0 };
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = q->broken ? qcow2_may_write(q, err) : copy_all(q, &b, err);
	pthread_mutex_unlock(&q->lock);
	if (ret == 0 && q->external)
		ret = tide_disk_flush(q->data, err);
	if (ret == 0)
		ret = write_batch(q, &b, err);
	finish_batch(q, &b, ret < 0);
	free_batch(&b);
	return ret;
}

int qcow2_flush(struct tide_disk *d, struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	int ret;

	pthread_mutex_lock(&q->flush_lock);
	ret = qcow2_flush_locked(q, err);
	pthread_mutex_unlock(&q->flush_lock);
	return ret;
}

int qcow2_make_room(struct qcow2 *q, struct tide_error *err)
{
	bool full;

	pthread_mutex_lock(&q->lock);
	full = q->cache.dirty_count > q->cache.bound / 2 ||
	       q->frees.count > q->cache.bound;
	pthread_mutex_unlock(&q->lock);
	return full ? qcow2_flush(&q->disk, err) : 0;
}
