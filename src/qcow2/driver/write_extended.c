/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing into a cluster of 32 subclusters (extended L2).
 *
 * Copying is by the subcluster: a small write into a new cluster brings the
 * rest of its first and last subcluster along and leaves the other thirty to
 * the backing file. Only a cluster that a snapshot shares, or a compressed
 * one, is copied whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"

struct target {
	uint64_t base; /* guest offset of the cluster */
	uint64_t from, to; /* guest bytes to be written, whole subclusters */
	uint64_t host;
	uint64_t old_entry;
	uint64_t bits; /* the new subcluster word */
	bool fresh;
};

static uint64_t mask_of(const struct qcow2 *q, const struct target *t)
{
	uint32_t first = (uint32_t)((t->from - t->base) >> q->unit_bits);
	uint32_t last = (uint32_t)((t->to - t->base) >> q->unit_bits);

	return ((1ull << last) - 1) & ~((1ull << first) - 1);
}

/* Which cluster, which subclusters, and what the entry will say. */
static int plan(struct qcow2 *q, struct target *t, const uint8_t *at,
		uint64_t offset, uint64_t length, struct tide_error *err)
{
	uint64_t unit = 1ull << q->unit_bits, bits = tide__get_be(at + 8, 8);
	uint64_t host, got;
	bool zeroed;
	int ret;

	t->old_entry = tide__get_be(at, 8);
	t->base = round_down(offset, q->cluster_bytes);
	t->from = round_down(offset, unit);
	t->to = round_up(offset + length, unit);
	host = t->old_entry & QCOW2_OFFSET_MASK;
	t->host = q->external ? t->base : host;
	if (!(t->old_entry & QCOW2_ENTRY_PACKED) &&
	    (q->external || (host && t->old_entry & QCOW2_ENTRY_COPIED))) {
		t->fresh = false;
	} else {
		t->fresh = true;
		if (t->old_entry) {
			t->from = t->base;
			t->to = t->base + q->cluster_bytes;
		}
		ret = qcow2_alloc(q, 1, &t->host, &got, &zeroed, err);
		if (ret < 0)
			return ret;
	}
	bits |= mask_of(q, t);
	t->bits = bits & ~(mask_of(q, t) << 32);
	return 0;
}

/* Without the lock: old content around the new, in one write. */
static int fill(struct qcow2 *q, const struct target *t, uint64_t offset,
		const struct tide_vec *from, struct tide_error *err)
{
	uint64_t bytes = t->to - t->from, end = offset + from->length_bytes;
	uint8_t *joined = malloc(bytes);
	int ret = 0;

	if (!joined)
		return tide_error_set(err, -ENOMEM, "qcow2", offset,
				      "no memory to copy a cluster");
	if (offset > t->from)
		ret = qcow2_read_registered(q, t->from, joined,
					    offset - t->from, err);
	if (ret == 0 && t->to > end)
		ret = qcow2_read_registered(q, end, joined + (end - t->from),
					    t->to - end, err);
	tide__vec_gather(from, joined + (offset - t->from));
	if (q->external && t->to > q->disk.size_bytes)
		bytes = q->disk.size_bytes - t->from;
	if (ret == 0)
		ret = tide_disk_write(q->data, t->host + (t->from - t->base),
				      joined, bytes, err);
	free(joined);
	return ret;
}

static int write_target(struct qcow2 *q, struct target *t, uint64_t offset,
			const struct tide_vec *from, struct tide_error *err)
{
	int ret = 0;

	if (!q->external)
		ret = qcow2_guard(q, t->host, q->cluster_bytes, 0,
				  "a guest write to a new cluster", err);
	if (ret < 0)
		return ret;
	pthread_mutex_unlock(&q->lock);
	ret = fill(q, t, offset, from, err);
	pthread_mutex_lock(&q->lock);
	return ret < 0 ? ret : qcow2_free_reserve(q, 1, err);
}

int qcow2_write_subclusters(struct qcow2 *q, uint64_t offset,
			    const struct tide_vec *from,
			    struct tide_error *err)
{
	QCOW2_ENTRY(entry);
	struct target t;
	int ret = qcow2_l2_writable(q, offset, &entry, err);

	if (ret < 0)
		return ret;
	ret = plan(q, &t, entry.at, offset, from->length_bytes, err);
	if (ret == 0) {
		ret = write_target(q, &t, offset, from, err);
		if (ret < 0 && t.fresh)
			qcow2_unalloc(q, t.host, 1);
	}
	if (ret == 0) {
		if (t.fresh)
			qcow2_release_entry(q, t.old_entry, false);
		tide__put_be(entry.at, t.host | QCOW2_ENTRY_COPIED, 8);
		tide__put_be(entry.at + 8, t.bits, 8);
		qcow2_pin_dirty(&q->cache, &entry.pin);
	}
	return ret;
}
