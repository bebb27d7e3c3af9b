/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all disks have in common: requests are checked here, once, so that a
 * driver only ever sees non-empty ranges inside its disk, and writes only on
 * a disk that was opened for them. Which driver opens a path is chosen above
 * them all: image/open.c.
 */
#include "disk/disk.h"

#include <errno.h>
#include <inttypes.h>

#include "base/atomic.h"
#include "disk/disk_internal.h"

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

int tide_disk_read(struct tide_disk *d, uint64_t offset_bytes, void *buf,
		   uint64_t length_bytes, struct tide_error *err)
{
	int ret = tide__disk_check_range(d, offset_bytes, length_bytes, err);

	if (ret || !length_bytes)
		return ret;
	return d->ops->read(d, offset_bytes, buf, length_bytes, err);
}

int tide_disk_write(struct tide_disk *d, uint64_t offset_bytes,
		    const void *buf, uint64_t length_bytes,
		    struct tide_error *err)
{
	int ret = tide__disk_check_change(d, offset_bytes, length_bytes, err);

	if (ret || !length_bytes)
		return ret;
	return d->ops->write(d, offset_bytes, buf, length_bytes, err);
}

int tide_disk_zero(struct tide_disk *d, uint64_t offset_bytes,
		   uint64_t length_bytes, uint32_t flags,
		   struct tide_error *err)
{
	int ret = tide__disk_check_change(d, offset_bytes, length_bytes, err);

	if (ret || !length_bytes)
		return ret;
	return d->ops->zero(d, offset_bytes, length_bytes, flags, err);
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

int tide_disk_close(struct tide_disk *d, struct tide_error *err)
{
	return d ? d->ops->close(d, err) : 0;
}
