/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reference counts of host clusters: one number of 1 to 64 bits a cluster, in
 * refcount blocks, found through the refcount table. A missing block means
 * zero for all that it would count.
 */
#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"
#include "qcow2/format/counts.h"

#include <errno.h>

static uint64_t counts_of_page(const struct qcow2 *q)
{
	return (uint64_t)q->cache.page_bytes * 8 >> q->header.refcount_order;
}

/*
 * Where in the file @cluster is counted, 0 where no block does; and which count
 * of its page of metadata that is.
 */
static int locate(struct qcow2 *q, uint64_t cluster, uint64_t *at,
		  uint64_t *index, struct tide_error *err)
{
	uint32_t order = q->header.refcount_order;
	uint64_t block = cluster >> q->refblock_bits;
	uint64_t in_block = cluster & ((1ull << q->refblock_bits) - 1);
	uint64_t offset;

	*at = 0;
	if (block >= q->reftable.count)
		return 0;
	offset = q->reftable.entries[block] & QCOW2_OFFSET_MASK;
	if (!offset)
		return 0;
	if (offset & (q->cluster_bytes - 1))
		return qcow2_mark_corrupt(q, err, offset,
					  "refcount table entry %llu is not "
					  "aligned to a cluster",
					  (unsigned long long)block);
	*at = offset + (in_block << order) / 8;
	*index = in_block & (counts_of_page(q) - 1);
	return 0;
}

/* The page that counts @cluster, in hand; none when no block does. */
static int find_page(struct qcow2 *q, uint64_t cluster, struct qcow2_pin *pin,
		     uint8_t **counts, uint64_t *index, struct tide_error *err)
{
	uint64_t at;
	int ret = locate(q, cluster, &at, index, err);

	*counts = NULL;
	if (ret == 0 && at)
		ret = qcow2_pin_get(q, at, TIDE_KIND_REFCOUNT_BLOCK, pin, err);
	if (ret == 0 && at)
		*counts = qcow2_pin_at(pin,
				       round_down(at, q->cache.page_bytes));
	return ret;
}

bool qcow2_refcounts_cached(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	uint64_t at, index;

	return locate(q, cluster, &at, &index, NULL) == 0 && at &&
	       index + count <= counts_of_page(q) &&
	       qcow2_page_cached(&q->cache, at);
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count,
		       struct tide_error *err)
{
	QCOW2_PIN(pin);
	uint64_t index = 0;
	uint8_t *counts;
	int ret = find_page(q, cluster, &pin, &counts, &index, err);

	if (ret == 0)
		*count = counts ? qcow2_count_get(counts, index,
						  q->header.refcount_order) :
				  0;
	return ret;
}

int qcow2_refcount_add(struct qcow2 *q, uint64_t cluster, int delta,
		       struct tide_error *err)
{
	uint32_t order = q->header.refcount_order;
	uint64_t max = qcow2_count_max(order);
	QCOW2_PIN(pin);
	uint64_t index = 0, count;
	uint8_t *counts;
	int ret = find_page(q, cluster, &pin, &counts, &index, err);

	if (ret < 0)
		return ret;
	count = counts ? qcow2_count_get(counts, index, order) : 0;
	if (!counts || (delta < 0 && count == 0) ||
	    (delta > 0 && count == max))
		return qcow2_mark_corrupt(
			q, err, cluster << q->cluster_bits,
			"the refcount of the cluster at offset %llu is %llu "
			"and cannot be changed by %d",
			(unsigned long long)(cluster << q->cluster_bits),
			(unsigned long long)count, delta);
	qcow2_count_set(counts, index, order,
			count + (uint64_t)(int64_t)delta);
	qcow2_pin_dirty(&q->cache, &pin);
	return 0;
}
