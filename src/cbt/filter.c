/* SPDX-License-Identifier: BSD-2-Clause */
#include "cbt/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "cbt/kept.h"
#include "cbt/tracker.h"
#include "disk/queue.h"

/*
 * Wider requests go in pieces, so that they need few intents at a time; never
 * more than can be active at once, or it would wait for ever.
 */
#define MAX_REGIONS 32u

struct filter {
	struct tide_disk disk;
	struct tide_disk *below;
	struct cbt *c;
};

static struct filter *filter_of(struct tide_disk *d)
{
	return (struct filter *)d;
}

/* Inside of the gate, marked, and allowed by the log. */
static void come_in(struct cbt *c, uint64_t offset_bytes,
		    uint64_t length_bytes)
{
	for (;;) {
		if (!cbt_gate_enter(&c->gate)) {
			cbt_gate_wait(&c->gate);
			continue;
		}
		cbt_mark(c, offset_bytes, length_bytes);
		if (cbt_intents_ready(&c->intents, offset_bytes, length_bytes))
			return;
		cbt_gate_leave(&c->gate);
		cbt_intents_wait(&c->intents, offset_bytes, length_bytes);
	}
}

struct change {
	enum tide_io_op op;
	uint64_t offset_bytes, length_bytes;
	struct tide_vec from; /* of a write */
	uint32_t flags;
};

static int carry_out(struct tide_disk *d, const struct change *w,
		     struct tide_error *err)
{
	switch (w->op) {
	case TIDE_IO_WRITE:
		return tide__disk_writev(d, w->offset_bytes, &w->from,
					 w->flags, err);
	case TIDE_IO_ZERO:
		return tide_disk_zero(d, w->offset_bytes, w->length_bytes,
				      w->flags, err);
	case TIDE_IO_DISCARD:
		return tide_disk_discard(d, w->offset_bytes, w->length_bytes,
					 err);
	default:
		return -EINVAL;
	}
}

/* How much of it may go at once. */
static uint64_t piece_of(const struct cbt *c, const struct change *w)
{
	uint64_t regions = c->intents.max / 2, max = w->length_bytes;

	if (regions > MAX_REGIONS)
		regions = MAX_REGIONS;
	if (c->intents.on && max > regions << c->intents.shift)
		max = regions << c->intents.shift;
	return max;
}

/* It was said while the gate was held: who came in since knows. */
static int has_moved(const struct filter *f, struct tide_error *err)
{
	return tide_error_set(err, -ESHUTDOWN, "tracker", TIDE_NO_OFFSET,
			      "%s: %s", f->disk.path, f->c->where);
}

static int do_change(struct tide_disk *d, struct change w,
		     struct tide_error *err)
{
	struct filter *f = filter_of(d);
	uint64_t end = w.offset_bytes + w.length_bytes;
	struct tide_vec all = w.from;
	int ret = 0;

	while (w.offset_bytes < end && !ret) {
		w.length_bytes = end - w.offset_bytes;
		w.length_bytes = piece_of(f->c, &w);
		if (w.op == TIDE_IO_WRITE)
			w.from = tide__vec_slice(
				&all, all.length_bytes - (end - w.offset_bytes),
				w.length_bytes);
		come_in(f->c, w.offset_bytes, w.length_bytes);
		ret = tide__load_relaxed(&f->c->moved) ?
			      has_moved(f, err) :
			      carry_out(f->below, &w, err);
		cbt_gate_leave(&f->c->gate);
		w.offset_bytes += w.length_bytes;
	}
	return ret;
}

static int filter_writev(struct tide_disk *d, uint64_t offset_bytes,
			 const struct tide_vec *from, uint32_t flags,
			 struct tide_error *err)
{
	return do_change(d, (struct change){
		.op = TIDE_IO_WRITE, .offset_bytes = offset_bytes,
		.length_bytes = from->length_bytes, .from = *from,
		.flags = flags }, err);
}

static int filter_zero(struct tide_disk *d, uint64_t offset_bytes,
		       uint64_t length_bytes, uint32_t flags,
		       struct tide_error *err)
{
	return do_change(d, (struct change){
		.op = TIDE_IO_ZERO, .offset_bytes = offset_bytes,
		.length_bytes = length_bytes, .flags = flags }, err);
}

static int filter_discard(struct tide_disk *d, uint64_t offset_bytes,
			  uint64_t length_bytes, struct tide_error *err)
{
	return do_change(d, (struct change){
		.op = TIDE_IO_DISCARD, .offset_bytes = offset_bytes,
		.length_bytes = length_bytes }, err);
}

static int filter_readv(struct tide_disk *d, uint64_t offset_bytes,
			const struct tide_vec *to, struct tide_error *err)
{
	return tide__disk_readv(filter_of(d)->below, offset_bytes, to, err);
}

static int filter_flush(struct tide_disk *d, struct tide_error *err)
{
	return tide_disk_flush(filter_of(d)->below, err);
}

static int filter_status(struct tide_disk *d, uint64_t offset_bytes,
			 uint64_t length_bytes,
			 struct tide_disk_extent *extent,
			 struct tide_error *err)
{
	return tide_disk_status(filter_of(d)->below, offset_bytes,
				length_bytes, extent, err);
}

