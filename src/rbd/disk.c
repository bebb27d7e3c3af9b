/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disk driver for images of a Ceph cluster, by librbd.
 *
 * A request is begun on the queue's thread and completed on one of librbd's:
 * nobody waits. A completed write may still be in librbd's cache, as a write to
 * a file may: a flush makes it durable, and so forced unit access is a write
 * with a flush behind it.
 *
 * Who opens an image to write to it takes its exclusive lock, if it has that
 * feature, and keeps it: another client that wrote would do so behind the
 * tracker's back. Snapshots and resizes by others still work: librbd has the
 * owner of the lock carry them out.
 */
#include "rbd/disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rbd/cluster.h"
#include "tidemark/disk_driver.h"

struct ceph_disk {
	struct ceph_cluster cluster;
	rbd_image_t image;
	char *path;
	bool whole_objects; /* its map of objects says what is there */
	bool striped; /* over several objects, in whose order that is said */
};

/* What a request asks for, blocking or not. */
struct request {
	enum tide_io_op op;
	uint32_t flags, count;
	uint64_t offset_bytes, length_bytes;
	const struct iovec *parts;
};

static int failed(const struct ceph_disk *d, int ret, const char *doing,
		  struct tide_error *err)
{
	return ceph_failed(ret, d->path, doing, err);
}

/* Zeroes that keep their space are written. */
static bool would_write(const struct request *r)
{
	return r->op == TIDE_IO_ZERO && r->flags & TIDE_ZERO_NO_FALLBACK &&
	       !(r->flags & TIDE_ZERO_MAY_UNMAP);
}

static int begin(struct ceph_disk *d, const struct request *r,
		 rbd_completion_t c)
{
	const struct ceph_library *lib = d->cluster.lib;

	switch (r->op) {
	case TIDE_IO_READ:
		return lib->rbd_aio_readv(d->image, r->parts, (int)r->count,
					  r->offset_bytes, c);
	case TIDE_IO_WRITE:
		return lib->rbd_aio_writev(d->image, r->parts, (int)r->count,
					   r->offset_bytes, c);
	case TIDE_IO_ZERO:
		return lib->rbd_aio_write_zeroes(d->image, r->offset_bytes,
			r->length_bytes, c, r->flags & TIDE_ZERO_MAY_UNMAP ?
			0 : RBD_WRITE_ZEROES_FLAG_THICK_PROVISION, 0);
	case TIDE_IO_DISCARD:
		return lib->rbd_aio_discard(d->image, r->offset_bytes,
					    r->length_bytes, c);
	default:
		return lib->rbd_aio_flush(d->image, c);
	}
}

/* The result of what @c was for, which is released: 0 or a negative errno. */
static int end(const struct ceph_disk *d, rbd_completion_t c)
{
	ssize_t ret = d->cluster.lib->rbd_aio_get_return_value(c);

	d->cluster.lib->rbd_aio_release(c);
	return ret < 0 ? (int)ret : 0; /* a read's is how much it read */
}

/* --- calls that block ----------------------------------------------------- */

static int wait_for(struct ceph_disk *d, const struct request *r)
{
	const struct ceph_library *lib = d->cluster.lib;
	rbd_completion_t c;
	int ret = lib->rbd_aio_create_completion(NULL, NULL, &c);

	if (ret)
		return ret;
	ret = begin(d, r, c);
	if (ret < 0) {
		lib->rbd_aio_release(c);
		return ret;
	}
	lib->rbd_aio_wait_for_complete(c);
	return end(d, c);
}

static int ceph_flush(void *opaque, struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	int ret = wait_for(d, &(struct request){ .op = TIDE_IO_FLUSH });

	return ret ? failed(d, ret, "flushing", err) : 0;
}

static int ceph_read(void *opaque, uint64_t offset_bytes,
		     const struct iovec *parts, uint32_t count,
		     struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	int ret = wait_for(d, &(struct request){
		.op = TIDE_IO_READ, .offset_bytes = offset_bytes,
		.parts = parts, .count = count });

	return ret ? failed(d, ret, "reading", err) : 0;
}

static int ceph_write(void *opaque, uint64_t offset_bytes,
		      const struct iovec *parts, uint32_t count, uint32_t flags,
		      struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	int ret = wait_for(d, &(struct request){
		.op = TIDE_IO_WRITE, .offset_bytes = offset_bytes,
		.parts = parts, .count = count });

	if (ret)
		return failed(d, ret, "writing", err);
	return flags & TIDE_FUA ? ceph_flush(d, err) : 0;
}

