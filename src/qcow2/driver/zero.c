/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Write zeroes and discard: the same walk with another end.
 *
 * Whole clusters change their entry only. Zeroing keeps the host cluster when
 * the caller wants the space to stay his, and gives it back otherwise; a
 * discard always gives back. A cluster that is unallocated over a backing file
 * becomes a zero cluster, or, in version 2, which has none, is written (zero)
 * or left alone (discard). What covers only part of a cluster is written as
 * zeroes, unless it reads so already.
 *
 * An external raw data file must read the same without us: there the zeroes go
 * to the file and the entries stay.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"

#define ZERO_BUFFER_BYTES (64u << 10)

struct wipe {
	bool discard;
	bool unmap; /* give host clusters back */
	bool forget; /* leave nothing: the disk will end before */
};

static bool reads_zero(const struct qcow2 *q, uint64_t offset,
		       const struct qcow2_extent *e)
{
	return e->type == QCOW2_ZERO ||
	       (e->type == QCOW2_UNALLOCATED && !qcow2_backed(q, offset));
}

static int write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t length,
			struct tide_error *err)
{
	uint8_t *zeroes = calloc(1, ZERO_BUFFER_BYTES);
	struct iovec part = { zeroes, 0 };
	struct tide_vec from;
	uint64_t step;
	int ret = 0;

	if (!zeroes)
		return tide_error_set(err, -ENOMEM, "qcow2", offset,
				      "no memory to write zeroes");
	for (; ret == 0 && length; offset += step, length -= step) {
		step = length < ZERO_BUFFER_BYTES ? length : ZERO_BUFFER_BYTES;
		part.iov_len = step;
		from = tide__vec_of(&part);
		/* Perhaps behind the end: the disk is about to grow. */
		ret = qcow2_writev(&q->disk, offset, &from, 0, err);
	}
	free(zeroes);
	return ret;
}

/* A part of a cluster. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t length,
		     struct tide_error *err)
{
	struct qcow2_extent e;
	int ret = 0;

	while (ret == 0 && length) {
		pthread_mutex_lock(&q->lock);
		ret = qcow2_lookup(q, offset, length, &e, err);
		pthread_mutex_unlock(&q->lock);
		if (ret == 0 && !reads_zero(q, offset, &e))
			ret = write_zeroes(q, offset, e.length_bytes, err);
		offset += ret < 0 ? 0 : e.length_bytes;
		length -= ret < 0 ? 0 : e.length_bytes;
	}
	return ret;
}

/* The entry (and subcluster word) that whole clusters get. */
static bool wipe_entry(struct qcow2 *q, const struct wipe *w, uint64_t offset,
		       uint8_t *at)
{
	uint64_t old = tide__get_be(at, 8), entry = 0, bits = 0;
	/* Version 2 cannot say "zero" of a cluster that it keeps. */
	bool keep = !w->unmap && q->header.version >= 3 &&
		    !(old & QCOW2_ENTRY_PACKED) && old & QCOW2_ENTRY_COPIED;
	bool plain_zero = !w->forget &&
			  (!w->discard || qcow2_backed(q, offset));

	if (w->discard && !w->forget && q->header.version < 3 &&
	    qcow2_backed(q, offset))
		return false;
	if (keep)
		entry = old & ~QCOW2_ENTRY_ZERO;
	if (q->extended)
		bits = plain_zero ? ALL_SUBCLUSTERS << 32 : 0;
	else if (plain_zero && q->header.version >= 3)
		entry |= QCOW2_ENTRY_ZERO;
	if (entry == old && !q->extended)
		return false;
	if (!keep)
		qcow2_release_entry(q, old, true);
	tide__put_be(at, entry, 8);
	if (q->extended)
		tide__put_be(at + 8, bits, 8);
	return true;
}

