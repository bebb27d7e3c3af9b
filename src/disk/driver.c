/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk driver supplied by the embedder (tidemark/disk_driver.h), adapted to
 * the internal one. Calls missing from the table are emulated by those it has.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/sized.h"
#include "disk/disk.h"
#include "disk/queue.h"
#include "tidemark/disk_driver.h"

#define FEW_PARTS 64u
#define PIECE_BYTES 65536u

struct custom {
	struct tide_disk disk;
	struct tide_disk_ops ops; /* ours, under the driver's name */
	struct tide_disk_calls calls;
	void *opaque;
};

static struct custom *custom_of(struct tide_disk *d)
{
	return (struct custom *)d;
}

static int cannot(const struct tide_disk *d, const char *what,
		  struct tide_error *err)
{
	return tide_error_set(err, -ENOTSUP, d->ops->name, TIDE_NO_OFFSET,
			      "%s: its driver cannot %s", d->path, what);
}

/* An array of just the slice's parts: @few, or *many, to be freed. */
static const struct iovec *parts_of(const struct tide_vec *v,
				    struct iovec few[FEW_PARTS],
				    struct iovec **many, uint32_t *count)
{
	*many = NULL;
	if (v->count <= FEW_PARTS) {
		*count = tide__vec_parts(v, few, FEW_PARTS);
		return few;
	}
	*many = malloc(v->count * sizeof(**many));
	if (*many)
		*count = tide__vec_parts(v, *many, v->count);
	return *many;
}

static int custom_readv(struct tide_disk *d, uint64_t offset_bytes,
			const struct tide_vec *to, struct tide_error *err)
{
	struct custom *f = custom_of(d);
	struct iovec few[FEW_PARTS], *many;
	uint32_t count;
	const struct iovec *parts = parts_of(to, few, &many, &count);
	int ret = parts ? f->calls.read(f->opaque, offset_bytes, parts, count,
					err)
			: tide_error_set(err, -ENOMEM, d->ops->name,
					 offset_bytes, "%s: no memory",
					 d->path);

	free(many);
	return ret;
}

static int custom_flush(struct tide_disk *d, struct tide_error *err)
{
	struct custom *f = custom_of(d);

	return f->calls.flush ? f->calls.flush(f->opaque, err) : 0;
}

static int custom_writev(struct tide_disk *d, uint64_t offset_bytes,
			 const struct tide_vec *from, uint32_t flags,
			 struct tide_error *err)
{
	struct custom *f = custom_of(d);
	bool flush = flags & TIDE_FUA && !f->calls.fua;
	struct iovec few[FEW_PARTS], *many;
	uint32_t count;
	const struct iovec *parts = parts_of(from, few, &many, &count);
	int ret = parts ? f->calls.write(f->opaque, offset_bytes, parts, count,
					 flush ? 0 : flags, err)
			: tide_error_set(err, -ENOMEM, d->ops->name,
					 offset_bytes, "%s: no memory",
					 d->path);

	free(many);
	return ret || !flush ? ret : custom_flush(d, err);
}

static int write_zeroes(struct tide_disk *d, uint64_t offset, uint64_t length,
			struct tide_error *err)
{
	static const char zeroes[PIECE_BYTES];
	int ret = 0;

	while (length && !ret) {
		uint64_t n = length < PIECE_BYTES ? length : PIECE_BYTES;

		ret = tide_disk_write(d, offset, zeroes, n, err);
		offset += n;
		length -= n;
	}
	return ret;
}

static int custom_zero(struct tide_disk *d, uint64_t offset_bytes,
		       uint64_t length_bytes, uint32_t flags,
		       struct tide_error *err)
{
	struct custom *f = custom_of(d);

	if (f->calls.zero)
		return f->calls.zero(f->opaque, offset_bytes, length_bytes,
				     flags, err);
	if (flags & TIDE_ZERO_NO_FALLBACK)
		return cannot(d, "zero", err);
	return write_zeroes(d, offset_bytes, length_bytes, err);
}

