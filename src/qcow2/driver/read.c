/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading guest data: mapped, zero, compressed, or from the backing file. */
#include <errno.h>
#include <string.h>

#include "qcow2/driver/qcow2.h"

/*
 * From the file below, which may end inside its last cluster, or long before
 * the disk does if it is a backing file: what is missing is zeroes.
 */
static int read_below(struct tide_disk *below, uint64_t offset,
		      const struct tide_vec *to, struct tide_error *err)
{
	uint64_t size = tide_disk_size(below);
	uint64_t have = offset < size ? size - offset : 0;
	struct tide_vec part;

	if (have > to->length_bytes)
		have = to->length_bytes;
	part = tide__vec_slice(to, have, to->length_bytes - have);
	tide__vec_zero(&part);
	part = tide__vec_slice(to, 0, have);
	return have ? tide__disk_readv(below, offset, &part, err) : 0;
}

static int read_packed(struct qcow2 *q, const struct qcow2_extent *e,
		       uint64_t offset, const struct tide_vec *to,
		       struct tide_error *err)
{
	const uint8_t *cluster;
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = qcow2_unpack(q, e->entry, &cluster, err);
	if (ret == 0)
		tide__vec_scatter(to,
				  cluster + (offset & (q->cluster_bytes - 1)));
	pthread_mutex_unlock(&q->lock);
	return ret;
}

static int read_extent(struct qcow2 *q, const struct qcow2_extent *e,
		       uint64_t offset, const struct tide_vec *to,
		       struct tide_error *err)
{
	switch (e->type) {
	case QCOW2_DATA:
		return read_below(q->data, e->host_offset, to, err);
	case QCOW2_PACKED:
		return read_packed(q, e, offset, to, err);
	case QCOW2_UNALLOCATED:
		if (q->backing)
			return read_below(q->backing, offset, to, err);
		break;
	case QCOW2_ZERO:
		break;
	}
	tide__vec_zero(to);
	return 0;
}

static int read_all(struct qcow2 *q, uint64_t offset, const struct tide_vec *to,
		    struct tide_error *err)
{
	struct qcow2_extent e;
	uint64_t done = 0;
	int ret = 0;

	while (ret == 0 && done < to->length_bytes) {
		struct tide_vec part;

		pthread_mutex_lock(&q->lock);
		ret = qcow2_lookup(q, offset + done, to->length_bytes - done,
				   &e, err);
		pthread_mutex_unlock(&q->lock);
		if (ret < 0)
			break;
		part = tide__vec_slice(to, done, e.length_bytes);
		ret = read_extent(q, &e, offset + done, &part, err);
		done += e.length_bytes;
	}
	return ret;
}

int qcow2_read_registered(struct qcow2 *q, uint64_t offset, void *buf,
			  uint64_t length_bytes, struct tide_error *err)
{
	struct iovec part = { buf, length_bytes };
	struct tide_vec to = tide__vec_of(&part);

	return read_all(q, offset, &to, err);
}

int qcow2_readv(struct tide_disk *d, uint64_t offset, const struct tide_vec *to,
		struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct qcow2_range range;
	int ret;

	pthread_mutex_lock(&q->lock);
	qcow2_range_begin(&q->ranges, &range,
			  round_down(offset, q->cluster_bytes),
			  round_up(offset + to->length_bytes,
				   q->cluster_bytes),
			  false, &q->lock);
	pthread_mutex_unlock(&q->lock);
	ret = read_all(q, offset, to, err);
	pthread_mutex_lock(&q->lock);
	qcow2_range_end(&q->ranges, &range);
	pthread_mutex_unlock(&q->lock);
	return ret;
}