/* Whole clusters [from, to) of one metadata page; registered, lock held. */
static int wipe_page(struct qcow2 *q, const struct wipe *w, uint64_t from,
		     uint64_t to, struct tide_error *err)
{
	QCOW2_ENTRY(entry);
	struct qcow2_extent e;
	bool changed = false;
	int ret = qcow2_lookup(q, from, to - from, &e, err);

	if (ret < 0)
		return ret;
	/* Nothing there, nothing shows through: leave it without a table. */
	if (e.length_bytes == to - from && e.type == QCOW2_UNALLOCATED &&
	    !e.has_host && (w->discard || !qcow2_backed(q, from)))
		return 0;
	ret = qcow2_l2_writable(q, from, &entry, err);
	if (ret < 0)
		return ret;
	ret = qcow2_free_reserve(q, (to - from) >> q->cluster_bits, err);
	for (uint64_t at = from; ret == 0 && at < to; at += q->cluster_bytes)
		changed |= wipe_entry(q, w, at,
				      entry.at + ((at - from) >>
						  q->cluster_bits) *
							 q->entry_bytes);
	if (changed)
		qcow2_pin_dirty(&q->cache, &entry.pin);
	return ret;
}

static int wipe_clusters(struct qcow2 *q, const struct wipe *w, uint64_t from,
			 uint64_t to, struct tide_error *err)
{
	struct qcow2_range range;
	uint64_t end;
	int ret = 0;

	for (; ret == 0 && from < to; from = end) {
		end = from + qcow2_page_reach(q, from);
		end = end < to ? end : to;
		ret = qcow2_make_room(q, err);
		if (ret < 0)
			break;
		pthread_mutex_lock(&q->lock);
		ret = qcow2_may_write(q, err);
		if (ret == 0) {
			qcow2_range_begin(&q->ranges, &range, from, end, true,
					  &q->lock);
			ret = wipe_page(q, w, from, end, err);
			qcow2_range_end(&q->ranges, &range);
		}
		pthread_mutex_unlock(&q->lock);
	}
	return ret;
}

/* The last cluster of the disk is whole if the range goes to the end. */
static uint64_t whole_end(const struct qcow2 *q, uint64_t end)
{
	if (end == q->disk.size_bytes)
		return round_up(end, q->cluster_bytes);
	return round_down(end, q->cluster_bytes);
}

/* The file is the guest's disk as it is: the data file does it. */
static int ready_raw(struct qcow2 *q, struct tide_error *err)
{
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = qcow2_may_write(q, err);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

int qcow2_zero(struct tide_disk *d, uint64_t offset, uint64_t length_bytes,
	       uint32_t flags, struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct wipe w = { .unmap = (flags & TIDE_ZERO_MAY_UNMAP) != 0 };
	uint64_t end = offset + length_bytes;
	uint64_t from = round_up(offset, q->cluster_bytes);
	uint64_t to = whole_end(q, end);
	int ret;

	if (q->raw_external) {
		ret = ready_raw(q, err);
		return ret < 0 ? ret : tide_disk_zero(q->data, offset,
						      length_bytes, flags, err);
	}
	/* Version 2 has no zero clusters to put over a backing file. */
	if (from >= to || (q->header.version < 3 && q->backing))
		return flags & TIDE_ZERO_NO_FALLBACK ?
			       -ENOTSUP :
			       zero_part(q, offset, length_bytes, err);
	ret = from > offset ? zero_part(q, offset, from - offset, err) : 0;
	if (ret == 0)
		ret = wipe_clusters(q, &w, from, to, err);
	if (ret == 0 && to < end)
		ret = zero_part(q, to, end - to, err);
	return ret;
}

int qcow2_discard(struct tide_disk *d, uint64_t offset, uint64_t length_bytes,
		  struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct wipe w = { .discard = true, .unmap = true };
	uint64_t from = round_up(offset, q->cluster_bytes);
	uint64_t to = whole_end(q, offset + length_bytes);

	if (q->raw_external) {
		int ret = ready_raw(q, err);

		return ret < 0 ? ret : tide_disk_discard(q->data, offset,
							 length_bytes, err);
	}
	return from < to ? wipe_clusters(q, &w, from, to, err) : 0;
}

int qcow2_forget(struct qcow2 *q, uint64_t from, uint64_t to,
		 struct tide_error *err)
{
	struct wipe w = { .discard = true, .unmap = true, .forget = true };

	return wipe_clusters(q, &w, from, to, err);
}
