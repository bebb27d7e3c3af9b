/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages of 4 KiB in a sorted array; most writers go upwards, and append. */
#include "qcow2/check/overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096u

struct overlay_page {
	uint64_t index;
	uint8_t *bytes; /* owned */
};

/* The first page that is not below @index. */
static uint64_t find(const struct qcow2_overlay *o, uint64_t index)
{
	uint64_t low = 0, high = o->count, mid;

	if (high && o->pages[high - 1].index < index)
		return high;
	while (low < high) {
		mid = low + (high - low) / 2;
		if (o->pages[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* What the file below has of it; zeroes behind its end. */
static int read_below(const struct qcow2_overlay *o, uint64_t offset,
		      uint8_t *to, uint64_t bytes, struct tide_error *err)
{
	if (offset >= o->below->size_bytes) {
		memset(to, 0, bytes);
		return 0;
	}
	return qcow2_read_at(o->below, offset, to, bytes, err);
}

/* Bytes of [offset, offset + bytes) that lie in the page of @offset. */
static uint64_t in_page(uint64_t offset, uint64_t bytes)
{
	uint64_t left = PAGE_BYTES - offset % PAGE_BYTES;

	return bytes < left ? bytes : left;
}

static int read_overlay(void *opaque, uint64_t offset, void *buf,
			uint64_t bytes, struct tide_error *err)
{
	const struct qcow2_overlay *o = opaque;
	uint8_t *to = buf;
	int ret = 0;

	while (bytes && !ret) {
		uint64_t index = offset / PAGE_BYTES, i = find(o, index);
		uint64_t n = in_page(offset, bytes);

		if (i < o->count && o->pages[i].index == index) {
			memcpy(to, o->pages[i].bytes + offset % PAGE_BYTES, n);
		} else {
			/* All up to the next page that was written. */
			n = bytes;
			if (i < o->count &&
			    o->pages[i].index * PAGE_BYTES - offset < n)
				n = o->pages[i].index * PAGE_BYTES - offset;
			ret = read_below(o, offset, to, n, err);
		}
		to += n;
		offset += n;
		bytes -= n;
	}
	return ret;
}

static int no_memory(const struct qcow2_overlay *o, struct tide_error *err)
{
	return tide_error_set(err, -ENOMEM, "qcow2-repair", TIDE_NO_OFFSET,
			      "%s: no memory to plan its repair", o->r.path);
}

static int make_page(struct qcow2_overlay *o, uint64_t i, uint64_t index,
		     struct tide_error *err)
{
	uint8_t *bytes = malloc(PAGE_BYTES);
	int ret;

	if (bytes && o->count == o->room) {
		uint64_t room = o->room ? 2 * o->room : 64;
		void *more = reallocarray(o->pages, room, sizeof(*o->pages));

		if (more) {
			o->pages = more;
			o->room = room;
		}
	}
	if (!bytes || o->count == o->room) {
		free(bytes);
		return no_memory(o, err);
	}
	ret = read_below(o, index * PAGE_BYTES, bytes, PAGE_BYTES, err);
	if (ret) {
		free(bytes);
		return ret;
	}
	memmove(o->pages + i + 1, o->pages + i,
		(o->count - i) * sizeof(*o->pages));
	o->pages[i] = (struct overlay_page){ index, bytes };
	o->count++;
	return 0;
}

static int extend_overlay(void *opaque, uint64_t size_bytes,
			  struct tide_error *err)
{
	struct qcow2_overlay *o = opaque;

	(void)err;
	if (size_bytes > o->r.size_bytes)
		o->r.size_bytes = size_bytes;
	return 0;
}

static int write_overlay(void *opaque, uint64_t offset, const void *buf,
			 uint64_t bytes, struct tide_error *err)
{
	struct qcow2_overlay *o = opaque;
	const uint8_t *from = buf;

	extend_overlay(o, offset + bytes, err);
	while (bytes) {
		uint64_t index = offset / PAGE_BYTES, i = find(o, index);
		uint64_t n = in_page(offset, bytes);
		int ret = 0;

		if (i == o->count || o->pages[i].index != index)
			ret = make_page(o, i, index, err);
		if (ret)
			return ret;
		memcpy(o->pages[i].bytes + offset % PAGE_BYTES, from, n);
		from += n;
		offset += n;
		bytes -= n;
	}
	return 0;
}

static int sync_overlay(void *opaque, struct tide_error *err)
{
	(void)opaque;
	(void)err;
	return 0;
}

static uint64_t next_data(void *opaque, uint64_t offset)
{
	const struct qcow2_overlay *o = opaque;
	uint64_t i = find(o, offset / PAGE_BYTES), at = offset;

	if (offset >= o->below->size_bytes)
		at = (uint64_t)INT64_MAX;
	else if (o->below->next_data)
		at = o->below->next_data(o->below->opaque, offset);
	if (i < o->count && o->pages[i].index * PAGE_BYTES < at)
		at = o->pages[i].index * PAGE_BYTES;
	return at < offset ? offset : at;
}

void qcow2_overlay_init(struct qcow2_overlay *o,
			const struct qcow2_reader *below)
{
	*o = (struct qcow2_overlay){ .below = below };
	o->r = (struct qcow2_reader){ read_overlay, o, below->size_bytes,
				      below->path, next_data };
	o->w = (struct qcow2_writer){ write_overlay, sync_overlay,
				      extend_overlay, o };
}

void qcow2_overlay_fini(struct qcow2_overlay *o)
{
	for (uint64_t i = 0; i < o->count; i++)
		free(o->pages[i].bytes);
	free(o->pages);
	*o = (struct qcow2_overlay){ 0 };
}
