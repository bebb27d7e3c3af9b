/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file driver: zeroes, holes, and where they are.
 *
 * Zeroes are made by fallocate: with leave to give the space back as a hole,
 * else as allocated zeroes; block devices know both and zero by themselves.
 * Where that is refused, zeroes are written. Devices want whole blocks: the
 * edges of a range are written there, and left as they are by a discard.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "base/atomic.h"
#include "disk/file.h"

#define PIECE_BYTES 65536u

static int allocate(struct file *f, int mode, uint64_t offset, uint64_t length)
{
	int ret;

	do
		ret = fallocate(f->fd, mode, (off_t)offset, (off_t)length);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/* 0, -ENOTSUP: not by fallocate, or -errno: it is broken. */
static int try_mode(struct file *f, bool *refused, int mode, uint64_t offset,
		    uint64_t length)
{
	int ret;

	/* A hint for later calls; nothing else depends on it. */
	if (tide__load_relaxed(refused))
		return -ENOTSUP;
	ret = allocate(f, mode | FALLOC_FL_KEEP_SIZE, offset, length);
	if (ret != -EOPNOTSUPP && ret != -ENOSYS && ret != -ENODEV)
		return ret == -EINVAL ? -ENOTSUP : ret;
	tide__store_relaxed(refused, true);
	return -ENOTSUP;
}

/* The whole blocks in [*offset, +*length); false if there are none. */
static bool shrink(const struct file *f, uint64_t *offset, uint64_t *length)
{
	uint64_t block = f->block_bytes;
	uint64_t start = (*offset + block - 1) / block * block;
	uint64_t end = (*offset + *length) / block * block;

	if (start >= end)
		return false;
	*offset = start;
	*length = end - start;
	return true;
}

static int write_zeroes(struct file *f, uint64_t offset, uint64_t length,
			struct tide_error *err)
{
	static const char zeroes[PIECE_BYTES] __attribute__((aligned(4096)));
	int ret = 0;

	while (length && !ret) {
		uint64_t n = PIECE_BYTES - offset % PIECE_BYTES;

		if (n > length)
			n = length;
		ret = tide_disk_write(&f->disk, offset, zeroes, n, err);
		offset += n;
		length -= n;
	}
	return ret;
}

static int zero_blocks(struct file *f, uint64_t offset, uint64_t length,
		       uint32_t flags)
{
	int ret = -ENOTSUP;

	if (flags & TIDE_ZERO_MAY_UNMAP)
		ret = try_mode(f, &f->no_punch, FALLOC_FL_PUNCH_HOLE, offset,
			       length);
	if (ret == -ENOTSUP)
		ret = try_mode(f, &f->no_zero_range, FALLOC_FL_ZERO_RANGE,
			       offset, length);
	return ret;
}

int file__zero(struct tide_disk *d, uint64_t offset_bytes,
	       uint64_t length_bytes, uint32_t flags, struct tide_error *err)
{
	struct file *f = file_of(d);
	uint64_t from = offset_bytes, length = length_bytes;
	int ret = shrink(f, &from, &length) ? zero_blocks(f, from, length,
							  flags)
					    : -ENOTSUP;

	if (ret == -ENOTSUP) {
		if (flags & TIDE_ZERO_NO_FALLBACK)
			return file__fail(f, ret, "zeroing", offset_bytes, err);
		return write_zeroes(f, offset_bytes, length_bytes, err);
	}
	if (ret)
		return file__fail(f, ret, "zeroing", offset_bytes, err);
	ret = write_zeroes(f, offset_bytes, from - offset_bytes, err);
	if (ret)
		return ret;
	return write_zeroes(f, from + length,
			    offset_bytes + length_bytes - (from + length), err);
}

int file__discard(struct tide_disk *d, uint64_t offset_bytes,
		  uint64_t length_bytes, struct tide_error *err)
{
	struct file *f = file_of(d);
	int ret = 0;

	if (shrink(f, &offset_bytes, &length_bytes))
		ret = try_mode(f, &f->no_punch, FALLOC_FL_PUNCH_HOLE,
			       offset_bytes, length_bytes);
	if (!ret || ret == -ENOTSUP)
		return 0;
	return file__fail(f, ret, "discarding", offset_bytes, err);
}

int file__status(struct tide_disk *d, uint64_t offset_bytes,
		 uint64_t length_bytes, struct tide_disk_extent *extent,
		 struct tide_error *err)
{
	struct file *f = file_of(d);
	off_t at = (off_t)offset_bytes, next = -1;
	bool hole = false;

	(void)err;
	if (!f->device) {
		next = lseek(f->fd, at, SEEK_DATA);
		hole = next > at || (next < 0 && errno == ENXIO);
		if (next == at)
			next = lseek(f->fd, at, SEEK_HOLE);
	}
	if (next > at && (uint64_t)(next - at) < length_bytes)
		length_bytes = (uint64_t)(next - at);
	*extent = (struct tide_disk_extent){
		.length_bytes = length_bytes,
		.host_offset_bytes = offset_bytes,
		.flags = TIDE_EXTENT_HAS_HOST |
			 (hole ? TIDE_EXTENT_HOLE | TIDE_EXTENT_ZERO : 0),
	};
	return 0;
}
