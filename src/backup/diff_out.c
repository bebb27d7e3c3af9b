/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A point as a stream. Of an incremental one, what no layer above the point
 * below says anything of is unchanged, unless a point between them was shorter:
 * behind its end is nothing of what was there before.
 */
#include "backup/diff.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backup/chain.h"
#include "base/atomic.h"
#include "rbd/diff.h"

struct exporting {
	const struct backup_export *o;
	struct backup_chain chain;
	uint64_t shortest_bytes; /* of the points from @from on */
	FILE *file;
	uint8_t *buf;
	uint64_t data_bytes;
};

static int written(const struct exporting *e, int ret, struct tide_error *err)
{
	(void)e;
	return ret ? tide_error_set(err, ret, "backup", TIDE_NO_OFFSET,
				    "writing the stream: %s", strerror(-ret)) :
		     0;
}

static int put_gap(struct exporting *e, const struct piece *p,
		   struct tide_error *err)
{
	uint64_t at = p->offset_bytes, end = at + p->length_bytes;

	if (!e->o->from || end <= e->shortest_bytes)
		return 0;
	at = at > e->shortest_bytes ? at : e->shortest_bytes;
	return written(e, ceph_diff_put_zeroes(e->file, at, end - at), err);
}

/* Runs of data, and of zeroes that are said. */
static int put_chunks(struct exporting *e, const struct piece *p,
		      struct tide_error *err)
{
	int ret = 0;
	uint64_t n;

	for (uint64_t at = 0; at < p->length_bytes && !ret; at += n) {
		bool zero;

		n = piece_run(p, at, &zero);
		if (!zero) {
			e->data_bytes += n;
			ret = ceph_diff_put_data(e->file, p->offset_bytes + at,
						 e->buf + at, n);
		} else if (e->o->from) {
			ret = ceph_diff_put_zeroes(e->file,
						   p->offset_bytes + at, n);
		}
	}
	return written(e, ret, err);
}

static int put_piece(struct exporting *e, const struct piece *p,
		     struct tide_error *err)
{
	int ret;

	if (p->kind == PIECE_ZERO)
		return put_gap(e, p, err);
	ret = tide_disk_read(e->chain.disk, p->offset_bytes, e->buf,
			     p->length_bytes, err);
	if (!ret)
		ret = chain_check(&e->chain, p, e->buf, e->chain.point->image,
				  err);
	return ret ? ret : put_chunks(e, p, err);
}

static int put_all(struct exporting *e, struct tide_error *err)
{
	const struct backup_export *o = e->o;
	const struct backup_point *point = e->chain.point;
	uint64_t at = 0;
	struct piece p;
	int ret = written(e, ceph_diff_put_begin(e->file, o->from ?
			  o->from_snap : NULL, o->to_snap, point->size_bytes),
			  err);

	while (!ret) {
		if (o->stop && tide__load_relaxed(o->stop))
			return tide_error_set(err, -EINTR, "backup",
					      TIDE_NO_OFFSET, "called off");
		ret = chain_take(&e->chain, &at, &p, err);
		if (ret <= 0)
			break;
		ret = put_piece(e, &p, err);
		if (!ret && o->progress)
			o->progress(o->opaque, point->image, at,
				    point->size_bytes);
	}
	return ret ? ret : written(e, ceph_diff_put_end(e->file), err);
}

/* Does @p stand on @from, and how short was the shortest of them? */
static bool stands_on(const struct backup_folder *f,
		      const struct backup_point *p,
		      const struct backup_point *from, uint64_t *shortest)
{
	*shortest = p->size_bytes;
	while (p && p != from) {
		p = p->parent ? folder_find(f, p->parent) : NULL;
		if (p && p->size_bytes < *shortest)
			*shortest = p->size_bytes;
	}
	return p;
}

int backup_export_diff(const struct backup_folder *f,
		       const struct backup_point *p,
		       const struct backup_export *o, FILE *file,
		       uint64_t *data_bytes, struct tide_error *err)
{
	struct exporting e = { .o = o, .file = file };
	uint64_t stop = o->from ? o->from->number : 0;
	int ret;

	if (o->from && (o->from == p ||
			!stands_on(f, p, o->from, &e.shortest_bytes)))
		return tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				      "point %" PRIu64 " does not stand on "
				      "point %" PRIu64, p->number, stop);
	e.buf = malloc(PIECE_BYTES);
	ret = e.buf ? chain_open_until(f, p, stop, &e.chain, err) :
		      tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				     "no memory for a piece");
	if (!ret) {
		ret = put_all(&e, err);
		chain_close(&e.chain);
	}
	free(e.buf);
	*data_bytes = e.data_bytes;
	return ret;
}
