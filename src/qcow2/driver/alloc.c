/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving out host clusters, and taking them back.
 *
 * Allocation is first fit from a hint below which nothing is free, in rows as
 * long as the caller wants. A cluster is given back in two steps: while a flush
 * has not brought the file's last reference to its end, it stays counted (a
 * crash would otherwise find an old L2 entry pointing into somebody else's
 * cluster); then the count drops, and only then can it be given out again.
 *
 * touched_end divides the file: clusters behind it were never written since
 * they became part of the file, and so read as zeroes on a file with holes.
 * A first write there need not zero the rest of its cluster.
 */
#include <errno.h>
#include <stdlib.h>

#include "qcow2/driver/qcow2.h"

#define GROW_MIN_BYTES (4ull << 20)
#define GROW_MAX_BYTES (256ull << 20)

/* The first free cluster from @at on, and how many follow, at most @want. */
static int find_free(struct qcow2 *q, uint64_t at, uint64_t want,
		     uint64_t *first, uint64_t *got, struct tide_error *err)
{
	uint64_t count, length = 0;

	for (;; at++) {
		int ret = 0;

		if (at >> (56 - q->cluster_bits))
			return tide_error_set(
				err, -ENOSPC, "qcow2", TIDE_NO_OFFSET,
				"%s: no offset below 2^56 is free",
				q->disk.path);
		/* A new block may take the cluster that we came for. */
		if ((at >> q->refblock_bits) >= q->reftable.count ||
		    !(q->reftable.entries[at >> q->refblock_bits] &
		      QCOW2_OFFSET_MASK)) {
			if (length)
				break;
			ret = qcow2_cover(q, at, err);
		}
		if (ret == 0)
			ret = qcow2_refcount_get(q, at, &count, err);
		if (ret < 0)
			return ret;
		if (count == 0 && ++length == want) {
			at++;
			break;
		}
		if (count != 0 && length)
			break;
	}
	*first = at - length;
	*got = length;
	return 0;
}

int qcow2_reach(struct qcow2 *q, uint64_t end, struct tide_error *err)
{
	uint64_t size = tide_disk_size(q->file), step = size / 8;

	if (end <= size)
		return 0;
	if (!q->growable)
		return tide_error_set(err, -ENOSPC, "qcow2", end,
				      "%s: the device ends at %llu and the "
				      "image needs more",
				      q->disk.path, (unsigned long long)size);
	step = step < GROW_MIN_BYTES ? GROW_MIN_BYTES : step;
	step = step > GROW_MAX_BYTES ? GROW_MAX_BYTES : step;
	if (tide_disk_resize(q->file, round_up(end + step, q->cluster_bytes),
			     NULL) == 0)
		return 0;
	return tide_disk_resize(q->file, end, err);
}

static int take(struct qcow2 *q, uint64_t first, uint64_t count, bool *zeroed,
		struct tide_error *err)
{
	uint64_t from = first << q->cluster_bits;
	uint64_t to = (first + count) << q->cluster_bits;
	int ret = qcow2_reach(q, to, err);

	for (uint64_t i = 0; ret == 0 && i < count; i++) {
		ret = qcow2_refcount_add(q, first + i, 1, err);
		if (ret < 0)
			qcow2_unalloc(q, from, i);
	}
	if (ret < 0)
		return ret;
	*zeroed = q->growable && from >= q->touched_end;
	if (to > q->touched_end)
		q->touched_end = to;
	return 0;
}

int qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got,
		bool *zeroed, struct tide_error *err)
{
	uint64_t first, count;
	int ret = find_free(q, q->free_hint, want, &first, &count, err);

	if (ret == 0)
		ret = take(q, first, count, zeroed, err);
	if (ret < 0)
		return ret;
	q->free_hint = first + count;
	*offset = first << q->cluster_bits;
	*got = count;
	return 0;
}

int qcow2_alloc_row(struct qcow2 *q, uint64_t count, uint64_t *offset,
		    bool *zeroed, struct tide_error *err)
{
	uint64_t at = q->free_hint, first, got;
	int ret;

	/* A row that crosses blocks gets an area with blocks of its own. */
	if (count > 1ull << (q->refblock_bits - 1))
		return qcow2_alloc_area(q, count, offset, zeroed, err);
	do {
		ret = find_free(q, at, count, &first, &got, err);
		at = first + got;
	} while (ret == 0 && got < count);
	if (ret == 0)
		ret = take(q, first, count, zeroed, err);
	if (ret < 0)
		return ret;
	if (first == q->free_hint)
		q->free_hint = first + count;
	*offset = first << q->cluster_bits;
	return 0;
}

/* Nothing more is packed into a cluster that may soon be somebody else's. */
static void leave_tail(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	uint64_t tail = q->packed_end ? q->packed_end - 1 : 0;

	if (tail >= offset && tail < offset + (clusters << q->cluster_bits))
		q->packed_end = 0;
}

void qcow2_unalloc(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	uint64_t first = offset >> q->cluster_bits;

	leave_tail(q, offset, clusters);

	/* What cannot be given back is a leak, which a check finds. */
	for (uint64_t i = 0; i < clusters; i++)
		if (qcow2_refcount_add(q, first + i, -1, NULL) < 0)
			return;
	if (first < q->free_hint)
		q->free_hint = first;
}

int qcow2_free_reserve(struct qcow2 *q, uint64_t items, struct tide_error *err)
{
	struct qcow2_free_list *list = &q->frees;
	uint64_t room = list->room ? list->room : 64;
	void *more;

	while (room < list->count + items)
		room *= 2;
	if (room == list->room)
		return 0;
	more = realloc(list->items, room * sizeof(*list->items));
	if (!more)
		return tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				      "no memory to remember freed clusters");
	list->items = more;
	list->room = room;
	return 0;
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t clusters,
		      uint32_t kind, bool punch)
{
	struct qcow2_free *last =
		q->frees.count ? &q->frees.items[q->frees.count - 1] : NULL;

	leave_tail(q, offset, clusters);
	if (last && last->kind == kind && last->punch == punch &&
	    last->offset + (last->clusters << q->cluster_bits) == offset) {
		last->clusters += clusters;
		return;
	}
	q->frees.items[q->frees.count++] = (struct qcow2_free){
		.offset = offset,
		.clusters = clusters,
		.kind = kind,
		.punch = punch,
	};
}
