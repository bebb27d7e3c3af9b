/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbd/since.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "rbd/cluster.h"

struct ceph_since {
	struct ceph_cluster cluster;
	struct ceph_name name;
	rbd_image_t image;
	bool whole_objects;
	uint32_t refs; /* atomic */
	char **older;
	size_t count;
};

struct stretch {
	uint64_t at, end;
};

struct found {
	struct stretch *list;
	size_t count, room;
};

/* Both what is there now and what is gone has changed. */
static int note(uint64_t offset, size_t length, int exists, void *opaque)
{
	struct found *f = opaque;
	struct stretch *more;

	(void)exists;
	if (f->count && f->list[f->count - 1].end == offset) {
		f->list[f->count - 1].end += length;
		return 0;
	}
	if (f->count == f->room) {
		f->room = f->room ? 2 * f->room : 64;
		more = reallocarray(f->list, f->room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		f->list = more;
	}
	f->list[f->count++] = (struct stretch){ offset, offset + length };
	return 0;
}

static int by_offset(const void *one, const void *other)
{
	const struct stretch *a = one, *b = other;

	return a->at < b->at ? -1 : a->at > b->at;
}

/* Stripes over several objects come in the order of those. */
static void tell(struct found *f, uint64_t at, uint64_t end,
		 ceph_since_each *each, void *opaque)
{
	bool more = true;

	if (f->count)
		qsort(f->list, f->count, sizeof(*f->list), by_offset);
	for (size_t i = 0; i < f->count && more && at < end; i++) {
		struct stretch s = f->list[i];

		s.end = s.end < end ? s.end : end;
		if (s.end <= at)
			continue;
		if (s.at > at)
			more = each(opaque, s.at - at, false);
		else
			s.at = at;
		if (more)
			more = each(opaque, s.end - s.at, true);
		at = s.end;
	}
	if (more && at < end)
		each(opaque, end - at, false);
}

int ceph_since_walk(struct ceph_since *s, const char *name,
		    uint64_t offset_bytes, uint64_t length_bytes,
		    ceph_since_each *each, void *opaque,
		    struct tide_error *err)
{
	struct found f = { 0 };
	int ret = s->cluster.lib->rbd_diff_iterate2(s->image, name,
		offset_bytes, length_bytes, true, s->whole_objects, note, &f);

	if (!ret)
		tell(&f, offset_bytes, offset_bytes + length_bytes, each,
		     opaque);
	free(f.list);
	return ret ? ceph_failed(ret, s->name.image, "asking what changed",
				 err) : 0;
}

const char *ceph_since_name(const struct ceph_since *s, size_t which)
{
	return which < s->count ? s->older[which] : NULL;
}

/* Older than the one of our name: their numbers only ever grow. */
static int keep_older(struct ceph_since *s, const rbd_snap_info_t *list,
		      size_t count)
{
	uint64_t own = 0;

	for (size_t i = 0; i < count; i++)
		if (!strcmp(list[i].name, s->name.snap))
			own = list[i].id;
	s->older = calloc(count + 1, sizeof(*s->older));
	if (!s->older)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		if (list[i].id >= own)
			continue;
		s->older[s->count] = strdup(list[i].name);
		if (!s->older[s->count++])
			return -ENOMEM;
	}
	return 0;
}

static int list_older(struct ceph_since *s)
{
	const struct ceph_library *lib = s->cluster.lib;
	rbd_snap_info_t *list = NULL;
	int room = 64, ret = -ERANGE;

	/* It says how much room it needs, if there is too little. */
	while (ret == -ERANGE) {
		free(list);
		list = calloc((size_t)room, sizeof(*list));
		ret = list ? lib->rbd_snap_list(s->image, list, &room)
			   : -ENOMEM;
	}
	if (ret >= 0) {
		size_t count = (size_t)ret;

		ret = keep_older(s, list, count);
		lib->rbd_snap_list_end(list);
	}
	free(list);
	return ret;
}

static int open_snap(struct ceph_since *s, struct tide_error *err)
{
	const struct ceph_library *lib = s->cluster.lib;
	uint64_t features = 0, flags = 0;
	int ret = lib->rbd_open_read_only(s->cluster.pool, s->name.image,
					  &s->image, s->name.snap);

	if (ret)
		s->image = NULL;
	if (!ret)
		ret = lib->rbd_get_features(s->image, &features);
	if (!ret)
		ret = lib->rbd_get_flags(s->image, &flags);
	s->whole_objects = features & RBD_FEATURE_FAST_DIFF &&
			   !(flags & RBD_FLAG_FAST_DIFF_INVALID);
	if (!ret)
		ret = list_older(s);
	return ret ? ceph_failed(ret, s->name.image, "listing its snapshots",
				 err) : 0;
}

int ceph_since_open(const char *path, struct ceph_since **out,
		    struct tide_error *err)
{
	struct ceph_since *s = calloc(1, sizeof(*s));
	int ret = s ? ceph_name_parse(path, &s->name, err) :
		      ceph_failed(-ENOMEM, path, "opening", err);

	if (!ret && !s->name.snap)
		ret = tide_error_set(err, -EINVAL, "rbd", TIDE_NO_OFFSET,
				     "%.120s names no snapshot", path);
	if (!ret)
		ret = ceph_cluster_open(&s->cluster, &s->name, false, err);
	if (!ret)
		ret = open_snap(s, err);
	if (s)
		s->refs = 1;
	if (ret)
		ceph_since_release(s);
	else
		*out = s;
	return ret;
}

void ceph_since_acquire(struct ceph_since *s)
{
	tide__add_relaxed(&s->refs, 1);
}

void ceph_since_release(struct ceph_since *s)
{
	/* Each pairs with the others: the last one sees all that was done. */
	if (!s || tide__add_seqcst(&s->refs, -1) != 1)
		return;
	if (s->image)
		s->cluster.lib->rbd_close(s->image);
	if (s->cluster.lib)
		ceph_cluster_close(&s->cluster);
	ceph_name_free(&s->name);
	for (size_t i = 0; i < s->count; i++)
		free(s->older[i]);
	free(s->older);
	free(s);
}
