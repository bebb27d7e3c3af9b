/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An image that is made as a whole, or not at all: written under a name of its
 * own beside the one it shall have, and renamed when it is complete. One that
 * is there already keeps its name and its snapshots, is given the size, and
 * written over.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rbd/cluster.h"
#include "rbd/disk.h"

struct ceph_target {
	struct ceph_cluster cluster;
	struct ceph_name name;
	char *beside; /* its name until it is whole; NULL: it was there */
};

/* 0: it is there; -ENOENT; or another error. */
static int look_for(struct ceph_target *t, struct tide_error *err)
{
	const struct ceph_library *lib = t->cluster.lib;
	rbd_image_t image;
	int ret = lib->rbd_open_read_only(t->cluster.pool, t->name.image,
					  &image, NULL);

	if (ret)
		return ret == -ENOENT ? ret : ceph_failed(ret, t->name.image,
							  "opening", err);
	lib->rbd_close(image);
	return 0;
}

/* With the features that the cluster gives a new image. */
static int create(struct ceph_target *t, uint64_t size_bytes,
		  struct tide_error *err)
{
	const struct ceph_library *lib = t->cluster.lib;
	rbd_image_options_t options;
	int ret;

	if (asprintf(&t->beside, "%s.new-%d", t->name.image,
		     (int)getpid()) < 0) {
		t->beside = NULL;
		return ceph_failed(-ENOMEM, t->name.image, "creating it", err);
	}
	lib->rbd_image_options_create(&options);
	ret = lib->rbd_create4(t->cluster.pool, t->beside, size_bytes,
			       options);
	lib->rbd_image_options_destroy(options);
	if (!ret)
		return 0;
	ret = ceph_failed(ret, t->beside, "creating it", err);
	free(t->beside); /* not ours to remove, or not there */
	t->beside = NULL;
	return ret;
}

static int prepare(struct ceph_target *t, const char *path, uint64_t size_bytes,
		   bool force, struct tide_error *err)
{
	int ret = look_for(t, err);

	if (ret == -ENOENT)
		return create(t, size_bytes, err);
	return ret || force ? ret :
		tide_error_set(err, -EEXIST, "rbd", TIDE_NO_OFFSET,
			       "%.120s is there already; --force writes over "
			       "it", path);
}

/* The path of the image that is written to, malloc'd. */
static char *path_beside(const struct ceph_target *t, const char *path)
{
	size_t skip = strlen(CEPH_SCHEME);
	const char *end = path + skip;
	char *whole;

	if (!t->beside)
		return strdup(path);
	/* The options are taken as they were written. */
	while (*end && *end != ':')
		end += *end == '\\' && end[1] ? 2 : 1;
	if (asprintf(&whole, "%.*s.new-%d%s", (int)(end - path), path,
		     (int)getpid(), end) < 0)
		return NULL;
	return whole;
}

/* Its size becomes the one that is wanted. */
static int open_disk(struct ceph_target *t, const char *path,
		     uint64_t size_bytes, struct tide_disk **disk,
		     struct tide_error *err)
{
	struct tide_disk_options o = { .writable = true };
	char *beside = path_beside(t, path);
	int ret = beside ? ceph_disk_open(beside, &o, disk, err) :
			   ceph_failed(-ENOMEM, path, "opening", err);

	free(beside);
	if (ret || tide_disk_size(*disk) == size_bytes)
		return ret;
	ret = tide_disk_resize(*disk, size_bytes, err);
	if (ret) {
		tide_disk_close(*disk, NULL);
		*disk = NULL;
	}
	return ret;
}

int ceph_target_open(const char *path, uint64_t size_bytes, bool force,
		     struct ceph_target **out, struct tide_disk **disk,
		     bool *fresh, struct tide_error *err)
{
	struct ceph_target *t = calloc(1, sizeof(*t));
	int ret = t ? ceph_name_parse(path, &t->name, err) :
		      ceph_failed(-ENOMEM, path, "opening", err);

	if (!ret && t->name.snap)
		ret = tide_error_set(err, -EROFS, "rbd", TIDE_NO_OFFSET,
				     "%.120s: a snapshot can only be read",
				     path);
	if (!ret)
		ret = ceph_cluster_open(&t->cluster, &t->name, false, err);
	if (!ret)
		ret = prepare(t, path, size_bytes, force, err);
	if (!ret)
		ret = open_disk(t, path, size_bytes, disk, err);
	if (ret) {
		ceph_target_close(t, false, NULL);
		return ret;
	}
	*fresh = t->beside;
	*out = t;
	return 0;
}

int ceph_target_close(struct ceph_target *t, bool whole, struct tide_error *err)
{
	const struct ceph_library *lib;
	int ret = 0;

	if (!t)
		return 0;
	lib = t->cluster.lib;
	if (t->beside && whole) {
		ret = lib->rbd_rename(t->cluster.pool, t->beside,
				      t->name.image);
		if (ret)
			ceph_failed(ret, t->name.image, "giving it its name",
				    err);
	}
	if (t->beside && (!whole || ret))
		lib->rbd_remove(t->cluster.pool, t->beside);
	ceph_cluster_close(&t->cluster);
	ceph_name_free(&t->name);
	free(t->beside);
	free(t);
	return ret;
}
