/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing compressed clusters: whole guest clusters, each one stream of the
 * image's compression type, stored byte after byte: the next one begins where
 * the last one ended, in the same host cluster while that has room, and over
 * into the next one if that follows it. A host cluster is counted once for
 * every stream that touches it.
 *
 * Compression needs no lock, so many threads may be in it; only the choice of
 * the place takes the image's. What does not become smaller by at least one
 * sector is written as it is. The end of the last stream (packed_end) is
 * forgotten as soon as its host cluster begins to be given back (alloc.c).
 */
#include "qcow2/driver/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "qcow2/driver/qcow2.h"

#define SECTOR_BYTES 512u

struct qcow2_packer {
	struct qcow2 *q;
	ZSTD_CCtx *zstd;
	z_stream z;
	bool has_z;
	uint8_t *out; /* a stream, at most one cluster */
	uint8_t *whole; /* a cluster that the disk's end cuts short */
};

static int no_memory(struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
			      "no memory to compress clusters");
}

static bool set_up(struct qcow2_packer *p, int level)
{
	if (p->q->header.compression == QCOW2_COMPRESSION_ZSTD) {
		p->zstd = ZSTD_createCCtx();
		return p->zstd && !ZSTD_isError(ZSTD_CCtx_setParameter(
			p->zstd, ZSTD_c_compressionLevel, level ? level : 1));
	}
	/* The format's window: 4 KiB, without a head. */
	p->has_z = deflateInit2(&p->z, level ? level : Z_DEFAULT_COMPRESSION,
				Z_DEFLATED, -12, 9,
				Z_DEFAULT_STRATEGY) == Z_OK;
	return p->has_z;
}

int qcow2_packer_create(struct tide_disk *d, int level,
			struct qcow2_packer **out, struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct qcow2_packer *p;

	if (d->ops != &tide__qcow2_ops || q->external)
		return tide_error_set(
			err, -ENOTSUP, "qcow2", TIDE_NO_OFFSET,
			"%s: only a qcow2 image that holds its own "
			"data has compressed clusters",
			d->path);
	p = calloc(1, sizeof(*p));
	if (!p)
		return no_memory(err);
	p->q = q;
	p->out = malloc(q->cluster_bytes);
	p->whole = malloc(q->cluster_bytes);
	if (!p->out || !p->whole || !set_up(p, level)) {
		qcow2_packer_destroy(p);
		return no_memory(err);
	}
	*out = p;
	return 0;
}

void qcow2_packer_destroy(struct qcow2_packer *p)
{
	if (!p)
		return;
	ZSTD_freeCCtx(p->zstd);
	if (p->has_z)
		deflateEnd(&p->z);
	free(p->out);
	free(p->whole);
	free(p);
}

/* The stream's length; 0: it would save nothing. */
static uint64_t compress_one(struct qcow2_packer *p, const uint8_t *cluster)
{
	uint64_t whole = p->q->cluster_bytes, max = whole - SECTOR_BYTES;
	size_t got;

	if (p->zstd) {
		got = ZSTD_compress2(p->zstd, p->out, max, cluster, whole);
		return ZSTD_isError(got) ? 0 : got;
	}
	deflateReset(&p->z);
	p->z.next_in = (Bytef *)cluster;
	p->z.avail_in = (uInt)whole;
	p->z.next_out = p->out;
	p->z.avail_out = (uInt)max;
	return deflate(&p->z, Z_FINISH) == Z_STREAM_END ?
		       max - p->z.avail_out : 0;
}

/* May the cluster of packed_end be counted once more? */
static bool tail_counts(struct qcow2 *q, uint64_t cluster)
{
	uint32_t order = q->header.refcount_order;
	uint64_t max = order == 6 ? UINT64_MAX : (1ull << (1u << order)) - 1;
	uint64_t count;

	return qcow2_refcount_get(q, cluster, &count, NULL) == 0 && count &&
	       count < max;
}

/*
 * A place for @length bytes, at most a cluster; lock held. The clusters that it
 * touches are counted for it.
 */
static int place(struct qcow2 *q, uint64_t length, uint64_t *offset,
		 struct tide_error *err)
{
	uint64_t end = q->packed_end, tail = (end - 1) >> q->cluster_bits;
	uint64_t room = end ? round_up(end, q->cluster_bytes) - end : 0;
	uint64_t fresh, got;
	bool zeroed;
	int ret;

