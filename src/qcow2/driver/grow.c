/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making the refcount structures reach further.
 *
 * A new refcount block counts itself: it is put into the very cluster that
 * asked for it, which until then nobody counted. When the refcount table is
 * full, a longer one is written behind everything that is covered, together
 * with the blocks that count it and themselves:
 *
 *     | block | ... | block | new table ... |     <- the area
 *
 * The order on disk: the area and every block that the new table names, a
 * sync, the header's switch to the new table (one sector), a sync. The old
 * table is given back by the next flush. A crash in between leaves the area
 * unreferenced and uncounted, which is nothing at all.
 *
 * Everything runs with the lock held; growth is rare: a table entry of 64 KiB
 * clusters stands for 2 GiB.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2/driver/cache_page.h"
#include "qcow2/driver/qcow2.h"

int qcow2_zero_clusters(struct qcow2 *q, uint64_t offset, uint64_t clusters,
			bool zeroed, struct tide_error *err)
{
	uint64_t bytes = clusters << q->cluster_bits;
	int ret;

	if (zeroed)
		return 0;
	ret = qcow2_guard(q, offset, bytes, 0, "zeroing new metadata", err);
	return ret < 0 ? ret : tide_disk_zero(q->file, offset, bytes, 0, err);
}

/* Make [first, +count) part of the file, and all zeroes. */
static int claim(struct qcow2 *q, uint64_t first, uint64_t count, bool *zeroed,
		 struct tide_error *err)
{
	uint64_t from = first << q->cluster_bits;
	uint64_t to = (first + count) << q->cluster_bits;
	int ret = qcow2_reach(q, to, err);

	if (ret < 0)
		return ret;
	*zeroed = q->growable && from >= q->touched_end;
	if (to > q->touched_end)
		q->touched_end = to;
	return 0;
}

/* An empty block at cluster @at for table entry @index of @entries. */
static int add_block(struct qcow2 *q, uint64_t *entry, uint64_t at, bool zeroed,
		     struct tide_error *err)
{
	uint64_t offset = at << q->cluster_bits;
	int ret = qcow2_zero_clusters(q, offset, 1, zeroed, err);

	qcow2_cache_drop(&q->cache, offset, q->cluster_bytes);
	if (ret == 0 && q->kinds)
		ret = tide_kinds_add(q->kinds, TIDE_KIND_REFCOUNT_BLOCK, offset,
				     q->cluster_bytes, err);
	if (ret == 0)
		*entry = offset;
	return ret;
}

static int grow_table(struct qcow2 *q, uint64_t entries,
		      struct tide_error *err);

int qcow2_cover(struct qcow2 *q, uint64_t index, struct tide_error *err)
{
	uint64_t block = index >> q->refblock_bits, entry = 0;
	bool zeroed;
	int ret = 0;

	if (block >= q->reftable.count)
		ret = grow_table(q, block + 1, err);
	if (ret < 0 || q->reftable.entries[block] & QCOW2_OFFSET_MASK)
		return ret;
	ret = claim(q, index, 1, &zeroed, err);
	if (ret == 0)
		ret = add_block(q, &entry, index, zeroed, err);
	if (ret < 0)
		return ret;
	qcow2_table_set(&q->reftable, block, entry);
	return qcow2_refcount_add(q, index, 1, err);
}

/* Blocks for @count clusters and for the blocks themselves. */
static uint64_t blocks_for(const struct qcow2 *q, uint64_t count)
{
	uint64_t per_block = 1ull << q->refblock_bits;

	return (count + per_block - 2) / (per_block - 1);
}

static uint64_t first_uncovered(const struct qcow2 *q)
{
	uint64_t n = q->reftable.count;

	while (n && !(q->reftable.entries[n - 1] & QCOW2_OFFSET_MASK))
		n--;
	return n;
}

/* Put @blocks blocks at @block's first cluster, and count @count clusters. */
static int lay_area(struct qcow2 *q, uint64_t block, uint64_t blocks,
		    uint64_t count, bool *zeroed, struct tide_error *err)
{
	uint64_t first = block << q->refblock_bits, entry = 0;
	int ret = claim(q, first, blocks + count, zeroed, err);

	for (uint64_t i = 0; ret == 0 && i < blocks; i++) {
		ret = add_block(q, &entry, first + i, *zeroed, err);
		if (ret == 0)
			qcow2_table_set(&q->reftable, block + i, entry);
	}
	for (uint64_t i = 0; ret == 0 && i < blocks + count; i++)
		ret = qcow2_refcount_add(q, first + i, 1, err);
	return ret;
}

int qcow2_alloc_area(struct qcow2 *q, uint64_t count, uint64_t *offset,
		     bool *zeroed, struct tide_error *err)
{
	uint64_t blocks = blocks_for(q, count), block = first_uncovered(q);
	int ret = 0;

	if (block + blocks > q->reftable.count) {
		ret = grow_table(q, block + 2 * blocks, err);
		block = first_uncovered(q);
	}
	if (ret == 0)
		ret = lay_area(q, block, blocks, count, zeroed, err);
	if (ret == 0)
		*offset = ((block << q->refblock_bits) + blocks)
			  << q->cluster_bits;
	return ret;
}

