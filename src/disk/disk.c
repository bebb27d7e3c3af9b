/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Code common to all disks: requests are validated here, once, so that a driver
 * sees only non-empty ranges inside its disk, and writes only if the disk is
 * writable. image/open.c chooses the driver for a path.
 */
#include "disk/disk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/atomic.h"
#include "base/sized.h"
#include "disk/disk_internal.h"

#define JOINED_BYTES (UINT64_C(1) << 20)

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int no_memory(const struct tide_disk *d, uint64_t offset_bytes,
		     struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, d->ops->name, offset_bytes,
			      "%s: no memory to join the parts of a request",
			      d->path);
}

int tide__disk_options_take(struct tide_disk_options *own, const char *path,
			    const struct tide_disk_options *theirs,
			    struct tide_error *err)
{
	size_t size;

	*own = (struct tide_disk_options){ 0 };
	if (!theirs)
		return 0;
	size = theirs->size ? theirs->size : sizeof(*own);
	if (!tide__sized_take(own, sizeof(*own), theirs, size))
		return tide_error_set(err, -EINVAL, "disk", TIDE_NO_OFFSET,
				      "%s: options of a later version", path);
	own->size = sizeof(*own);
	return 0;
}

uint64_t tide_disk_size(const struct tide_disk *d)
{
	/* Pairs with the driver's release in resize. */
	return tide__load_acquire(&d->size_bytes);
}

int tide__disk_check_range(const struct tide_disk *d, uint64_t offset_bytes,
			   uint64_t length_bytes, struct tide_error *err)
{
	uint64_t size = tide_disk_size(d);

	if (offset_bytes <= size && length_bytes <= size - offset_bytes)
		return 0;
	return tide_error_set(err, -EINVAL, d->ops->name, offset_bytes,
			      "%s: %" PRIu64 " bytes at %" PRIu64
			      " reach over the disk's end at %" PRIu64,
			      d->path, length_bytes, offset_bytes, size);
}

int tide__disk_check_change(const struct tide_disk *d, uint64_t offset_bytes,
			    uint64_t length_bytes, struct tide_error *err)
{
	if (!d->writable)
		return tide_error_set(err, -EROFS, d->ops->name, offset_bytes,
				      "%s is open for reading only", d->path);
	return tide__disk_check_range(d, offset_bytes, length_bytes, err);
}

/* --- reading and writing ---------------------------------------------- */

/* For a driver that takes memory in one piece only. */
static int read_joined(struct tide_disk *d, uint64_t offset_bytes,
		       const struct tide_vec *to, struct tide_error *err)
{
	char *joined = malloc(min(to->length_bytes, JOINED_BYTES));
	uint64_t step;
	int ret = joined ? 0 : no_memory(d, offset_bytes, err);

	for (uint64_t at = 0; !ret && at < to->length_bytes; at += step) {
		struct tide_vec piece;

		step = min(to->length_bytes - at, JOINED_BYTES);
		piece = tide__vec_slice(to, at, step);
		ret = d->ops->read(d, offset_bytes + at, joined, step, err);
		if (!ret)
			tide__vec_scatter(&piece, joined);
	}
	free(joined);
	return ret;
}

static int write_joined(struct tide_disk *d, uint64_t offset_bytes,
			const struct tide_vec *from, struct tide_error *err)
{
	char *joined = malloc(min(from->length_bytes, JOINED_BYTES));
	uint64_t step;
	int ret = joined ? 0 : no_memory(d, offset_bytes, err);

	for (uint64_t at = 0; !ret && at < from->length_bytes; at += step) {
		struct tide_vec piece;

		step = min(from->length_bytes - at, JOINED_BYTES);
		piece = tide__vec_slice(from, at, step);
		tide__vec_gather(&piece, joined);
		ret = d->ops->write(d, offset_bytes + at, joined, step, err);
	}
	free(joined);
	return ret;
}

int tide__disk_run_read(struct tide_disk *d, uint64_t offset_bytes,
			const struct tide_vec *to, struct tide_error *err)
{
	void *whole;

	if (d->ops->readv)
		return d->ops->readv(d, offset_bytes, to, err);
	whole = tide__vec_whole(to);
	return whole ? d->ops->read(d, offset_bytes, whole, to->length_bytes,
				    err)
		     : read_joined(d, offset_bytes, to, err);
}

int tide__disk_run_write(struct tide_disk *d, uint64_t offset_bytes,
			 const struct tide_vec *from, uint32_t flags,
			 struct tide_error *err)
{
	void *whole;
	int ret;

	if (d->ops->writev)
		return d->ops->writev(d, offset_bytes, from, flags, err);
	whole = tide__vec_whole(from);
	ret = whole ? d->ops->write(d, offset_bytes, whole, from->length_bytes,
				    err)
		    : write_joined(d, offset_bytes, from, err);
	return ret || !(flags & TIDE_FUA) ? ret : d->ops->flush(d, err);
}

