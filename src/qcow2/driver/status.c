/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies where, through the backing chain: for map, and for base:allocation.
 */
#include <errno.h>

#include "qcow2/driver/qcow2.h"

/* An unallocated range is whatever the layer below says it is. */
static int status_below(struct qcow2 *q, uint64_t offset, uint64_t length,
			struct tide_disk_extent *extent, struct tide_error *err)
{
	uint64_t size = tide_disk_size(q->backing);
	int ret;

	if (length > size - offset)
		length = size - offset;
	ret = tide_disk_status(q->backing, offset, length, extent, err);
	if (ret == 0)
		extent->depth++;
	return ret;
}

int qcow2_status(struct tide_disk *d, uint64_t offset, uint64_t length_bytes,
		 struct tide_disk_extent *extent, struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct qcow2_extent e;
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = qcow2_lookup(q, offset, length_bytes, &e, err);
	pthread_mutex_unlock(&q->lock);
	if (ret < 0)
		return ret;
	*extent = (struct tide_disk_extent){ .length_bytes = e.length_bytes };
	if (e.has_host) {
		extent->flags |= TIDE_EXTENT_HAS_HOST;
		extent->host_offset_bytes = e.host_offset;
	}
	switch (e.type) {
	case QCOW2_DATA:
		break;
	case QCOW2_PACKED:
		extent->flags |= TIDE_EXTENT_COMPRESSED;
		break;
	case QCOW2_ZERO:
		extent->flags |= TIDE_EXTENT_ZERO;
		break;
	case QCOW2_UNALLOCATED:
		if (qcow2_backed(q, offset))
			return status_below(q, offset, e.length_bytes, extent,
					    err);
		extent->flags |= TIDE_EXTENT_HOLE | TIDE_EXTENT_ZERO;
		break;
	}
	return 0;
}