static int ceph_zero(void *opaque, uint64_t offset_bytes, uint64_t length_bytes,
		     uint32_t flags, struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	struct request r = { .op = TIDE_IO_ZERO, .flags = flags,
			     .offset_bytes = offset_bytes,
			     .length_bytes = length_bytes };
	int ret = would_write(&r) ? -ENOTSUP : wait_for(d, &r);

	return ret ? failed(d, ret, "zeroing", err) : 0;
}

static int ceph_discard(void *opaque, uint64_t offset_bytes,
			uint64_t length_bytes, struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	int ret = wait_for(d, &(struct request){
		.op = TIDE_IO_DISCARD, .offset_bytes = offset_bytes,
		.length_bytes = length_bytes });

	return ret ? failed(d, ret, "discarding", err) : 0;
}

static int ceph_real_size(void *opaque, uint64_t *size_bytes,
			  struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	int ret = d->cluster.lib->rbd_get_size(d->image, size_bytes);

	return ret ? failed(d, ret, "asking for its size", err) : 0;
}

/* Also when another client has done it, and it only is to be noticed. */
static int ceph_resize(void *opaque, uint64_t size_bytes,
		       struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	uint64_t now;
	int ret = ceph_real_size(d, &now, err);

	if (ret || now == size_bytes)
		return ret;
	ret = d->cluster.lib->rbd_resize(d->image, size_bytes);
	return ret ? failed(d, ret, "changing its size", err) : 0;
}

/* --- what is there -------------------------------------------------------- */

#define ENOUGH (-9000) /* none of theirs: it ends the walk */

struct looking {
	uint64_t at, end; /* the extent, so far */
	bool data, met;
};

/* Called in order, for what is there, or has been discarded (!@exists). */
static int look(uint64_t offset, size_t length, int exists, void *opaque)
{
	struct looking *l = opaque;

	if (!exists)
		return 0;
	if (!l->met) {
		l->met = true;
		l->data = offset <= l->at;
		l->end = l->data ? offset + length : offset;
		return l->data ? 0 : ENOUGH;
	}
	if (offset > l->end)
		return ENOUGH;
	l->end = offset + length;
	return 0;
}

static int ceph_status(void *opaque, uint64_t offset_bytes,
		       uint64_t length_bytes, struct tide_disk_extent *extent,
		       struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	uint64_t limit = offset_bytes + length_bytes;
	struct looking l = { .at = offset_bytes, .end = limit };
	int ret;

	if (d->striped) {
		*extent = (struct tide_disk_extent){
			.length_bytes = length_bytes };
		return 0;
	}
	ret = d->cluster.lib->rbd_diff_iterate2(d->image, NULL, offset_bytes,
		length_bytes, true, d->whole_objects, look, &l);
	if (ret && ret != ENOUGH)
		return failed(d, ret, "asking what is there", err);
	*extent = (struct tide_disk_extent){
		.length_bytes = (l.end < limit ? l.end : limit) - offset_bytes,
		.flags = l.data ? 0 : TIDE_EXTENT_HOLE | TIDE_EXTENT_ZERO,
	};
	return 0;
}

/* --- requests of a queue -------------------------------------------------- */

static struct ceph_disk *disk_of(const struct tide_io *io)
{
	return (struct ceph_disk *)(uintptr_t)io->scratch[0];
}

static void on_durable(rbd_completion_t c, void *opaque)
{
	struct tide_io *io = opaque;

	tide_io_unpark(io, end(disk_of(io), c));
}

/* On a thread of librbd's. Forced unit access: a flush, and then it is done. */
static void on_done(rbd_completion_t c, void *opaque)
{
	static const struct request flush = { .op = TIDE_IO_FLUSH };
	struct tide_io *io = opaque;
	struct ceph_disk *d = disk_of(io);
	const struct ceph_library *lib = d->cluster.lib;
	int ret = end(d, c);

	if (ret || !(io->flags & TIDE_FUA)) {
		tide_io_unpark(io, ret);
		return;
	}
	ret = lib->rbd_aio_create_completion(io, on_durable, &c);
	if (!ret) {
		ret = begin(d, &flush, c);
		if (ret >= 0)
			return;
		lib->rbd_aio_release(c);
	}
	tide_io_unpark(io, ret);
}

