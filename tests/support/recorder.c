/* SPDX-License-Identifier: BSD-2-Clause */
/* The recording layer itself; recorder_crash.c is what is made of its log. */
#include "recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "recorder_internal.h"

struct layer {
	struct tide_disk disk;
	struct tide_disk *below;
	struct recorder *recorder;
};

static struct layer *layer_of(struct tide_disk *d)
{
	return (struct layer *)d;
}

struct recorder *recorder_create(void)
{
	struct recorder *r = calloc(1, sizeof(*r));

	if (r)
		pthread_mutex_init(&r->lock, NULL);
	return r;
}

void recorder_destroy(struct recorder *r)
{
	if (!r)
		return;
	for (uint64_t i = 0; i < r->count; i++)
		free(r->events[i].data);
	free(r->events);
	free(r->base.bytes);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void recorder_set_fault(struct recorder *r, const struct recorder_fault *fault)
{
	pthread_mutex_lock(&r->lock);
	r->fault = fault ? *fault : (struct recorder_fault){ 0 };
	r->matched = 0;
	pthread_mutex_unlock(&r->lock);
}

uint64_t recorder_faults(const struct recorder *r)
{
	return r->faults;
}

const struct recorder_event *recorder_events(const struct recorder *r,
					     uint64_t *count)
{
	*count = r->count;
	return r->events;
}

/* 0, or the error that @op is to fail with now. Under the lock. */
static int next_fault(struct recorder *r, enum recorder_op op)
{
	const struct recorder_fault *f = &r->fault;
	uint64_t n;

	if (!(f->ops & op))
		return 0;
	n = r->matched++;
	if (n < f->after || (f->count && n - f->after >= f->count))
		return 0;
	r->faults++;
	return f->error;
}

static bool make_room(struct recorder *r)
{
	uint64_t room = r->room ? 2 * r->room : 256;
	struct recorder_event *events;

	if (r->count < r->room)
		return true;
	events = realloc(r->events, room * sizeof(*events));
	if (!events)
		return false;
	r->events = events;
	r->room = room;
	return true;
}

/*
 * Write the event down before it happens. A failing write is recorded with
 * the bytes that it still writes; nothing else that fails happens at all.
 */
static int begin(struct recorder *r, struct recorder_event event,
		 const void *data, uint64_t *index)
{
	int fault;

	pthread_mutex_lock(&r->lock);
	fault = next_fault(r, event.op);
	if (fault && event.length_bytes > r->fault.torn_bytes)
		event.length_bytes = r->fault.torn_bytes;
	event.finished = UINT64_MAX;
	if (data) {
		event.data = malloc(event.length_bytes + 1);
		if (event.data)
			memcpy(event.data, data, event.length_bytes);
	}
	if ((data && !event.data) || !make_room(r)) {
		free(event.data);
		pthread_mutex_unlock(&r->lock);
		return -ENOMEM;
	}
	event.result = fault;
	*index = r->count;
	r->events[r->count++] = event;
	pthread_mutex_unlock(&r->lock);
	return 0;
}

static int end(struct recorder *r, uint64_t index, int ret,
	       struct tide_error *err)
{
	int fault;

	pthread_mutex_lock(&r->lock);
	fault = r->events[index].result;
	if (!ret)
		ret = fault;
	r->events[index].result = ret;
	r->events[index].finished = r->count;
	pthread_mutex_unlock(&r->lock);
	if (fault)
		return tide_error_set(err, fault, "recorder", TIDE_NO_OFFSET,
				      "a failure that was asked for");
	return ret;
}

static struct recorder_event event_at(struct recorder *r, uint64_t index)
{
	struct recorder_event event;

	pthread_mutex_lock(&r->lock);
	event = r->events[index];
	pthread_mutex_unlock(&r->lock);
	return event;
}

static int layer_read(struct tide_disk *d, uint64_t offset_bytes, void *buf,
		      uint64_t length_bytes, struct tide_error *err)
{
	struct recorder *r = layer_of(d)->recorder;
	int fault;

	pthread_mutex_lock(&r->lock);
	fault = next_fault(r, RECORDER_READ);
	pthread_mutex_unlock(&r->lock);
	if (fault)
		return tide_error_set(err, fault, "recorder", offset_bytes,
				      "a failure that was asked for");
	return tide_disk_read(layer_of(d)->below, offset_bytes, buf,
			      length_bytes, err);
}

static int layer_write(struct tide_disk *d, uint64_t offset_bytes,
		       const void *buf, uint64_t length_bytes,
		       struct tide_error *err)
{
	struct layer *l = layer_of(d);
	uint64_t i;
	int ret = begin(l->recorder, (struct recorder_event){
		.op = RECORDER_WRITE, .offset_bytes = offset_bytes,
		.length_bytes = length_bytes }, buf, &i);

	if (ret)
		return ret;
	ret = tide_disk_write(l->below, offset_bytes, buf,
			      event_at(l->recorder, i).length_bytes, err);
	return end(l->recorder, i, ret, err);
}

/* What has no data: carried out unless it is to fail. */
static int simple(struct tide_disk *d, struct recorder_event event,
		  struct tide_error *err)
{
	struct layer *l = layer_of(d);
	struct tide_disk *below = l->below;
	uint64_t i, offset = event.offset_bytes, length = event.length_bytes;
	int ret = begin(l->recorder, event, NULL, &i);

	if (ret)
		return ret;
	if (event_at(l->recorder, i).result)
		return end(l->recorder, i, 0, err);
	if (event.op == RECORDER_ZERO)
		ret = tide_disk_zero(below, offset, length, event.flags, err);
	else if (event.op == RECORDER_DISCARD)
		ret = tide_disk_discard(below, offset, length, err);
	else if (event.op == RECORDER_RESIZE)
		ret = tide_disk_resize(below, length, err);
	else
		ret = tide_disk_flush(below, err);
	return end(l->recorder, i, ret, err);
}

static int layer_zero(struct tide_disk *d, uint64_t offset_bytes,
		      uint64_t length_bytes, uint32_t flags,
		      struct tide_error *err)
{
	return simple(d, (struct recorder_event){
		.op = RECORDER_ZERO, .flags = flags,
		.offset_bytes = offset_bytes, .length_bytes = length_bytes,
	}, err);
}

static int layer_discard(struct tide_disk *d, uint64_t offset_bytes,
			 uint64_t length_bytes, struct tide_error *err)
{
	return simple(d, (struct recorder_event){
		.op = RECORDER_DISCARD, .offset_bytes = offset_bytes,
		.length_bytes = length_bytes,
	}, err);
}

static int layer_flush(struct tide_disk *d, struct tide_error *err)
{
	return simple(d, (struct recorder_event){ .op = RECORDER_FLUSH }, err);
}

static int layer_resize(struct tide_disk *d, uint64_t size_bytes,
			struct tide_error *err)
{
	int ret = simple(d, (struct recorder_event){
		.op = RECORDER_RESIZE, .length_bytes = size_bytes }, err);

	if (!ret)	/* Pairs with the acquire in tide_disk_size. */
		tide__store_release(&d->size_bytes, size_bytes);
	return ret;
}

static int layer_status(struct tide_disk *d, uint64_t offset_bytes,
			uint64_t length_bytes, struct tide_disk_extent *extent,
			struct tide_error *err)
{
	return tide_disk_status(layer_of(d)->below, offset_bytes, length_bytes,
				extent, err);
}

/* A driver flushes before it closes what is below: no flush of our own. */
static int layer_close(struct tide_disk *d, struct tide_error *err)
{
	struct layer *l = layer_of(d);
	int ret = tide_disk_close(l->below, err);

	free(l->disk.path);
	free(l);
	return ret;
}

static const struct tide_disk_ops layer_ops = {
	.name = "recorder",
	.read = layer_read,
	.write = layer_write,
	.zero = layer_zero,
	.discard = layer_discard,
	.flush = layer_flush,
	.status = layer_status,
	.resize = layer_resize,
	.close = layer_close,
};

static int keep_base(struct recorder *r, struct tide_disk *below,
		     struct tide_error *err)
{
	if (r->base.bytes)
		return 0;	/* opened again: the log goes on */
	r->base.size_bytes = tide_disk_size(below);
	r->base.bytes = malloc(r->base.size_bytes + 1);
	if (!r->base.bytes)
		return -ENOMEM;
	return tide_disk_read(below, 0, r->base.bytes, r->base.size_bytes, err);
}

int recorder_open(const char *path, const struct tide_disk_options *options,
		  struct tide_disk **out, struct tide_error *err)
{
	struct tide_disk_options plain = *options;
	struct layer *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return -ENOMEM;
	plain.open_file = NULL;
	l->recorder = options->open_opaque;
	ret = tide_disk_open_file(path, &plain, &l->below, err);
	if (!ret)
		ret = keep_base(l->recorder, l->below, err);
	if (!ret && !(l->disk.path = strdup(path)))
		ret = -ENOMEM;
	if (ret) {
		if (l->below)
			tide_disk_close(l->below, NULL);
		free(l);
		return ret;
	}
	l->disk.ops = &layer_ops;
	l->disk.size_bytes = tide_disk_size(l->below);
	l->disk.alignment_bytes = l->below->alignment_bytes;
	l->disk.fixed_size = l->below->fixed_size;
	l->disk.writable = options->writable;
	*out = &l->disk;
	return 0;
}
