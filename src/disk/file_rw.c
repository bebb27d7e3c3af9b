/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file driver: reading and writing.
 *
 * A read that meets the end of the file gives zeroes for the rest: the file
 * may be shorter than the disk by a piece of a block.
 *
 * O_DIRECT wants offset, length and memory in whole blocks. What is not goes
 * through an aligned buffer in bounded pieces. A write of a part of a block
 * reads the block first; file_blocks.c keeps others out of it meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/file.h"

#define PAGE_BYTES UINT64_C(4096)
#define BOUNCE_BYTES (UINT64_C(1) << 20)
#define MOST_AT_ONCE (UINT64_C(1) << 30)

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * All of it, or -errno; after the end of the file there are zeroes. O_DIRECT
 * cannot be asked again from the middle of a block, where only the end is.
 */
static int read_fully(const struct file *f, char *buf, uint64_t length,
		      uint64_t offset)
{
	while (length) {
		ssize_t n = pread(f->fd, buf, smaller(length, MOST_AT_ONCE),
				  (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		length -= (uint64_t)n;
		offset += (uint64_t)n;
		if (!n || (uint64_t)n % f->disk.alignment_bytes) {
			memset(buf, 0, length);
			return 0;
		}
	}
	return 0;
}

static int write_fully(int fd, const char *buf, uint64_t length,
		       uint64_t offset)
{
	while (length) {
		ssize_t n = pwrite(fd, buf, smaller(length, MOST_AT_ONCE),
				   (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buf += n;
		length -= (uint64_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

bool file__is_aligned(const struct file *f, uint64_t offset_bytes,
		      const void *buf, uint64_t length_bytes)
{
	uint64_t mask = f->disk.alignment_bytes - 1;

	return !((offset_bytes | length_bytes | (uintptr_t)buf) & mask);
}

/* One piece through @bounce: the blocks around [offset, +length). */
static int bounce_piece(struct file *f, char *bounce, char *in,
			const char *out, uint64_t offset, uint64_t length)
{
	uint64_t align = f->disk.alignment_bytes;
	uint64_t start = offset / align * align;
	uint64_t end = (offset + length + align - 1) / align * align;
	bool whole = start == offset && end == offset + length;
	int ret = 0;

	if (in || !whole)
		ret = read_fully(f, bounce, end - start, start);
	if (ret)
		return ret;
	if (in) {
		memcpy(in, bounce + (offset - start), length);
		return 0;
	}
	memcpy(bounce + (offset - start), out, length);
	return write_fully(f->fd, bounce, end - start, start);
}

/* Exactly one of @in and @out is not NULL. */
static int bounce_all(struct file *f, char *in, const char *out,
		      uint64_t offset, uint64_t length)
{
	uint64_t align = f->disk.alignment_bytes;
	uint64_t bytes = smaller(length, BOUNCE_BYTES) + 2 * align;
	char *bounce = aligned_alloc(PAGE_BYTES, (bytes + PAGE_BYTES - 1) /
						 PAGE_BYTES * PAGE_BYTES);
	int ret = bounce ? 0 : -ENOMEM;

	while (length && !ret) {
		uint64_t n = smaller(length,
				     BOUNCE_BYTES - (offset & (align - 1)));

		ret = bounce_piece(f, bounce, in, out, offset, n);
		if (in)
			in += n;
		else
			out += n;
		offset += n;
		length -= n;
	}
	free(bounce);
	return ret;
}

/* Whole blocks were written where the disk ends within one: cut the rest. */
static int cut_end(struct file *f, uint64_t end)
{
	uint64_t align = f->disk.alignment_bytes;
	int ret = 0;

	pthread_mutex_lock(&f->resize_lock);
	if ((end + align - 1) / align * align > tide_disk_size(&f->disk) &&
	    !f->device && ftruncate(f->fd, (off_t)f->disk.size_bytes) < 0)
		ret = -errno;
	pthread_mutex_unlock(&f->resize_lock);
	return ret;
}

int file__read(struct tide_disk *d, uint64_t offset_bytes, void *buf,
	       uint64_t length_bytes, struct tide_error *err)
{
	struct file *f = file_of(d);
	int ret;

	if (file__is_aligned(f, offset_bytes, buf, length_bytes))
		ret = read_fully(f, buf, length_bytes, offset_bytes);
	else
		ret = bounce_all(f, buf, NULL, offset_bytes, length_bytes);
	return ret ? file__fail(f, ret, "reading", offset_bytes, err) : 0;
}

int file__write(struct tide_disk *d, uint64_t offset_bytes, const void *buf,
		uint64_t length_bytes, struct tide_error *err)
{
	struct file *f = file_of(d);
	struct file_range range;
	bool whole;
	int ret;

	if (!f->direct) {
		ret = write_fully(f->fd, buf, length_bytes, offset_bytes);
		return ret ? file__fail(f, ret, "writing", offset_bytes, err)
			   : 0;
	}
	whole = file__is_aligned(f, offset_bytes, NULL, length_bytes);
	file__blocks_enter(f, &range, offset_bytes, length_bytes, !whole);
	if (file__is_aligned(f, offset_bytes, buf, length_bytes))
		ret = write_fully(f->fd, buf, length_bytes, offset_bytes);
	else
		ret = bounce_all(f, NULL, buf, offset_bytes, length_bytes);
	if (!ret && !whole)
		ret = cut_end(f, offset_bytes + length_bytes);
	file__blocks_leave(f, &range);
	return ret ? file__fail(f, ret, "writing", offset_bytes, err) : 0;
}