/*
 * Every dirty page of a block to the file, left dirty: a flush that is under
 * way may bring an older copy after ours, and then ours must go again. That
 * older copy is no danger: a block counts itself from its first copy on.
 */
static int write_blocks(struct qcow2 *q, struct tide_error *err)
{
	int ret = 0;

	for (struct qcow2_page *p = q->cache.dirty; ret == 0 && p;
	     p = p->dirty_next)
		if (p->kind == TIDE_KIND_REFCOUNT_BLOCK)
			ret = qcow2_write_meta(
				q, p->offset, p->data, q->cache.page_bytes,
				1u << TIDE_KIND_REFCOUNT_BLOCK, true, err);
	return ret;
}

int qcow2_write_counts(struct qcow2 *q, struct tide_error *err)
{
	const struct qcow2_table *t = &q->reftable;
	uint64_t n = t->dirty_to - t->dirty_from;
	int ret = write_blocks(q, err);
	uint8_t *raw;

	if (ret < 0 || n == 0)
		return ret;
	ret = tide_disk_flush(q->file, err);
	raw = ret < 0 ? NULL : malloc(n * 8);
	if (!raw)
		return ret < 0 ? ret
			       : tide_error_set(err, -ENOMEM, "qcow2",
						t->offset,
						"no memory for the refcount "
						"table");
	qcow2_table_encode(t, t->dirty_from, t->dirty_to, raw);
	ret = qcow2_write_meta(q, t->offset + t->dirty_from * 8, raw, n * 8,
			       1u << TIDE_KIND_REFCOUNT_TABLE, true, err);
	free(raw);
	return ret;
}

static int write_table(struct qcow2 *q, const struct qcow2_table *t,
		       struct tide_error *err)
{
	uint64_t bytes = round_up(t->count * 8, q->cluster_bytes);
	uint8_t *raw = calloc(1, bytes);
	int ret;

	if (!raw)
		return tide_error_set(err, -ENOMEM, "qcow2", t->offset,
				      "no memory for the refcount table");
	qcow2_table_encode(t, 0, t->count, raw);
	ret = tide_kinds_add(q->kinds, TIDE_KIND_REFCOUNT_TABLE, t->offset,
			     bytes, err);
	if (ret == 0)
		ret = qcow2_write_meta(q, t->offset, raw, bytes,
				       1u << TIDE_KIND_REFCOUNT_TABLE, true,
				       err);
	free(raw);
	return ret;
}

/* The header now names the table in memory. */
static int switch_table(struct qcow2 *q, uint64_t old_offset,
			uint32_t old_clusters, struct tide_error *err)
{
	int ret = write_blocks(q, err);

	if (ret == 0)
		ret = write_table(q, &q->reftable, err);
	if (ret < 0)
		return ret;
	q->reftable.dirty_from = q->reftable.dirty_to = 0;
	q->header.reftable_offset = q->reftable.offset;
	q->header.reftable_clusters =
		(uint32_t)(q->reftable.count * 8 >> q->cluster_bits);
	ret = qcow2_header_store(q, err);
	if (ret == 0)
		qcow2_free_later(q, old_offset, old_clusters,
				 TIDE_KIND_REFCOUNT_TABLE, true);
	return ret;
}

/*
 * A table of at least @entries entries. A failure after its area was laid
 * breaks the image in memory: nothing more is written, the file is as it was.
 */
static int grow_table(struct qcow2 *q, uint64_t entries, struct tide_error *err)
{
	uint64_t old_offset = q->reftable.offset, block = first_uncovered(q);
	uint64_t per_cluster = q->cluster_bytes / 8, clusters, blocks;
	uint32_t old_clusters = q->header.reftable_clusters;
	uint64_t *more;
	bool zeroed;
	int ret = qcow2_free_reserve(q, 1, err);

	if (entries < q->reftable.count + q->reftable.count / 2)
		entries = q->reftable.count + q->reftable.count / 2;
	clusters = (entries + per_cluster - 1) / per_cluster;
	blocks = blocks_for(q, clusters);
	clusters += (blocks + per_cluster - 1) / per_cluster;
	blocks = blocks_for(q, clusters);
	if (clusters << q->cluster_bits > QCOW2_MAX_REFTABLE_BYTES)
		return tide_error_set(err, -EFBIG, "qcow2", TIDE_NO_OFFSET,
				      "%s: the refcount table would be longer "
				      "than 8 MiB; use larger clusters",
				      q->disk.path);
	more = ret < 0 ? NULL : calloc(clusters * per_cluster, sizeof(*more));
	if (!more)
		return tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				      "no memory for the refcount table");
	memcpy(more, q->reftable.entries, q->reftable.count * sizeof(*more));
	free(q->reftable.entries);
	q->reftable.entries = more;
	q->reftable.count = clusters * per_cluster;
	ret = lay_area(q, block, blocks, clusters, &zeroed, err);
	q->reftable.offset = ((block << q->refblock_bits) + blocks)
			     << q->cluster_bits;
	if (ret == 0)
		ret = switch_table(q, old_offset, old_clusters, err);
	if (ret < 0 && q->broken == 0) {
		q->broken = ret;
		strcpy(q->why_broken, "the refcount table could not grow");
	}
	return ret;
}
