/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams of `rbd export-diff`, applied in their order to a new disk. */
#include "backup/diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backup/target.h"
#include "base/atomic.h"
#include "rbd/diff.h"

struct importing {
	const struct backup_import *o;
	struct backup_target target;
	bool open; /* target is */
	struct ceph_diff diff; /* the stream in hand */
	char last[CEPH_MAX_SNAP]; /* where the one before ended */
	uint8_t *buf;
	uint64_t data_bytes;
};

/* A record in the middle of others may be of what was written before. */
static int apply_record(struct importing *i, const struct ceph_diff_record *r,
			struct tide_error *err)
{
	uint64_t at = r->offset_bytes, left = r->length_bytes, n;
	int ret = 0;

	if (r->zero)
		return left ? target_zero(&i->target, 0, at, left, err) : 0;
	for (; left && !ret; left -= n, at += n) {
		n = left < PIECE_BYTES ? left : PIECE_BYTES;
		ret = ceph_diff_read(&i->diff, i->buf, n, err);
		if (!ret)
			ret = target_write(&i->target, 0, at, i->buf, n, err);
	}
	i->data_bytes += r->length_bytes;
	return ret;
}

static int apply_records(struct importing *i, struct tide_error *err)
{
	const struct backup_import *o = i->o;
	struct ceph_diff_record r;
	int ret;

	while ((ret = ceph_diff_next(&i->diff, &r, err)) > 0) {
		if (o->stop && tide__load_relaxed(o->stop))
			return tide_error_set(err, -EINTR, "backup",
					      TIDE_NO_OFFSET, "called off");
		ret = apply_record(i, &r, err);
		if (ret)
			return ret;
		if (o->progress)
			o->progress(o->opaque, i->diff.path, r.offset_bytes +
				    r.length_bytes, i->diff.size_bytes);
	}
	return ret;
}

/* Of the first stream, a new disk; later ones only change its size. */
static int give_size(struct importing *i, struct tide_error *err)
{
	const struct backup_import *o = i->o;
	uint64_t size = i->diff.size_bytes;
	int ret;

	if (!i->open) {
		ret = target_open(&i->target, o->to, o->format, size, 1,
				  o->force, err);
		i->open = !ret;
		/* Zeroes may be said of what an earlier record wrote. */
		if (i->open && i->target.fresh)
			i->target.fresh = false;
		else if (i->open)
			ret = target_zero(&i->target, 0, 0, size, err);
		return ret;
	}
	if (!i->target.disk)
		return tide_error_set(err, -ENOTSUP, "backup", TIDE_NO_OFFSET,
				      "%.120s: an export cannot change its size",
				      o->to);
	return tide_disk_size(i->target.disk) == size ? 0 :
		       tide_disk_resize(i->target.disk, size, err);
}

/* Is it what comes next? */
static int follows(const struct importing *i, struct tide_error *err)
{
	const struct ceph_diff *d = &i->diff;

	if (!i->open && *d->from)
		return tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				      "%.80s is what changed since '%.60s': "
				      "the first stream is of a whole image",
				      d->path, d->from);
	if (i->open && (!*d->from || strcmp(d->from, i->last)))
		return tide_error_set(err, -EINVAL, "backup", TIDE_NO_OFFSET,
				      "%.80s begins at '%.40s', and the one "
				      "before ends at '%.40s'", d->path,
				      d->from, i->last);
	return 0;
}

static int apply(struct importing *i, const char *path, struct tide_error *err)
{
	bool piped = !strcmp(path, "-");
	FILE *file = piped ? stdin : fopen(path, "re");
	int ret;

	if (!file)
		return tide_error_set(err, -errno, "backup", TIDE_NO_OFFSET,
				      "%.120s: %s", path, strerror(errno));
	ret = ceph_diff_open(&i->diff, file, path, err);
	if (!ret)
		ret = follows(i, err);
	if (!ret)
		ret = give_size(i, err);
	if (!ret)
		ret = apply_records(i, err);
	memcpy(i->last, i->diff.to, sizeof(i->last));
	if (!piped)
		fclose(file);
	return ret;
}

int backup_import_diff(const struct backup_import *o, uint64_t *data_bytes,
		       struct tide_error *err)
{
	struct importing *i = calloc(1, sizeof(*i));
	int ret = 0, closed = 0;

	if (!i || !(i->buf = malloc(PIECE_BYTES))) {
		free(i);
		return tide_error_set(err, -ENOMEM, "backup", TIDE_NO_OFFSET,
				      "no memory for a piece");
	}
	i->o = o;
	for (size_t n = 0; n < o->count && !ret; n++)
		ret = apply(i, o->streams[n], err);
	if (!ret)
		ret = target_flush(&i->target, err);
	if (i->open)
		closed = target_close(&i->target, !ret, ret ? NULL : err);
	*data_bytes = i->data_bytes;
	free(i->buf);
	free(i);
	return ret ? ret : closed;
}
