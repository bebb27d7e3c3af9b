/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening an image, and closing it.
 *
 * What may not be written is said here, before anything is changed: encrypted
 * images, those marked corrupt, those that a crash left dirty (lazy refcounts)
 * unless the caller wants them repaired. The backing chain is opened for
 * reading, layer by layer, with a limit, and a file that is its own ancestor
 * is refused.
 *
 * The kind map is built by walking every table of the image: from here on it
 * is kept by whoever allocates or frees.
 */
#include <errno.h>
#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "qcow2/format/layout.h"
#include "qcow2/driver/follow.h"
#include "qcow2/driver/names.h"
#include "qcow2/driver/open.h"
#include "qcow2/driver/qcow2.h"

#define FIRST_BYTES (2u << 20)

static int open_layer(const char *path, const struct tide_disk_options *options,
		      const struct qcow2_layer *above, struct tide_disk **out,
		      struct tide_error *err);

static void destroy(struct qcow2 *q)
{
	tide_disk_close(q->backing, NULL);
	if (q->data != q->file)
		tide_disk_close(q->data, NULL);
	tide_disk_close(q->file, NULL);
	tide_kinds_destroy(q->kinds);
	qcow2_cache_fini(&q->cache);
	qcow2_ranges_fini(&q->ranges);
	qcow2_header_fini(&q->header);
	qcow2_flights_free(q);
	free(q->l1.entries);
	free(q->reftable.entries);
	free(q->frees.items);
	free(q->unpacked);
	pthread_mutex_destroy(&q->lock);
	pthread_mutex_destroy(&q->flush_lock);
	free(q->disk.path);
	free(q);
}

static int read_header(struct qcow2 *q, struct tide_error *err)
{
	uint64_t size = tide_disk_size(q->file);
	size_t have = size < FIRST_BYTES ? (size_t)size : FIRST_BYTES;
	uint8_t *bytes = malloc(have ? have : 1);
	int ret;

	if (!bytes)
		return tide_error_set(err, -ENOMEM, "qcow2", 0,
				      "no memory for the header of %s",
				      q->disk.path);
	ret = tide_disk_read(q->file, 0, bytes, have, err);
	if (ret == 0)
		ret = qcow2_header_parse(q->disk.path, bytes, have, size,
					 &q->header, err);
	free(bytes);
	return ret;
}

static int refuse(const struct qcow2 *q, const struct tide_disk_options *o,
		  struct tide_error *err)
{
	const struct qcow2_header *h = &q->header;

	if (h->crypt_method != QCOW2_CRYPT_NONE)
		return tide_error_set(err, -ENOTSUP, "qcow2", 32,
				      "%s is encrypted: its content cannot be "
				      "read or written without the key",
				      q->disk.path);
	if (!o->writable)
		return 0;
	if (h->incompatible & QCOW2_INCOMPAT_CORRUPT)
		return tide_error_set(err, -EROFS, "qcow2", 72,
				      "%s is marked corrupt; repair it before "
				      "it is written: tidemark qcow2 repair",
				      q->disk.path);
	if (h->incompatible & QCOW2_INCOMPAT_DIRTY)
		return tide_error_set(err, -EROFS, "qcow2", 72,
				      "%s was not closed and its refcounts are "
				      "not to be trusted; repair it before it "
				      "is written: tidemark qcow2 repair",
				      q->disk.path);
	return 0;
}

static void derive(struct qcow2 *q, const struct tide_disk_options *o)
{
	const struct qcow2_header *h = &q->header;

	q->cluster_bits = h->cluster_bits;
	q->cluster_bytes = qcow2_cluster_bytes(h);
	q->l2_bits = qcow2_l2_bits(h);
	q->entry_bytes = qcow2_l2_entry_bytes(h);
	q->refblock_bits = qcow2_refblock_bits(h);
	q->extended = h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
	q->unit_bits = q->extended ? q->cluster_bits - 5 : q->cluster_bits;
	q->external = h->incompatible & QCOW2_INCOMPAT_DATA_FILE;
	q->raw_external = q->external &&
			  h->autoclear & QCOW2_AUTOCLEAR_RAW_EXTERNAL;
	q->guarded = o->writable && !o->no_guard;
	q->disk.writable = o->writable;
	q->disk.alignment_bytes = 1;
	q->disk.size_bytes = h->size_bytes;
	q->growable = !q->file->fixed_size;
	q->touched_end = round_up(tide_disk_size(q->file), q->cluster_bytes);
}

/* --- tables and the kind map --- */

