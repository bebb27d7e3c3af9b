/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changing the virtual size.
 *
 * Longer: an L1 table that reaches (the old one is copied behind everything
 * else if it must grow), then the header's size and table in one sector.
 * Shorter: what lies beyond is discarded first, so that growing again later
 * shows zeroes and not what was there, then the header's size. The L1 table
 * keeps its length. Images with snapshots or bitmaps are refused where the
 * format cannot say what their size was.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "qcow2/driver/qcow2.h"

static uint64_t l1_needed(const struct qcow2 *q, uint64_t size)
{
	uint64_t span = 1ull << (q->cluster_bits + q->l2_bits);

	return size / span + (size % span != 0);
}

static int refuse(struct qcow2 *q, uint64_t size, struct tide_error *err)
{
	if (q->header.snapshot_count && q->header.version < 3)
		return tide_error_set(err, -ENOTSUP, "qcow2", TIDE_NO_OFFSET,
				      "%s: a version 2 image with snapshots "
				      "cannot be resized; upgrade it first",
				      q->disk.path);
	if (q->header.has_bitmaps)
		return tide_error_set(err, -ENOTSUP, "qcow2", TIDE_NO_OFFSET,
				      "%s has bitmaps that would no longer fit "
				      "the disk; remove them first",
				      q->disk.path);
	if (l1_needed(q, size) * 8 > QCOW2_MAX_L1_BYTES)
		return tide_error_set(err, -EFBIG, "qcow2", TIDE_NO_OFFSET,
				      "%s: %llu bytes need an L1 table of more "
				      "than 32 MiB; use larger clusters",
				      q->disk.path, (unsigned long long)size);
	return 0;
}

/*
 * Write the table to a new place, as long as @count entries, and point the
 * header there. Nothing in memory is dirty (grow saw to it), so every table
 * that the copy names is in the file.
 */
static int copy_l1(struct qcow2 *q, struct qcow2_table *grown, uint64_t bytes,
		   struct tide_error *err)
{
	uint8_t *raw = calloc(1, bytes);
	bool zeroed;
	int ret = 0;

	grown->entries = calloc(grown->count, sizeof(*grown->entries));
	if (!raw || !grown->entries)
		ret = tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				     "no memory for an L1 table");
	if (ret == 0)
		ret = qcow2_alloc_row(q, bytes >> q->cluster_bits,
				      &grown->offset, &zeroed, err);
	if (ret == 0)
		ret = tide_kinds_add(q->kinds, TIDE_KIND_L1, grown->offset,
				     bytes, err);
	if (ret == 0) {
		memcpy(grown->entries, q->l1.entries,
		       q->l1.count * sizeof(*grown->entries));
		qcow2_table_encode(grown, 0, grown->count, raw);
		ret = qcow2_write_meta(q, grown->offset, raw, bytes,
				       1u << TIDE_KIND_L1, true, err);
	}
	free(raw);
	return ret;
}

/* The header's size, and its L1 table, in one sector. */
static int store(struct qcow2 *q, uint64_t size, struct tide_error *err)
{
	struct qcow2_header old = q->header;
	int ret;

	q->header.size_bytes = size;
	q->header.l1_offset = q->l1.offset;
	q->header.l1_entries = (uint32_t)q->l1.count;
	ret = qcow2_header_store(q, err);
	if (ret == 0)
		return 0;
	q->header = old;
	q->broken = ret;
	strcpy(q->why_broken, "the header could not be written");
	return ret;
}

static int move_l1(struct qcow2 *q, uint64_t count, struct tide_error *err)
{
	struct qcow2_table old = q->l1, grown = { .count = count };
	uint64_t old_bytes = round_up(old.count * 8, q->cluster_bytes);
	uint64_t bytes = round_up(count * 8, q->cluster_bytes);
	int ret = qcow2_free_reserve(q, 2, err);

	if (ret == 0)
		ret = copy_l1(q, &grown, bytes, err);
	if (ret == 0)
		ret = qcow2_write_counts(q, err);
	if (ret < 0) {
		free(grown.entries);
		return ret;
	}
	q->l1 = grown;
	ret = store(q, q->header.size_bytes, err);
	if (ret < 0) {
		q->l1 = old;
		free(grown.entries);
		return ret;
	}
	free(old.entries);
	if (old_bytes)
		qcow2_free_later(q, old.offset, old_bytes >> q->cluster_bits,
				 TIDE_KIND_L1, false);
	return 0;
}

/* An L1 table that reaches @size. */
static int reach_l1(struct qcow2 *q, uint64_t size, struct tide_error *err)
{
	uint64_t count = l1_needed(q, size);
	int ret = 0;

	pthread_mutex_lock(&q->flush_lock);
	pthread_mutex_lock(&q->lock);
	/* Requests go on while a flush writes: until none slipped in. */
	while (ret == 0 && count > q->l1.count && q->cache.dirty_count) {
		pthread_mutex_unlock(&q->lock);
		ret = qcow2_flush_locked(q, err);
		pthread_mutex_lock(&q->lock);
		if (q->l1.dirty_from == q->l1.dirty_to)
			break;
	}
	if (ret == 0)
		ret = qcow2_may_write(q, err);
	if (ret == 0 && count > q->l1.count)
		ret = move_l1(q, count, err);
	pthread_mutex_unlock(&q->lock);
	pthread_mutex_unlock(&q->flush_lock);
	return ret;
}

static int set_size(struct qcow2 *q, uint64_t size, struct tide_error *err)
{
	int ret = qcow2_flush(&q->disk, err);

	pthread_mutex_lock(&q->lock);
	if (ret == 0)
		ret = store(q, size, err);
	if (ret == 0)
		/* Pairs with the acquire in tide_disk_size. */
		tide__store_release(&q->disk.size_bytes, size);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

/* What a longer backing file would show in the new part must not be seen. */
static int hide_backing(struct qcow2 *q, uint64_t from, uint64_t to,
			struct tide_error *err)
{
	uint64_t size = q->backing ? tide_disk_size(q->backing) : 0;

	if (to > size)
		to = size;
	return from < to ? qcow2_zero(&q->disk, from, to - from, 0, err) : 0;
}

static int shrink(struct qcow2 *q, uint64_t size, uint64_t old,
		  struct tide_error *err)
{
	uint64_t edge = round_up(size, q->cluster_bytes);
	int ret = 0;

	if (size < (edge < old ? edge : old))
		ret = qcow2_zero(&q->disk, size,
				 (edge < old ? edge : old) - size, 0, err);
	if (ret == 0 && edge < old)
		ret = qcow2_forget(q, edge, round_up(old, q->cluster_bytes),
				   err);
	return ret;
}

int qcow2_resize(struct tide_disk *d, uint64_t size_bytes,
		 struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	uint64_t old = tide_disk_size(d);
	int ret;

	/* To the same size: done, whatever the image has. */
	if (size_bytes == old)
		return 0;
	ret = refuse(q, size_bytes, err);
	if (ret < 0)
		return ret;
	if (q->external && tide_disk_size(q->data) < size_bytes)
		ret = tide_disk_resize(q->data, size_bytes, err);
	if (ret == 0 && size_bytes > old)
		ret = reach_l1(q, size_bytes, err);
	if (ret == 0)
		ret = size_bytes > old ?
			      hide_backing(q, old, size_bytes, err) :
			      shrink(q, size_bytes, old, err);
	return ret < 0 ? ret : set_size(q, size_bytes, err);
}
