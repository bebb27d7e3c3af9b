/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compressed clusters: raw deflate (with a window of 4 KiB as the format says,
 * though any window is accepted) or one zstd frame. The stored length is only
 * known to the sector, so the stream is followed by bytes that are not its
 * own. The last cluster is kept: a guest reads 4 KiB after 4 KiB.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "qcow2/driver/qcow2.h"

static int inflate_raw(const uint8_t *in, uint64_t in_bytes, uint8_t *out,
		       uint64_t out_bytes)
{
	z_stream z = { .next_in = (Bytef *)in,
		       .avail_in = (uInt)in_bytes,
		       .next_out = out,
		       .avail_out = (uInt)out_bytes };
	int ret;

	if (inflateInit2(&z, -15) != Z_OK)
		return -ENOMEM;
	ret = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* Z_BUF_ERROR with a full buffer: trailing bytes, or an end missing. */
	if (z.avail_out == 0 && (ret == Z_STREAM_END || ret == Z_BUF_ERROR))
		return 0;
	return ret == Z_MEM_ERROR ? -ENOMEM : -EIO;
}

static int unzstd(const uint8_t *in, uint64_t in_bytes, uint8_t *out,
		  uint64_t out_bytes)
{
	ZSTD_inBuffer from = { in, in_bytes, 0 };
	ZSTD_outBuffer to = { out, out_bytes, 0 };
	ZSTD_DStream *stream = ZSTD_createDStream();
	size_t ret = 1;

	if (!stream)
		return -ENOMEM;
	while (to.pos < to.size && ret != 0) {
		size_t had = to.pos, ate = from.pos;

		ret = ZSTD_decompressStream(stream, &to, &from);
		if (ZSTD_isError(ret) || (to.pos == had && from.pos == ate))
			break;
	}
	ZSTD_freeDStream(stream);
	return to.pos == to.size ? 0 : -EIO;
}

static int load(struct qcow2 *q, uint64_t offset, uint64_t length,
		uint8_t **bytes, struct tide_error *err)
{
	uint64_t size = tide_disk_size(q->file);
	uint64_t have = offset < size ? size - offset : 0;
	int ret;

	*bytes = calloc(1, length);
	if (!*bytes)
		return tide_error_set(err, -ENOMEM, "qcow2", offset,
				      "no memory to decompress a cluster");
	ret = tide_disk_read(q->file, offset, *bytes,
			     have < length ? have : length, err);
	if (ret < 0)
		free(*bytes);
	return ret;
}

int qcow2_unpack(struct qcow2 *q, uint64_t entry, const uint8_t **cluster,
		 struct tide_error *err)
{
	uint64_t offset, length;
	uint8_t *packed;
	int ret;

	if (q->unpacked && q->unpacked_entry == entry) {
		*cluster = q->unpacked;
		return 0;
	}
	if (qcow2_packed_span(q, entry, &offset, &length) < 0)
		return tide_error_set(err, -EIO, "qcow2", TIDE_NO_OFFSET,
				      "%s: compressed entry %#llx lies past "
				      "2^56", q->disk.path,
				      (unsigned long long)entry);
	if (!q->unpacked)
		q->unpacked = malloc(q->cluster_bytes);
	if (!q->unpacked)
		return tide_error_set(err, -ENOMEM, "qcow2", offset,
				      "no memory to decompress a cluster");
	ret = load(q, offset, length, &packed, err);
	if (ret < 0)
		return ret;
	q->unpacked_entry = 0;
	ret = q->header.compression == QCOW2_COMPRESSION_ZSTD ?
		      unzstd(packed, length, q->unpacked, q->cluster_bytes) :
		      inflate_raw(packed, length, q->unpacked,
				  q->cluster_bytes);
	free(packed);
	if (ret < 0)
		return tide_error_set(err, ret, "qcow2", offset,
				      "%s: the compressed cluster at offset "
				      "%llu cannot be decompressed",
				      q->disk.path, (unsigned long long)offset);
	q->unpacked_entry = entry;
	*cluster = q->unpacked;
	return 0;
}