static int load_tables(struct qcow2 *q, struct tide_error *err)
{
	const struct qcow2_header *h = &q->header;
	uint64_t span_bits = q->cluster_bits + q->l2_bits;
	uint64_t needed = h->size_bytes ?
				  ((h->size_bytes - 1) >> span_bits) + 1 :
				  0;
	int ret;

	if (h->l1_entries < needed)
		return tide_error_set(err, -EINVAL, "qcow2", 36,
				      "%s: an L1 table of %u entries is too "
				      "short for %llu bytes",
				      q->disk.path, h->l1_entries,
				      (unsigned long long)h->size_bytes);
	ret = qcow2_table_load(q, &q->l1, h->l1_offset, h->l1_entries,
			       "L1 table", err);
	if (ret == 0 && q->disk.writable)
		ret = qcow2_table_load(q, &q->reftable, h->reftable_offset,
				       (uint64_t)h->reftable_clusters
					       << (q->cluster_bits - 3),
				       "refcount table", err);
	return ret;
}

static int add_kind(void *opaque, enum qcow2_section section,
		    uint64_t offset_bytes, uint64_t length_bytes,
		    uint32_t owner)
{
	struct qcow2 *q = opaque;

	(void)owner;
	return tide_kinds_add(q->kinds, (enum tide_kind)section, offset_bytes,
			      length_bytes, NULL);
}

static int read_file(void *opaque, uint64_t offset_bytes, void *buf,
		     uint64_t bytes, struct tide_error *err)
{
	return tide_disk_read(opaque, offset_bytes, buf, bytes, err);
}

struct qcow2_reader qcow2_reader_of(struct qcow2 *q)
{
	return (struct qcow2_reader){ .pread = read_file, .opaque = q->file,
				      .size_bytes = tide_disk_size(q->file),
				      .path = q->disk.path };
}

static int build_kinds(struct qcow2 *q, struct tide_error *err)
{
	struct qcow2_reader reader = qcow2_reader_of(q);
	int ret;

	if (!q->disk.writable)
		return 0;
	ret = tide_kinds_create(&q->kinds, q->cluster_bits, err);
	if (ret == 0)
		ret = qcow2_layout_walk(&reader, &q->header, add_kind, q, err);
	return ret;
}

/* --- the files beside and below --- */

/* What the files beside and below are opened with: the caller's own way. */
static struct tide_disk_options inherited(const struct tide_disk_options *o)
{
	return (struct tide_disk_options){ .direct = o->direct,
					   .no_lock = o->no_lock,
					   .trusted_folder = o->trusted_folder,
					   .open_file = o->open_file,
					   .open_opaque = o->open_opaque };
}

static int circle(const struct qcow2 *q, const char *path,
		  struct tide_error *err)
{
	return tide_error_set(err, -ELOOP, "qcow2", TIDE_NO_OFFSET,
			      "%s leads to %s, which is itself or lies on it",
			      q->disk.path, path);
}

/* @me is the image, @last what is above its backing file: that, or its data. */
static int open_data(struct qcow2 *q, const struct tide_disk_options *o,
		     const struct qcow2_layer *me, struct qcow2_layer *last,
		     struct tide_error *err)
{
	struct tide_disk_options below = inherited(o);
	char *path;
	int ret;

	q->data = q->file;
	*last = *me;
	if (!q->external)
		return 0;
	if (o->no_data_file)
		return tide_error_set(
			err, -EPERM, "qcow2", 72,
			"%s keeps its data in another file, which "
			"is not to be opened here",
			q->disk.path);
	if (!o->data_path && !q->header.data_file)
		return tide_error_set(err, -EINVAL, "qcow2", TIDE_NO_OFFSET,
				      "%s needs a data file and does not name "
				      "it", q->disk.path);
	path = o->data_path ? strdup(o->data_path) :
			      qcow2_find_data(q->disk.path,
					      q->header.data_file, err);
	if (!path)
		return err ? err->code : -EINVAL;
	below.writable = o->writable;
	ret = o->data_path ? 0 : qcow2_follow(q->disk.path, path,
					      o->trusted_folder, err);
	if (ret == 0 && qcow2_layer_identify(path, me, last) &&
	    qcow2_layer_returns(last))
		ret = circle(q, path, err);
	last->depth = me->depth;
	if (ret < 0) {
		free(path);
		return ret;
	}
	/* As long as it is: it may be made longer by the first write only. */
	ret = tide_disk_open_file(path, &below, &q->data, err);
	if (ret < 0)
		q->data = q->file;
	free(path);
	return ret;
}