static int custom_discard(struct tide_disk *d, uint64_t offset_bytes,
			  uint64_t length_bytes, struct tide_error *err)
{
	struct custom *f = custom_of(d);

	return f->calls.discard ? f->calls.discard(f->opaque, offset_bytes,
						   length_bytes, err)
				: cannot(d, "discard", err);
}

static int custom_status(struct tide_disk *d, uint64_t offset_bytes,
			 uint64_t length_bytes,
			 struct tide_disk_extent *extent,
			 struct tide_error *err)
{
	struct custom *f = custom_of(d);

	if (f->calls.status)
		return f->calls.status(f->opaque, offset_bytes, length_bytes,
				       extent, err);
	*extent = (struct tide_disk_extent){ .length_bytes = length_bytes };
	return 0;
}

static int custom_resize(struct tide_disk *d, uint64_t size_bytes,
			 struct tide_error *err)
{
	struct custom *f = custom_of(d);
	int ret = f->calls.resize ? f->calls.resize(f->opaque, size_bytes, err)
				  : cannot(d, "change its size", err);

	if (!ret) /* Pairs with the acquire in tide_disk_size. */
		tide__store_release(&d->size_bytes, size_bytes);
	return ret;
}

static int custom_real_size(struct tide_disk *d, uint64_t *size_bytes,
			    struct tide_error *err)
{
	struct custom *f = custom_of(d);

	if (f->calls.real_size)
		return f->calls.real_size(f->opaque, size_bytes, err);
	return cannot(d, "tell its size: name the new one", err);
}

static int custom_close(struct tide_disk *d, struct tide_error *err)
{
	struct custom *f = custom_of(d);
	int ret = tide_disk_flush(d, err), closed = 0;

	if (f->calls.close)
		closed = f->calls.close(f->opaque, ret ? NULL : err);
	free(d->path);
	free(f);
	return ret ? ret : closed;
}

static bool custom_start(struct tide_disk *d, struct tide_io *io)
{
	struct custom *f = custom_of(d);

	if (!f->calls.start || (io->flags & TIDE_FUA && !f->calls.fua))
		return false;
	return f->calls.start(f->opaque, io);
}

static const struct tide_disk_ops custom_ops = {
	.readv = custom_readv,
	.writev = custom_writev,
	.zero = custom_zero,
	.discard = custom_discard,
	.flush = custom_flush,
	.status = custom_status,
	.resize = custom_resize,
	.real_size = custom_real_size,
	.close = custom_close,
	.start = custom_start,
	.fua = true,
};

static int refuse(struct tide_error *err, int code, const char *path,
		  const char *what)
{
	return tide_error_set(err, code, "disk", TIDE_NO_OFFSET, "%s: %s", path,
			      what);
}

int tide_disk_create(const struct tide_disk_calls *calls, void *opaque,
		     const char *path, uint64_t size_bytes, bool writable,
		     struct tide_disk **out, struct tide_error *err)
{
	struct custom *f = calloc(1, sizeof(*f));
	const char *fault = NULL;

	if (!f || !(f->disk.path = strdup(path))) {
		free(f);
		return refuse(err, -ENOMEM, path, "no memory for a disk");
	}
	if (!tide__sized_take(&f->calls, sizeof(f->calls), calls, calls->size))
		fault = "its driver makes calls of a later version";
	else if (!f->calls.name || !f->calls.read)
		fault = "its driver has no name, or cannot read";
	else if (writable && !f->calls.write)
		fault = "its driver cannot write";
	else if (size_bytes > INT64_MAX)
		fault = "no disk is as large as its driver says";
	if (fault) {
		free(f->disk.path);
		free(f);
		return refuse(err, -EINVAL, path, fault);
	}
	f->ops = custom_ops;
	f->ops.name = f->calls.name;
	f->opaque = opaque;
	f->disk.ops = &f->ops;
	f->disk.size_bytes = size_bytes;
	f->disk.alignment_bytes = 1;
	f->disk.writable = writable;
	f->disk.fixed_size = !f->calls.resize;
	*out = &f->disk;
	return 0;
}

const struct iovec *tide_io_parts(struct tide_io *io, uint32_t *count)
{
	struct tide_vec v = tide__io_vec(io);

	*count = v.count;
	return v.parts;
}
