/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading guest data: mapped, zero, compressed, or from the backing file. */
#include <errno.h>
#include <string.h>

#include "qcow2/driver/qcow2.h"

/* The backing file may be shorter: the rest is zeroes. */
static int read_backing(struct qcow2 *q, uint64_t offset, uint8_t *buf,
			uint64_t length, struct tide_error *err)
{
	uint64_t size = q->backing ? tide_disk_size(q->backing) : 0;
	uint64_t have = offset < size ? size - offset : 0;

	if (have > length)
		have = length;
	memset(buf + have, 0, length - have);
	return have ? tide_disk_read(q->backing, offset, buf, have, err) : 0;
}

/* A file may end inside its last cluster: what is missing is zeroes. */
static int read_host(struct qcow2 *q, uint64_t host, uint8_t *buf,
		     uint64_t length, struct tide_error *err)
{
	uint64_t size = tide_disk_size(q->data);
	uint64_t have = host < size ? size - host : 0;

	if (have > length)
		have = length;
	memset(buf + have, 0, length - have);
	return have ? tide_disk_read(q->data, host, buf, have, err) : 0;
}

static int read_packed(struct qcow2 *q, const struct qcow2_extent *e,
		       uint64_t offset, uint8_t *buf, struct tide_error *err)
{
	const uint8_t *cluster;
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = qcow2_unpack(q, e->entry, &cluster, err);
	if (ret == 0)
		memcpy(buf, cluster + (offset & (q->cluster_bytes - 1)),
		       e->length_bytes);
	pthread_mutex_unlock(&q->lock);
	return ret;
}

static int read_extent(struct qcow2 *q, const struct qcow2_extent *e,
		       uint64_t offset, uint8_t *buf, struct tide_error *err)
{
	switch (e->type) {
	case QCOW2_DATA:
		return read_host(q, e->host_offset, buf, e->length_bytes, err);
	case QCOW2_PACKED:
		return read_packed(q, e, offset, buf, err);
	case QCOW2_UNALLOCATED:
		if (q->backing)
			return read_backing(q, offset, buf, e->length_bytes,
					    err);
		break;
	case QCOW2_ZERO:
		break;
	}
	memset(buf, 0, e->length_bytes);
	return 0;
}

int qcow2_read_registered(struct qcow2 *q, uint64_t offset, void *buf,
			  uint64_t length_bytes, struct tide_error *err)
{
	struct qcow2_extent e;
	uint8_t *at = buf;
	int ret = 0;

	while (ret == 0 && length_bytes) {
		pthread_mutex_lock(&q->lock);
		ret = qcow2_lookup(q, offset, length_bytes, &e, err);
		pthread_mutex_unlock(&q->lock);
		if (ret == 0)
			ret = read_extent(q, &e, offset, at, err);
		if (ret < 0)
			break;
		offset += e.length_bytes;
		at += e.length_bytes;
		length_bytes -= e.length_bytes;
	}
	return ret;
}

int qcow2_read(struct tide_disk *d, uint64_t offset, void *buf,
	       uint64_t length_bytes, struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct qcow2_range range;
	int ret;

	pthread_mutex_lock(&q->lock);
	qcow2_range_begin(&q->ranges, &range,
			  round_down(offset, q->cluster_bytes),
			  round_up(offset + length_bytes, q->cluster_bytes),
			  false, &q->lock);
	pthread_mutex_unlock(&q->lock);
	ret = qcow2_read_registered(q, offset, buf, length_bytes, err);
	pthread_mutex_lock(&q->lock);
	qcow2_range_end(&q->ranges, &range);
	pthread_mutex_unlock(&q->lock);
	return ret;
}
