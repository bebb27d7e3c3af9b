/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading the bitmaps of an image, bits and all. One that another writer left
 * in use missed what was written since: it is shown, without bits. One that is
 * damaged likewise: who has it starts anew, and the disk opens.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "qcow2/driver/qcow2.h"
#include "qcow2/format/bitmaps.h"

/* More is no bitmap that somebody could have meant. */
#define MAX_BYTES (UINT64_C(1) << 33)

struct loading {
	struct qcow2 *q;
	uint8_t *bits;
	uint64_t bytes; /* of bits */
	struct tide_error *err;
};

/* A cluster of bits; 1: all ones. */
static int load_cluster(void *opaque, uint64_t index, uint64_t entry,
			uint64_t at)
{
	struct loading *l = opaque;
	uint64_t from = index << l->q->cluster_bits;
	uint64_t bytes = l->q->cluster_bytes;
	uint64_t offset = entry & ~QCOW2_BITMAP_TABLE_RESERVED & ~1ull;
	uint64_t size = tide_disk_size(l->q->file);

	(void)at;
	if (from >= l->bytes || entry & QCOW2_BITMAP_TABLE_RESERVED)
		return -EINVAL;
	if (bytes > l->bytes - from)
		bytes = l->bytes - from;
	if (!offset) {
		memset(l->bits + from, entry & 1 ? 0xff : 0, bytes);
		return 0;
	}
	if (offset & (l->q->cluster_bytes - 1) || offset >= size)
		return -EINVAL;
	/* The file may end with the bits. */
	if (bytes > size - offset)
		bytes = size - offset;
	return tide_disk_read(l->q->file, offset, l->bits + from, bytes,
			      l->err);
}

static void clear_tail(uint8_t *bits, uint64_t count)
{
	if (count % 8)
		bits[count / 8] &= (uint8_t)((1u << count % 8) - 1);
}

/* -EINVAL: its bits cannot be read. */
static int load_bits(struct qcow2 *q, const struct qcow2_bitmap *b,
		     struct tide_disk_bitmap *out, uint8_t **bits,
		     struct tide_error *err)
{
	struct qcow2_reader reader = qcow2_reader_of(q);
	struct loading l = { .q = q, .err = err };
	uint64_t count = q->header.size_bytes >> b->granularity_bits;

	count += !!(q->header.size_bytes &
		    ((UINT64_C(1) << b->granularity_bits) - 1));
	l.bytes = (count + 7) / 8;
	if (l.bytes > MAX_BYTES)
		return -EINVAL;
	l.bits = calloc(1, l.bytes + 1);
	if (!l.bits)
		return -ENOMEM;
	*bits = l.bits;
	out->bits = l.bits;
	out->bit_count = count;
	if (qcow2_read_entries(&reader, b->table_offset, b->table_entries,
			       load_cluster, &l, err))
		return -EINVAL;
	clear_tail(l.bits, count);
	return 0;
}

static int give(struct qcow2 *q, const struct qcow2_bitmap *b,
		int (*each)(void *opaque,
			    const struct tide_disk_bitmap *bitmap),
		void *opaque, struct tide_error *err)
{
	struct tide_disk_bitmap out = {
		.name = b->name, .shift = b->granularity_bits,
		.enabled = b->flags & QCOW2_BITMAP_AUTO,
		.in_use = b->broken || b->flags & QCOW2_BITMAP_IN_USE,
	};
	uint8_t *bits = NULL;
	int ret = 0;

	if (!out.in_use)
		ret = load_bits(q, b, &out, &bits, err);
	if (ret == -EINVAL) {
		out.in_use = true;
		out.bits = NULL;
		ret = 0;
	}
	if (!ret)
		ret = each(opaque, &out);
	free(bits);
	return ret;
}

int qcow2_bitmaps_load(struct tide_disk *d,
		       int (*each)(void *opaque,
				   const struct tide_disk_bitmap *bitmap),
		       void *opaque, struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	struct qcow2_reader reader = qcow2_reader_of(q);
	struct qcow2_bitmaps list = { 0 };
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = qcow2_bitmaps_read(&reader, &q->header, true, &list, err);
	pthread_mutex_unlock(&q->lock);
	for (uint32_t i = 0; i < list.count && ret == 0; i++)
		ret = give(q, &list.items[i], each, opaque, err);
	qcow2_bitmaps_fini(&list);
	return ret;
}