static bool ceph_start(void *opaque, struct tide_io *io)
{
	struct ceph_disk *d = opaque;
	const struct ceph_library *lib = d->cluster.lib;
	struct request r = { .op = io->op, .flags = io->flags,
			     .offset_bytes = io->offset_bytes,
			     .length_bytes = io->length_bytes };
	rbd_completion_t c;
	int ret;

	if (would_write(&r) || lib->rbd_aio_create_completion(io, on_done, &c))
		return false;
	if (!tide_io_park(io)) {
		lib->rbd_aio_release(c);
		return false;
	}
	io->scratch[0] = (uintptr_t)d;
	if (io->op == TIDE_IO_READ || io->op == TIDE_IO_WRITE)
		r.parts = tide_io_parts(io, &r.count);
	ret = begin(d, &r, c);
	if (ret < 0) {
		lib->rbd_aio_release(c);
		tide_io_unpark(io, ret);
	}
	return true;
}

/* --- opening -------------------------------------------------------------- */

static int ceph_close(void *opaque, struct tide_error *err)
{
	struct ceph_disk *d = opaque;
	int ret = d->image ? d->cluster.lib->rbd_close(d->image) : 0;

	if (ret)
		failed(d, ret, "closing", err);
	ceph_cluster_close(&d->cluster);
	free(d->path);
	free(d);
	return ret;
}

static const struct tide_disk_calls calls = {
	.size = sizeof(calls),
	.name = "rbd",
	.read = ceph_read,
	.write = ceph_write,
	.flush = ceph_flush,
	.zero = ceph_zero,
	.discard = ceph_discard,
	.status = ceph_status,
	.resize = ceph_resize,
	.close = ceph_close,
	.start = ceph_start,
	.fua = true,
	.real_size = ceph_real_size,
};

/* Nobody else writes from here on, or it says who does not let us. */
static int keep_others_out(struct ceph_disk *d, uint64_t features,
			   struct tide_error *err)
{
	int ret;

	if (!(features & RBD_FEATURE_EXCLUSIVE_LOCK))
		return 0;
	ret = d->cluster.lib->rbd_lock_acquire(d->image,
					       RBD_LOCK_MODE_EXCLUSIVE);
	if (ret == -EROFS || ret == -EBUSY)
		return tide_error_set(err, -EBUSY, "rbd", TIDE_NO_OFFSET,
				      "%.120s: another client has it to itself",
				      d->path);
	return ret ? failed(d, ret, "taking its exclusive lock", err) : 0;
}

static int open_image(struct ceph_disk *d, const struct ceph_name *n,
		      const struct tide_disk_options *o, struct tide_error *err)
{
	const struct ceph_library *lib = d->cluster.lib;
	uint64_t features = 0, flags = 0, stripes = 0;
	int ret = o->writable ?
		lib->rbd_open(d->cluster.pool, n->image, &d->image, NULL) :
		lib->rbd_open_read_only(d->cluster.pool, n->image, &d->image,
					n->snap);

	if (ret) {
		d->image = NULL;
		return failed(d, ret, "opening", err);
	}
	ret = lib->rbd_get_features(d->image, &features);
	if (!ret)
		ret = lib->rbd_get_flags(d->image, &flags);
	if (!ret)
		ret = lib->rbd_get_stripe_count(d->image, &stripes);
	if (ret)
		return failed(d, ret, "asking what it can do", err);
	d->whole_objects = features & RBD_FEATURE_FAST_DIFF &&
			   !(flags & RBD_FLAG_FAST_DIFF_INVALID);
	d->striped = stripes != 1;
	return o->writable && !o->no_lock ? keep_others_out(d, features, err) :
					    0;
}

static int open_named(const char *path, const struct ceph_name *n,
		      const struct tide_disk_options *o, struct tide_disk **out,
		      struct tide_error *err)
{
	struct ceph_disk *d = calloc(1, sizeof(*d));
	uint64_t size_bytes = 0;
	int ret = 0;

	if (!d || !(d->path = strdup(path)))
		ret = ceph_failed(-ENOMEM, path, "opening", err);
	if (!ret)
		ret = ceph_cluster_open(&d->cluster, n, o->direct, err);
	if (!ret)
		ret = open_image(d, n, o, err);
	if (!ret)
		ret = ceph_real_size(d, &size_bytes, err);
	if (!ret)
		ret = tide_disk_create(&calls, d, path, size_bytes,
				       o->writable, out, err);
	if (ret && d)
		ceph_close(d, NULL);
	return ret;
}

int ceph_disk_open(const char *path, const struct tide_disk_options *options,
		   struct tide_disk **out, struct tide_error *err)
{
	struct ceph_name n;
	int ret = ceph_name_parse(path, &n, err);

	if (ret)
		return ret;
	ret = n.snap && options->writable ?
		tide_error_set(err, -EROFS, "rbd", TIDE_NO_OFFSET,
			       "%.120s: a snapshot can only be read", path) :
		open_named(path, &n, options, out, err);
	ceph_name_free(&n);
	return ret;
}
