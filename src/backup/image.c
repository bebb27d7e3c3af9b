/* SPDX-License-Identifier: BSD-2-Clause */
#include "backup/image.h"

#include <errno.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "qcow2/driver/create.h"

static int make_packers(struct backup_image *i, int level,
			struct tide_error *err)
{
	int ret = 0;

	i->packers = calloc(i->jobs, sizeof(struct qcow2_packer *));
	if (!i->packers)
		return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				      "no memory for %u threads", i->jobs);
	for (uint32_t n = 0; n < i->jobs && !ret; n++)
		ret = qcow2_packer_create(i->disk, level, &i->packers[n], err);
	return ret;
}

int backup_image_create(struct backup_image *i, const char *path,
			uint64_t size_bytes, const struct backup_point *parent,
			const struct backup_compression *compression,
			uint32_t jobs, struct tide_error *err)
{
	struct qcow2_create_options o = {
		.size_bytes = size_bytes,
		.default_refcounts = true,
		.cluster_bits = CHUNK_SHIFT,
		.zstd = true,
		.backing_name = parent ? parent->image : NULL,
		.backing_format = parent ? "qcow2" : NULL,
	};
	struct tide_disk_options open = { .format = "qcow2",
					  .writable = true };
	int ret;

	*i = (struct backup_image){ .jobs = jobs, .stands = parent };
	ret = qcow2_create(path, &o, err);
	if (!ret)
		ret = tide_disk_open(path, &open, &i->disk, err);
	return ret || compression->none ?
		       ret : make_packers(i, compression->level, err);
}

int backup_image_zero(struct backup_image *i, uint64_t offset, uint64_t length,
		      struct tide_error *err)
{
	tide__add_relaxed(&i->zero_bytes, length);
	return i->stands ? tide_disk_zero(i->disk, offset, length,
					  TIDE_ZERO_MAY_UNMAP, err) : 0;
}

/* Data from chunk to chunk: @length bytes of @buf. */
static int put_data(struct backup_image *i, uint32_t worker, uint64_t offset,
		    const uint8_t *buf, uint64_t length,
		    struct tide_error *err)
{
	uint64_t stored = 0, sum = i->packers ? 0 : length;
	int ret = i->packers ? 0 : tide_disk_write(i->disk, offset, buf,
						   length, err);

	for (uint64_t at = 0; i->packers && at < length && !ret;
	     at += CHUNK_BYTES, sum += stored) {
		uint64_t left = length - at;

		ret = qcow2_packer_write(i->packers[worker], offset + at,
					 buf + at, left < CHUNK_BYTES ?
						 left : CHUNK_BYTES,
					 &stored, err);
	}
	if (ret)
		return ret;
	tide__add_relaxed(&i->data_bytes, length);
	tide__add_relaxed(&i->stored_bytes, sum);
	return 0;
}

int backup_image_put(struct backup_image *i, uint32_t worker,
		     const struct piece *p, const uint8_t *buf,
		     struct tide_error *err)
{
	int ret = 0;
	uint64_t n;

	/* What is stored plainly is written at once. */
	for (uint64_t at = 0; at < p->length_bytes && !ret; at += n) {
		bool zero;

		n = piece_run(p, at, &zero);
		ret = zero ? backup_image_zero(i, p->offset_bytes + at, n,
					       err) :
			     put_data(i, worker, p->offset_bytes + at,
				      buf + at, n, err);
	}
	return ret;
}

int backup_image_close(struct backup_image *i, int ret,
		       struct tide_error *err)
{
	int closed = 0;

	for (uint32_t n = 0; i->packers && n < i->jobs; n++)
		qcow2_packer_destroy(i->packers[n]);
	free(i->packers);
	if (i->disk)
		closed = tide_disk_close(i->disk, ret ? NULL : err);
	i->packers = NULL;
	i->disk = NULL;
	return ret ? ret : closed;
}

void backup_image_sums(const struct backup_image *i, struct backup_point *p)
{
	p->data_bytes = i->data_bytes;
	p->zero_bytes = i->zero_bytes;
	p->stored_bytes = i->stored_bytes;
}
