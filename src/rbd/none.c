/* SPDX-License-Identifier: BSD-2-Clause */
/* Built where there is no librbd: nothing can be opened. */
#include <errno.h>

#include "rbd/disk.h"

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
