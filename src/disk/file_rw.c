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
#include <sys/uio.h>
#include <unistd.h>

#include "disk/file.h"

#define PAGE_BYTES UINT64_C(4096)
#define BOUNCE_BYTES (UINT64_C(1) << 20)
#define PARTS 64u

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * All of it, or -errno; after the end of the file there are zeroes. O_DIRECT
 * cannot be asked again from the middle of a block, where only the end is: all
 * parts are whole blocks there.
 */
static int read_fully(const struct file *f, const struct tide_vec *to,
		      uint64_t offset)
{
	struct iovec parts[PARTS];
	uint64_t done = 0;

	while (done < to->length_bytes) {
		struct tide_vec rest = tide__vec_slice(to, done,
						       to->length_bytes - done);
		uint32_t n_parts = tide__vec_parts(&rest, parts, PARTS);
		ssize_t n = preadv(f->fd, parts, (int)n_parts,
				   (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n || (uint64_t)n % f->disk.alignment_bytes) {
			rest = tide__vec_slice(&rest, (uint64_t)n,
					       rest.length_bytes - (uint64_t)n);
			tide__vec_zero(&rest);
			return 0;
		}
		done += (uint64_t)n;
	}
	return 0;
}

/* 0, or -EOPNOTSUPP: nothing was written, the kernel does not know @rwf. */
static int write_parts(const struct file *f, const struct tide_vec *from,
		       uint64_t offset, int rwf)
{
	struct iovec parts[PARTS];
	uint64_t done = 0;

	while (done < from->length_bytes) {
		struct tide_vec rest = tide__vec_slice(
			from, done, from->length_bytes - done);
		uint32_t n_parts = tide__vec_parts(&rest, parts, PARTS);
		ssize_t n = pwritev2(f->fd, parts, (int)n_parts,
				     (off_t)(offset + done), rwf);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

static int write_fully(const struct file *f, const struct tide_vec *from,
		       uint64_t offset, uint32_t flags)
{
	int ret = write_parts(f, from, offset,
			      flags & TIDE_FUA ? RWF_DSYNC : 0);

	if (ret != -EOPNOTSUPP || !(flags & TIDE_FUA))
		return ret;
	ret = write_parts(f, from, offset, 0);
	return ret ? ret : file__sync(f);
}

bool file__is_aligned(const struct file *f, uint64_t offset_bytes,
		      const struct tide_vec *v)
{
	uint64_t bits = offset_bytes | v->length_bytes;
	struct tide_vec rest = *v;
	struct iovec part;

	while (rest.length_bytes && f->disk.alignment_bytes > 1) {
		tide__vec_parts(&rest, &part, 1);
		bits |= (uintptr_t)part.iov_base | part.iov_len;
		rest = tide__vec_slice(&rest, part.iov_len,
				       rest.length_bytes - part.iov_len);
	}
	return !(bits & (f->disk.alignment_bytes - 1));
}

static bool whole_blocks(const struct file *f, uint64_t offset, uint64_t length)
{
	return !((offset | length) & (f->disk.alignment_bytes - 1));
}

/* One piece of a request, and the blocks around it in @bounce. */
struct bounce {
	char *bytes;
	uint64_t offset, length; /* the piece */
	uint64_t start, end; /* in whole blocks */
};

static int read_blocks(const struct file *f, const struct bounce *b)
{
	struct iovec part = { b->bytes, b->end - b->start };
	struct tide_vec v = tide__vec_of(&part);

	return read_fully(f, &v, b->start);
}

static int read_piece(const struct file *f, const struct bounce *b,
		      const struct tide_vec *to)
{
	int ret = read_blocks(f, b);

	if (!ret)
		tide__vec_scatter(to, b->bytes + (b->offset - b->start));
	return ret;
}

static int write_piece(const struct file *f, const struct bounce *b,
		       const struct tide_vec *from, uint32_t flags)
{
	struct iovec part = { b->bytes, b->end - b->start };
	struct tide_vec v = tide__vec_of(&part);
	int ret = 0;

	if (!whole_blocks(f, b->offset, b->length))
		ret = read_blocks(f, b);
	if (ret)
		return ret;
	tide__vec_gather(from, b->bytes + (b->offset - b->start));
	return write_fully(f, &v, b->start, flags);
}

/* @out: written from @v, else read into it. */
static int bounce_all(const struct file *f, const struct tide_vec *v,
		      uint64_t offset, bool out, uint32_t flags)
{
	uint64_t align = f->disk.alignment_bytes, done = 0;
	uint64_t bytes = min(v->length_bytes, BOUNCE_BYTES) + 2 * align;
	struct bounce b = {
		.bytes = aligned_alloc(PAGE_BYTES, (bytes + PAGE_BYTES - 1) /
						   PAGE_BYTES * PAGE_BYTES),
	};
	int ret = b.bytes ? 0 : -ENOMEM;

	for (; done < v->length_bytes && !ret; done += b.length) {
		struct tide_vec piece;

		b.offset = offset + done;
		b.length = min(v->length_bytes - done,
			       BOUNCE_BYTES - (b.offset & (align - 1)));
		b.start = b.offset / align * align;
		b.end = (b.offset + b.length + align - 1) / align * align;
		piece = tide__vec_slice(v, done, b.length);
		ret = out ? write_piece(f, &b, &piece, flags)
			  : read_piece(f, &b, &piece);
	}
	free(b.bytes);
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

int file__readv(struct tide_disk *d, uint64_t offset_bytes,
		const struct tide_vec *to, struct tide_error *err)
{
	struct file *f = file_of(d);
	int ret;

	if (!f->direct || file__is_aligned(f, offset_bytes, to))
		ret = read_fully(f, to, offset_bytes);
	else
		ret = bounce_all(f, to, offset_bytes, false, 0);
	return ret ? file__fail(f, ret, "reading", offset_bytes, err) : 0;
}

static int write_direct(struct file *f, uint64_t offset,
			const struct tide_vec *from, uint32_t flags)
{
	bool whole = whole_blocks(f, offset, from->length_bytes);
	struct file_range range;
	int ret;

	file__blocks_enter(f, &range, offset, from->length_bytes, !whole);
	if (file__is_aligned(f, offset, from))
		ret = write_fully(f, from, offset, flags);
	else
		ret = bounce_all(f, from, offset, true, flags);
	if (!ret && !whole)
		ret = cut_end(f, offset + from->length_bytes);
	file__blocks_leave(f, &range);
	return ret;
}

int file__writev(struct tide_disk *d, uint64_t offset_bytes,
		 const struct tide_vec *from, uint32_t flags,
		 struct tide_error *err)
{
	struct file *f = file_of(d);
	int ret = f->direct ? write_direct(f, offset_bytes, from, flags)
			    : write_fully(f, from, offset_bytes, flags);

	return ret ? file__fail(f, ret, "writing", offset_bytes, err) : 0;
}