	if (room && !tail_counts(q, tail))
		room = 0;
	if (room < length) {
		ret = qcow2_alloc(q, 1, &fresh, &got, &zeroed, err);
		if (ret < 0)
			return ret;
		if (!room || fresh != end + room) {
			*offset = fresh;
			q->packed_end = fresh + length;
			return 0;
		}
	}
	ret = qcow2_refcount_add(q, tail, 1, err);
	if (ret < 0) {
		if (room < length)
			qcow2_unalloc(q, fresh, 1);
		return ret;
	}
	*offset = end;
	q->packed_end = end + length;
	return 0;
}

/* The counts of a place that nothing refers to. */
static void displace(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t first = offset >> q->cluster_bits;
	uint64_t last = (offset + length - 1) >> q->cluster_bits;

	qcow2_unalloc(q, first << q->cluster_bits, last - first + 1);
}

/* Without the lock: the stream's bytes; a reader asks for whole sectors. */
static int fill(struct qcow2_packer *p, uint64_t offset, uint64_t length,
		struct tide_error *err)
{
	return tide_disk_write(p->q->file, offset, p->out, length, err);
}

/* The lock is held, the range is registered. */
static int write_packed(struct qcow2_packer *p, uint64_t guest,
			uint64_t length, struct tide_error *err)
{
	struct qcow2 *q = p->q;
	QCOW2_ENTRY(entry);
	uint64_t offset = 0, packed;
	int ret = qcow2_l2_writable(q, guest, &entry, err);

	if (ret == 0)
		ret = place(q, length, &offset, err);
	if (ret < 0)
		return ret;
	ret = qcow2_guard(q, offset, length, 0, "a compressed cluster", err);
	if (ret == 0) {
		pthread_mutex_unlock(&q->lock);
		ret = fill(p, offset, length, err);
		pthread_mutex_lock(&q->lock);
	}
	if (ret == 0)
		ret = qcow2_free_reserve(q, 2, err);
	if (ret < 0) {
		displace(q, offset, length);
		return ret;
	}
	qcow2_release_entry(q, tide__get_be(entry.at, 8), false);
	packed = qcow2_entry_pack(&q->header, offset, length);
	/* What is kept decompressed may be of a stream that was here before. */
	if (q->unpacked_entry == packed)
		q->unpacked_entry = 0;
	tide__put_be(entry.at, packed, 8);
	if (q->extended)
		tide__put_be(entry.at + 8, 0, 8);
	qcow2_pin_dirty(&q->cache, &entry.pin);
	return 0;
}

static int write_stream(struct qcow2_packer *p, uint64_t guest,
			uint64_t length, struct tide_error *err)
{
	struct qcow2 *q = p->q;
	struct qcow2_range range;
	int ret = qcow2_make_room(q, err);

	if (ret < 0)
		return ret;
	pthread_mutex_lock(&q->lock);
	ret = qcow2_may_write(q, err);
	if (ret == 0) {
		qcow2_range_begin(&q->ranges, &range, guest,
				  guest + q->cluster_bytes, true, &q->lock);
		ret = write_packed(p, guest, length, err);
		qcow2_range_end(&q->ranges, &range);
	}
	pthread_mutex_unlock(&q->lock);
	return ret;
}

int qcow2_packer_write(struct qcow2_packer *p, uint64_t offset,
		       const void *buf, uint64_t length_bytes,
		       uint64_t *stored_bytes, struct tide_error *err)
{
	struct qcow2 *q = p->q;
	uint64_t size = tide_disk_size(&q->disk), length;
	const uint8_t *cluster = buf;

	if (offset & (q->cluster_bytes - 1) || offset >= size ||
	    length_bytes != (size - offset < q->cluster_bytes ?
				     size - offset : q->cluster_bytes))
		return tide_error_set(err, -EINVAL, "qcow2", offset,
				      "%s: compressed are whole clusters only",
				      q->disk.path);
	if (length_bytes < q->cluster_bytes) {
		memcpy(p->whole, buf, length_bytes);
		memset(p->whole + length_bytes, 0,
		       q->cluster_bytes - length_bytes);
		cluster = p->whole;
	}
	length = compress_one(p, cluster);
	*stored_bytes = length ? length : length_bytes;
	return length ? write_stream(p, offset, length, err) :
			tide_disk_write(&q->disk, offset, buf, length_bytes,
					err);
}