struct resizing {
	struct filter *f;
	uint64_t size_bytes;
	struct tide_error *err;
};

static int resize_below(void *opaque)
{
	struct resizing *r = opaque;

	return tide_disk_resize(r->f->below, r->size_bytes, r->err);
}

/* What comes back after a shrink is not what it was: it is dirty. */
static int filter_resize(struct tide_disk *d, uint64_t size_bytes,
			 struct tide_error *err)
{
	struct filter *f = filter_of(d);
	struct resizing r = { f, size_bytes, err };
	struct cbt *c = f->c;
	int ret;

	pthread_mutex_lock(&c->lock);
	ret = cbt_cut_to(c, size_bytes, cbt_wanted_shift(c), resize_below, &r,
			 err);
	/* Pairs with the acquire of tide_disk_size. */
	tide__store_release(&d->size_bytes, tide_disk_size(f->below));
	if (!ret) {
		cbt_tidy(c);
		/* It happened; the store's trouble is the store's. */
		cbt_commit(c, NULL);
	}
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static int filter_real_size(struct tide_disk *d, uint64_t *size_bytes,
			    struct tide_error *err)
{
	return tide_disk_real_size(filter_of(d)->below, size_bytes, err);
}

static int filter_reader_fd(struct tide_disk *d)
{
	return tide__disk_reader_fd(filter_of(d)->below);
}

static int filter_close(struct tide_disk *d, struct tide_error *err)
{
	struct filter *f = filter_of(d);
	int ret, ended;

	/* What cannot be written back is in the store all the same. */
	cbt_give_kept(f->c, NULL);
	cbt_sample(f->c);
	ret = tide_disk_close(f->below, err);
	ended = cbt_close(f->c, ret ? NULL : err);
	free(d->path);
	free(f);
	return ret ? ret : ended;
}

/* --- requests of a queue ---------------------------------------------- */

static void on_child(struct tide_io *child)
{
	struct tide_io *io = child->parent;
	int result = child->result;

	cbt_gate_leave(&filter_of(io->disk)->c->gate);
	tide_io_put(io->queue, child);
	tide_io_complete(io, result);
}

/* Reads and flushes are the disk below's alone. */
static bool pass(struct filter *f, struct tide_io *io)
{
	io->disk = f->below;
	if (!f->below->ops->start || !f->below->ops->start(f->below, io))
		tide_io_to_worker(io);
	return true;
}

static bool start_change(struct filter *f, struct tide_io *io)
{
	struct cbt *c = f->c;
	struct tide_io *child;

	if (!cbt_gate_enter(&c->gate))
		return cbt_gate_park(&c->gate, io);
	if (tide__load_relaxed(&c->moved)) {
		cbt_gate_leave(&c->gate);
		tide_io_complete(io, -ESHUTDOWN);
		return true;
	}
	cbt_mark(c, io->offset_bytes, io->length_bytes);
	if (!cbt_intents_ready(&c->intents, io->offset_bytes,
			       io->length_bytes)) {
		cbt_gate_leave(&c->gate);
		return cbt_intents_park(&c->intents, io);
	}
	child = tide_io_get(io->queue);
	if (!child) {
		cbt_gate_leave(&c->gate);
		return false;
	}
	*child = (struct tide_io){
		.op = io->op, .flags = io->flags, .buf = io->buf,
		.iov = io->iov, .iov_count = io->iov_count,
		.offset_bytes = io->offset_bytes,
		.length_bytes = io->length_bytes,
		.done = on_child, .parent = io,
	};
	tide_io_start_child(io->queue, f->below, child);
	return true;
}

static bool filter_start(struct tide_disk *d, struct tide_io *io)
{
	struct filter *f = filter_of(d);
	struct change w = { .length_bytes = io->length_bytes };

	if (io->op == TIDE_IO_READ || io->op == TIDE_IO_FLUSH)
		return pass(f, io);
	if (piece_of(f->c, &w) < io->length_bytes)
		return false; /* a worker does it in pieces */
	return start_change(f, io);
}

static const struct tide_disk_ops ops = {
	.name = "tracked",
	.readv = filter_readv,
	.writev = filter_writev,
	.zero = filter_zero,
	.discard = filter_discard,
	.flush = filter_flush,
	.status = filter_status,
	.resize = filter_resize,
	.real_size = filter_real_size,
	.reader_fd = filter_reader_fd,
	.close = filter_close,
	.start = filter_start,
	.fua = true,
};

int cbt_filter_create(struct tide_disk *below, struct cbt *c,
		      struct tide_disk **out, struct tide_error *err)
{
	struct filter *f = calloc(1, sizeof(*f));

	if (f)
		f->disk = *below;
	if (f)
		f->disk.path = strdup(below->path);
	if (!f || !f->disk.path) {
		free(f);
		return tide_error_set(err, -ENOMEM, "tracker", TIDE_NO_OFFSET,
				      "%s: no memory to track it",
				      below->path);
	}
	f->disk.ops = &ops;
	f->below = below;
	f->c = c;
	*out = &f->disk;
	return 0;
}