int tide__disk_readv(struct tide_disk *d, uint64_t offset_bytes,
		     const struct tide_vec *to, struct tide_error *err)
{
	int ret = tide__disk_check_range(d, offset_bytes, to->length_bytes,
					 err);

	if (ret || !to->length_bytes)
		return ret;
	return tide__disk_run_read(d, offset_bytes, to, err);
}

int tide__disk_writev(struct tide_disk *d, uint64_t offset_bytes,
		      const struct tide_vec *from, uint32_t flags,
		      struct tide_error *err)
{
	int ret = tide__disk_check_change(d, offset_bytes, from->length_bytes,
					  err);

	if (ret || !from->length_bytes)
		return ret;
	return tide__disk_run_write(d, offset_bytes, from, flags, err);
}

int tide_disk_readv(struct tide_disk *d, uint64_t offset_bytes,
		    const struct iovec *parts, uint32_t count,
		    struct tide_error *err)
{
	struct tide_vec v = { parts, count, 0, tide__vec_sum(parts, count) };

	return tide__disk_readv(d, offset_bytes, &v, err);
}

int tide_disk_writev(struct tide_disk *d, uint64_t offset_bytes,
		     const struct iovec *parts, uint32_t count, uint32_t flags,
		     struct tide_error *err)
{
	struct tide_vec v = { parts, count, 0, tide__vec_sum(parts, count) };

	return tide__disk_writev(d, offset_bytes, &v, flags, err);
}

int tide_disk_read(struct tide_disk *d, uint64_t offset_bytes, void *buf,
		   uint64_t length_bytes, struct tide_error *err)
{
	struct iovec part = { buf, length_bytes };

	return tide_disk_readv(d, offset_bytes, &part, 1, err);
}

int tide_disk_write(struct tide_disk *d, uint64_t offset_bytes,
		    const void *buf, uint64_t length_bytes,
		    struct tide_error *err)
{
	struct iovec part = { (void *)buf, length_bytes };

	return tide_disk_writev(d, offset_bytes, &part, 1, 0, err);
}

/* --- the rest ----------------------------------------------------------- */

int tide_disk_zero(struct tide_disk *d, uint64_t offset_bytes,
		   uint64_t length_bytes, uint32_t flags,
		   struct tide_error *err)
{
	int ret = tide__disk_check_change(d, offset_bytes, length_bytes, err);

	if (ret || !length_bytes)
		return ret;
	ret = d->ops->zero(d, offset_bytes, length_bytes,
			   flags & ~(uint32_t)TIDE_FUA, err);
	return ret || !(flags & TIDE_FUA) ? ret : d->ops->flush(d, err);
}

int tide_disk_discard(struct tide_disk *d, uint64_t offset_bytes,
		      uint64_t length_bytes, struct tide_error *err)
{
	int ret = tide__disk_check_change(d, offset_bytes, length_bytes, err);

	if (ret || !length_bytes)
		return ret;
	return d->ops->discard(d, offset_bytes, length_bytes, err);
}

int tide_disk_flush(struct tide_disk *d, struct tide_error *err)
{
	return d->writable ? d->ops->flush(d, err) : 0;
}

int tide_disk_status(struct tide_disk *d, uint64_t offset_bytes,
		     uint64_t length_bytes, struct tide_disk_extent *extent,
		     struct tide_error *err)
{
	int ret = tide__disk_check_range(d, offset_bytes, length_bytes, err);

	if (ret)
		return ret;
	if (!length_bytes)
		return tide_error_set(err, -EINVAL, d->ops->name, offset_bytes,
				      "%s: status of no bytes", d->path);
	return d->ops->status(d, offset_bytes, length_bytes, extent, err);
}

int tide_disk_resize(struct tide_disk *d, uint64_t size_bytes,
		     struct tide_error *err)
{
	int ret = tide__disk_check_change(d, 0, 0, err);

	if (ret)
		return ret;
	if (size_bytes > INT64_MAX)
		return tide_error_set(err, -EFBIG, d->ops->name, size_bytes,
				      "%s: no disk has %" PRIu64 " bytes",
				      d->path, size_bytes);
	return d->ops->resize(d, size_bytes, err);
}

int tide__disk_reader_fd(struct tide_disk *d)
{
	return d->ops->reader_fd ? d->ops->reader_fd(d) : -ENOTSUP;
}

int tide_disk_real_size(struct tide_disk *d, uint64_t *size_bytes,
			struct tide_error *err)
{
	if (d->ops->real_size)
		return d->ops->real_size(d, size_bytes, err);
	return tide_error_set(err, -ENOTSUP, d->ops->name, TIDE_NO_OFFSET,
			      "%s: an image of this format knows its size by "
			      "itself: name the new one", d->path);
}

int tide_disk_notice(struct tide_disk *d, struct tide_error *err)
{
	uint64_t size_bytes;
	int ret = tide_disk_real_size(d, &size_bytes, err);

	if (ret || size_bytes == tide_disk_size(d))
		return ret;
	/* Not tide_disk_resize: nothing is changed that is not already. */
	return d->ops->resize(d, size_bytes, err);
}

int tide_disk_close(struct tide_disk *d, struct tide_error *err)
{
	return d ? d->ops->close(d, err) : 0;
}
