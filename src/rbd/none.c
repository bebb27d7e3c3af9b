/* SPDX-License-Identifier: BSD-2-Clause */
/* Built where there is no librbd: nothing can be opened. */
#include <errno.h>

#include "rbd/disk.h"
#include "rbd/since.h"

static int none(const char *path, struct tide_error *err)
{
	return tide_error_set(err, -ENOTSUP, "rbd", TIDE_NO_OFFSET,
			      "%.120s: this tidemark was built without librbd, "
			      "which images of Ceph need", path);
}

int ceph_disk_open(const char *path, const struct tide_disk_options *options,
		   struct tide_disk **out, struct tide_error *err)
{
	(void)options;
	(void)out;
	return none(path, err);
}

int ceph_target_open(const char *path, uint64_t size_bytes, bool force,
		     struct ceph_target **out, struct tide_disk **disk,
		     bool *fresh, struct tide_error *err)
{
	(void)size_bytes;
	(void)force;
	(void)out;
	(void)disk;
	(void)fresh;
	return none(path, err);
}

int ceph_target_close(struct ceph_target *t, bool whole, struct tide_error *err)
{
	(void)t;
	(void)whole;
	(void)err;
	return 0;
}

int ceph_since_open(const char *path, struct ceph_since **out,
		    struct tide_error *err)
{
	(void)out;
	return none(path, err);
}

void ceph_since_acquire(struct ceph_since *s)
{
	(void)s;
}

void ceph_since_release(struct ceph_since *s)
{
	(void)s;
}

const char *ceph_since_name(const struct ceph_since *s, size_t which)
{
	(void)s;
	(void)which;
	return NULL;
}

int ceph_since_walk(struct ceph_since *s, const char *name,
		    uint64_t offset_bytes, uint64_t length_bytes,
		    ceph_since_each *each, void *opaque,
		    struct tide_error *err)
{
	(void)s;
	(void)offset_bytes;
	(void)length_bytes;
	(void)each;
	(void)opaque;
	return none(name, err);
}