static int open_backing(struct qcow2 *q, const struct tide_disk_options *o,
			const struct qcow2_layer *above, struct tide_error *err)
{
	struct tide_disk_options below = inherited(o);
	struct qcow2_layer layer;
	char *path;
	int ret;

	if (!q->header.backing_name || o->no_backing)
		return 0;
	below.cache_bytes = o->cache_bytes;
	below.no_data_file = o->no_data_file;
	below.format = q->header.backing_format;
	path = o->backing_path ? strdup(o->backing_path) :
				 qcow2_resolve(q->disk.path,
					       q->header.backing_name, err);
	if (!path)
		return err ? err->code : -EINVAL;
	ret = o->backing_path ? 0 : qcow2_follow(q->disk.path, path,
						 o->trusted_folder, err);
	if (ret == 0 && qcow2_layer_identify(path, above, &layer) &&
	    qcow2_layer_returns(&layer))
		ret = circle(q, path, err);
	if (ret < 0) {
		free(path);
		return ret;
	}
	if (below.format && !strcmp(below.format, "raw"))
		ret = tide_disk_open_file(path, &below, &q->backing, err);
	else
		ret = open_layer(path, &below, above, &q->backing, err);
	/* Without a format, what is no qcow2 image is raw. */
	if (ret == -EINVAL && !below.format) {
		uint8_t magic[4] = { 0 };
		struct tide_disk *raw;

		if (tide_disk_open_file(path, &below, &raw, NULL) == 0) {
			if (tide_disk_size(raw) < 4 ||
			    tide_disk_read(raw, 0, magic, 4, NULL) < 0 ||
			    memcmp(magic, "QFI\xfb", 4)) {
				q->backing = raw;
				ret = 0;
			} else {
				tide_disk_close(raw, NULL);
			}
		}
	}
	free(path);
	return ret;
}

/* --- open --- */

static int set_up(struct qcow2 *q, const char *path,
		  const struct tide_disk_options *o,
		  const struct qcow2_layer *me, struct tide_error *err)
{
	struct tide_disk_options below = inherited(o);
	struct qcow2_layer last;
	int ret;

	below.writable = o->writable;
	ret = tide_disk_open_file(path, &below, &q->file, err);

	if (ret == 0)
		ret = read_header(q, err);
	if (ret == 0)
		ret = refuse(q, o, err);
	if (ret < 0)
		return ret;
	derive(q, o);
	ret = qcow2_cache_init(&q->cache, q->cluster_bytes, o->cache_bytes,
			       err);
	if (ret == 0)
		ret = load_tables(q, err);
	if (ret == 0)
		ret = build_kinds(q, err);
	if (ret == 0)
		ret = open_data(q, o, me, &last, err);
	if (ret == 0)
		ret = open_backing(q, o, &last, err);
	/* Nothing is changed yet: that is the first write's (first_write.c). */
	return ret;
}

static int open_layer(const char *path, const struct tide_disk_options *options,
		      const struct qcow2_layer *above, struct tide_disk **out,
		      struct tide_error *err)
{
	struct qcow2_layer me;
	struct qcow2 *q;
	int ret = qcow2_layer_enter(path, above, &me, err);

	if (ret < 0)
		return ret;
	q = calloc(1, sizeof(*q));
	if (q)
		q->disk.path = strdup(path);
	if (!q || !q->disk.path || qcow2_ranges_init(&q->ranges) < 0) {
		free(q ? q->disk.path : NULL);
		free(q);
		return tide_error_set(err, -ENOMEM, "qcow2", TIDE_NO_OFFSET,
				      "no memory to open %s", path);
	}
	q->disk.ops = &tide__qcow2_ops;
	pthread_mutex_init(&q->lock, NULL);
	pthread_mutex_init(&q->flush_lock, NULL);
	ret = set_up(q, path, options, &me, err);
	if (ret < 0) {
		if (q->data == NULL)
			q->data = q->file;
		destroy(q);
		return ret;
	}
	*out = &q->disk;
	return 0;
}

int tide__qcow2_open(const char *path, const struct tide_disk_options *options,
		     struct tide_disk **out, struct tide_error *err)
{
	return open_layer(path, options, NULL, out, err);
}

/* --- close --- */

/* All to the file; twice, for what the first flush gave back. */
static int flush_all(struct qcow2 *q, struct tide_error *err)
{
	int ret = 0;

	if (!q->disk.writable || q->broken || !q->prepared)
		return 0;
	do
		ret = qcow2_flush(&q->disk, err);
	while (ret == 0 && (q->cache.dirty_count || q->frees.count));
	/* What the file grew in advance. */
	if (ret == 0 && q->growable && tide_disk_size(q->file) > q->touched_end)
		ret = tide_disk_resize(q->file, q->touched_end, err);
	return ret;
}

static int qcow2_close(struct tide_disk *d, struct tide_error *err)
{
	struct qcow2 *q = qcow2_of(d);
	int ret = flush_all(q, err);

	destroy(q);
	return ret;
}

const struct tide_disk_ops tide__qcow2_ops = {
	.name = "qcow2",
	.readv = qcow2_readv,
	.writev = qcow2_writev,
	.zero = qcow2_zero,
	.discard = qcow2_discard,
	.flush = qcow2_flush,
	.status = qcow2_status,
	.load_bitmaps = qcow2_bitmaps_load,
	.save_bitmaps = qcow2_bitmaps_save,
	.resize = qcow2_resize,
	.close = qcow2_close,
	.start = qcow2_start,
	.fua = true,
};
