/* SPDX-License-Identifier: BSD-2-Clause */
/* The layer: a disk that asks its instants before it changes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "disk/disk_internal.h"
#include "disk/queue.h"
#include "instant/internal.h"

/* Nobody waits who has nothing to keep; @offset is in the disk. */
static void before_change(struct tide_disk *d, uint64_t offset,
			  uint64_t length)
{
	struct layer *l = layer_of(d);

	if (!tide__load_acquire(&l->count))
		return; /* who starts one sees to it that no change is under way */
	pthread_rwlock_rdlock(&l->list_lock);
	for (struct instant *i = l->instants; i; i = i->next)
		instant_keep(i, offset, length);
	pthread_rwlock_unlock(&l->list_lock);
}

static int layer_readv(struct tide_disk *d, uint64_t offset,
		       const struct tide_vec *to, struct tide_error *err)
{
	return tide__disk_run_read(layer_of(d)->below, offset, to, err);
}

static int layer_writev(struct tide_disk *d, uint64_t offset,
			const struct tide_vec *from, uint32_t flags,
			struct tide_error *err)
{
	before_change(d, offset, from->length_bytes);
	return tide__disk_run_write(layer_of(d)->below, offset, from, flags,
				    err);
}

static int layer_zero(struct tide_disk *d, uint64_t offset, uint64_t length,
		      uint32_t flags, struct tide_error *err)
{
	before_change(d, offset, length);
	return tide_disk_zero(layer_of(d)->below, offset, length, flags, err);
}

static int layer_discard(struct tide_disk *d, uint64_t offset,
			 uint64_t length, struct tide_error *err)
{
	before_change(d, offset, length);
	return tide_disk_discard(layer_of(d)->below, offset, length, err);
}

static int layer_flush(struct tide_disk *d, struct tide_error *err)
{
	return tide_disk_flush(layer_of(d)->below, err);
}

static int layer_status(struct tide_disk *d, uint64_t offset, uint64_t length,
			struct tide_disk_extent *extent,
			struct tide_error *err)
{
	return tide_disk_status(layer_of(d)->below, offset, length, extent,
				err);
}

/* What a shorter disk loses is not kept: it may be most of it. */
static int layer_resize(struct tide_disk *d, uint64_t size,
			struct tide_error *err)
{
	struct layer *l = layer_of(d);
	int ret;

	pthread_rwlock_wrlock(&l->list_lock);
	for (struct instant *i = l->instants; i; i = i->next)
		if (size < i->disk.size_bytes)
			instant_die(i, "the disk was made shorter than it");
	ret = tide_disk_resize(l->below, size, err);
	/* Pairs with the acquire of tide_disk_size. */
	tide__store_release(&d->size_bytes, tide_disk_size(l->below));
	pthread_rwlock_unlock(&l->list_lock);
	return ret;
}

static int layer_real_size(struct tide_disk *d, uint64_t *size_bytes,
			   struct tide_error *err)
{
	return tide_disk_real_size(layer_of(d)->below, size_bytes, err);
}

static int layer_reader_fd(struct tide_disk *d)
{
	return tide__disk_reader_fd(layer_of(d)->below);
}

static int layer_close(struct tide_disk *d, struct tide_error *err)
{
	struct layer *l = layer_of(d);
	int ret = tide_disk_close(l->below, err);

	pthread_rwlock_destroy(&l->list_lock);
	free(d->path);
	free(l);
	return ret;
}

/* Is there nothing to wait for? Does not block. */
static bool is_cheap(struct layer *l, const struct tide_io *io)
{
	bool cheap = true;

	if (!tide__load_acquire(&l->count))
		return true;
	if (pthread_rwlock_tryrdlock(&l->list_lock))
		return false;
	for (struct instant *i = l->instants; i && cheap; i = i->next)
		cheap = instant_is_cheap(i, io->offset_bytes,
					 io->length_bytes);
	pthread_rwlock_unlock(&l->list_lock);
	return cheap;
}

static bool layer_start(struct tide_disk *d, struct tide_io *io)
{
	struct layer *l = layer_of(d);

	if (io->op != TIDE_IO_READ && io->op != TIDE_IO_FLUSH &&
	    !is_cheap(l, io))
		return false;
	io->disk = l->below;
	if (!l->below->ops->start || (io->flags & TIDE_FUA &&
				      !l->below->ops->fua) ||
	    !l->below->ops->start(l->below, io))
		tide_io_to_worker(io);
	return true;
}

static const struct tide_disk_ops ops = {
	.name = "layer",
	.readv = layer_readv,
	.writev = layer_writev,
	.zero = layer_zero,
	.discard = layer_discard,
	.flush = layer_flush,
	.status = layer_status,
	.resize = layer_resize,
	.real_size = layer_real_size,
	.reader_fd = layer_reader_fd,
	.close = layer_close,
	.start = layer_start,
	.fua = true,
};

int instant_layer_create(struct tide_disk *below, struct tide_disk **out,
			 struct tide_error *err)
{
	struct layer *l = calloc(1, sizeof(*l));
	pthread_rwlockattr_t kind;

	if (l)
		l->disk = *below;
	if (l)
		l->disk.path = strdup(below->path);
	if (!l || !l->disk.path) {
		free(l);
		return tide_error_set(err, -ENOMEM, "instant", TIDE_NO_OFFSET,
				      "%s: no memory for its instants",
				      below->path);
	}
	/* An instant that ends is not to wait for ever new changes. */
	pthread_rwlockattr_init(&kind);
	pthread_rwlockattr_setkind_np(
		&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&l->list_lock, &kind);
	pthread_rwlockattr_destroy(&kind);
	l->disk.ops = &ops;
	l->below = below;
	*out = &l->disk;
	return 0;
}
